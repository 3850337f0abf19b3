#!/usr/bin/env python3
"""Times steps of the original's model in PyTorch on the first GPU, as fast as PyTorch runs them, beside ours.

    torch_steps.py train                a training step of 64 sequences: crop, masks, forward, backward, clip, fused AdamW
    torch_steps.py denoise              denoising steps of 1, 16, 64 and 512 sequences
    torch_steps.py train --json FILE    writes the figures too, after each of them
    torch_steps.py train --ours time_train_f16.json ...    beside these profiles (tempest profile --json)
    torch_steps.py train --smoke        a tiny model on the CPU: whether all this runs

Ways to run the same step, most telling first:
    eager             as it is written: f32 (TF32 off), and bf16 by autocast
    compiled          torch.compile(mode="default"), bf16 and f16 (f16 trains with GradScaler)
    reduce-overhead   torch.compile's own CUDA graphs
    max-autotune      and tuned products
    captured          the compiled step, its batch and its optimizer in one CUDA graph, as ours is
Attention takes the backend of scaled_dot_product_attention that is fastest at these shapes, found by timing it first.
Times are CUDA events' around every step, after half a second of warm-up: the median over at least 100 steps or a second.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from denoiser import ORIGINAL, SMALL, Denoiser, loss, reverse_step

WAYS = {
    "train": [
        ("eager", "f32"), ("eager", "bf16"), ("compiled", "bf16"), ("reduce-overhead", "bf16"), ("captured", "bf16"),
        ("compiled", "f16"), ("reduce-overhead", "f16"), ("max-autotune", "bf16"), ("max-autotune", "f16"),
    ],
    "denoise": [
        ("eager", "bf16"), ("reduce-overhead", "bf16"), ("captured", "bf16"), ("reduce-overhead", "f16"),
        ("eager", "f32"), ("compiled", "bf16"), ("compiled", "f16"), ("max-autotune", "bf16"), ("max-autotune", "f16"),
    ],
}  # fmt: skip
COMPILE_MODES = {
    "compiled": "default",
    "captured": "default",
    "reduce-overhead": "reduce-overhead",
    "max-autotune": "max-autotune",
}
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
TRAIN_BATCH = 64
DENOISE_BATCHES = (1, 16, 64, 512)
WARM_UP_S, TIMED_S, TIMED_STEPS = 0.5, 1.0, 100


class Bench:
    """What all steps share: the device, the shape, the text, and how attention is computed."""

    def __init__(self, smoke):
        self.cuda = not smoke
        self.device = "cpu" if smoke else "cuda"
        self.shape = SMALL if smoke else ORIGINAL
        # Its numbers do not matter: the length is Tiny Shakespeare's.
        self.corpus = torch.randint(0, self.shape.mask, (1_115_394,), dtype=torch.uint8, device=self.device)
        self.attention = None

    def fresh(self, dtype):
        torch._dynamo.reset()
        torch.manual_seed(1)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype != "f32"
        if self.cuda:
            torch.cuda.empty_cache()

    def autocast(self, dtype):
        return torch.autocast(self.device, DTYPES[dtype]) if dtype in DTYPES else contextlib.nullcontext()

    def attending(self, dtype):
        # f32 takes what PyTorch chooses: the fast backends are of half precision.
        if self.attention is None or dtype == "f32":
            return contextlib.nullcontext()
        return torch.nn.attention.sdpa_kernel(self.attention)

    def model(self, way):
        """The model, and what to call: itself, or compiled."""
        model = Denoiser(self.shape).to(self.device)
        if way not in COMPILE_MODES:
            return model, model
        return model, torch.compile(model, mode=COMPILE_MODES[way] if self.cuda else "default", fullgraph=True)

    def training_step(self, way, dtype, batch):
        model, run = self.model(way)
        whole = way == "captured" and self.cuda
        parameters = list(model.parameters())
        lr = torch.tensor(1e-3, device=self.device) if whole else 1e-3
        optimizer = torch.optim.AdamW(
            parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.1, fused=True, capturable=whole
        )
        scaler = torch.amp.GradScaler(self.device, enabled=dtype == "f16")

        def step():
            with self.autocast(dtype), self.attending(dtype):
                nats = loss(run, self.corpus, self.shape, batch)
            scaler.scale(nats).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=not whole)

        return captured(step) if whole else step

    def denoising_step(self, way, dtype, batch):
        _, run = self.model(way)
        ids = torch.full((batch, self.shape.positions), self.shape.mask, device=self.device)
        timesteps = torch.full((batch,), self.shape.timesteps - 1, device=self.device)

        @torch.no_grad()
        def step():
            with self.autocast(dtype), self.attending(dtype):
                reverse_step(run, ids, timesteps, self.shape, k=self.shape.positions // 10)

        return captured(step) if way == "captured" and self.cuda else step


def captured(step):
    """The step as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def times_ms(step, cuda):
    """Of every timed step."""
    step()  # Compiles.
    if not cuda:
        began = time.perf_counter()
        step()
        return [1e3 * (time.perf_counter() - began)]
    torch.cuda.synchronize()
    began, warmed = time.perf_counter(), 0
    while time.perf_counter() - began < WARM_UP_S:
        step()
        torch.cuda.synchronize()
        warmed += 1
    steps = max(TIMED_STEPS, int(warmed * TIMED_S / WARM_UP_S))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]


def fastest_attention(bench, training):
    """The backend of scaled_dot_product_attention that takes least, forward and in training backward, in bf16."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    shape, found = bench.shape, {}
    size = (TRAIN_BATCH, shape.heads, shape.positions, shape.width // shape.heads)
    q, k, v = (torch.randn(size, device="cuda", dtype=torch.bfloat16, requires_grad=training) for _ in range(3))
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):

        def step():
            with sdpa_kernel(backend):
                o = F.scaled_dot_product_attention(q, k, v)
            if training:
                o.sum().backward()

        try:
            found[backend] = statistics.median(times_ms(step, True))
            print(f"attention by {backend.name}: {found[backend]:.4f} ms", flush=True)
        except Exception as error:  # Not on this card, or not at this shape.
            print(f"attention by {backend.name}: {reason(error)}", flush=True)
    return min(found, key=found.get, default=None)


def reason(error):
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])[:200]


def sm_mhz():
    query = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return int(subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def figures(took, what, way, dtype, batch, bench):
    took = sorted(took)
    median, shape = statistics.median(took), bench.shape
    flops = shape.forward_flops(batch) * (3 if what == "train" else 1)
    return {
        "what": what, "way": way, "dtype": dtype, "batch": batch, "steps": len(took), "median_ms": median,
        "p10_ms": took[len(took) // 10], "p90_ms": took[len(took) * 9 // 10], "tflops": flops / median / 1e9,
        "tokens_per_s": batch * shape.positions / median * 1e3, "sm_mhz": sm_mhz() if bench.cuda else None,
    }  # fmt: skip


def profiled(paths):
    """Our step times by what and batch: of each the least, with its dtype."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
        if profile["step_ms"] is not None:
            key = profile["what"], profile["batch"]
            found[key] = min(found.get(key, (float("inf"), "")), (profile["step_ms"], profile["dtype"]))
    return found


def write(path, record):
    """Whole, or as before."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("what", choices=WAYS)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--ours", metavar="FILE", nargs="*", default=[])
    parser.add_argument("--budget-s", metavar="S", type=float, default=float("inf"), help="begin nothing after so long")
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    if not args.smoke and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU; --smoke runs a tiny model on the CPU")

    began, ours = time.monotonic(), profiled(args.ours)
    bench = Bench(args.smoke)
    record = {
        "torch": torch.__version__, "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if bench.cuda else None,
        "device": torch.cuda.get_device_name() if bench.cuda else "cpu",
        "attention": None, "steps": [], "failed": [],
    }  # fmt: skip
    if bench.cuda:
        bench.attention = fastest_attention(bench, training=args.what == "train")
        record["attention"] = bench.attention and bench.attention.name
    print(f"PyTorch {record['torch']}, CUDA {record['cuda']}, {record['device']}, attention by {record['attention']}")

    batches = (TRAIN_BATCH,) if args.what == "train" else DENOISE_BATCHES
    if args.smoke:
        batches = (2,)
    ways = [("eager", "f32"), ("compiled", "bf16"), ("captured", "f16")] if args.smoke else WAYS[args.what]
    for way, dtype in ways:
        for batch in batches:
            name = f"{args.what} B={batch} {way} {dtype}"
            if time.monotonic() - began > args.budget_s:
                record["failed"].append([name, "no time was left"])
                continue
            try:
                bench.fresh(dtype)
                make = bench.training_step if args.what == "train" else bench.denoising_step
                row = figures(times_ms(make(way, dtype, batch), bench.cuda), args.what, way, dtype, batch, bench)
                record["steps"].append(row)
                print(f"{name}: {row['median_ms']:.3f} ms, {row['tflops']:.1f} TFLOP/s, {row['sm_mhz']} MHz", flush=True)
            except Exception as error:  # One way less; the others go on.
                record["failed"].append([name, reason(error)])
                print(f"{name}: {reason(error)}", flush=True)
            if args.json:
                write(args.json, record)

    if not record["steps"]:
        sys.exit("no way to run the step worked")
    told = []
    for batch in batches:
        rows = [row for row in record["steps"] if row["batch"] == batch]
        if rows:
            best = min(rows, key=lambda row: row["median_ms"])
            ours_ms, stored = ours.get((args.what, batch), (None, None))
            beside = f", ours {ours_ms:.3f} {stored}: {best['median_ms'] / ours_ms:.2f}x as fast" if ours_ms else ""
            told.append(f"B={batch} {best['median_ms']:.3f} ms ({best['way']} {best['dtype']}){beside}")
    print(f"{args.what}: " + "; ".join(told))


if __name__ == "__main__":
    main()
