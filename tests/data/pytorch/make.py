# What torch.save writes of a compiled model, a training checkpoint around it, and a legacy file.
import torch
g = torch.Generator().manual_seed(1)
C, L, V, T = 8, 1, 128, 4
names = {"token_emb.weight": (V, C), "time_emb.weight": (T, C)}
for n in ["c_q", "c_k", "c_v", "c_proj"]: names[f"blocks.0.attn.{n}.weight"] = (C, C)
names["blocks.0.mlp.c_fc.weight"] = (4 * C, C); names["blocks.0.mlp.c_proj.weight"] = (C, 4 * C)
names["output_head.weight"] = (V, C)
w = {k: torch.randn(s, generator=g) for k, s in names.items()}
torch.save({"_orig_mod." + k: v.half() for k, v in w.items()}, "compiled.pt")
torch.save({"model": {"module." + k: v for k, v in w.items()}, "iter_num": 1234, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}}, "checkpoint.pt")
torch.save(w, "legacy.pt", _use_new_zipfile_serialization=False)
from safetensors.torch import save_file
save_file(w, "weights.safetensors")
