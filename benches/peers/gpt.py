#!/usr/bin/env python3
"""Times nanoGPT's model in PyTorch on the CPU, in its recipe for CPUs: 4 layers, 4 heads, 128 wide, 64 positions, 12 sequences.

    gpt.py                training steps, eager and by torch.compile, in f32 and bf16, and the writing of 1,000 characters
    gpt.py --threads 1    on so many cores

A training step is forward, backward, clipping and fused AdamW. Writing keeps keys and values; where the window is full it goes on
with the last half of it, as `tempest sample` does. Times are medians of at least 100 steps, or of 5 texts.
"""

import argparse
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, HEADS, WIDTH, POSITIONS, SYMBOLS, BATCH = 4, 4, 128, 64, 65, 12


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x, past):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, HEADS, -1).transpose(1, 2) for y in self.qkv(self.first(x)).chunk(3, -1))
        if past is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(past, (k, v)))
        # One token sees all that is kept.
        o = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        x = x + self.out(o.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.second(x)))), (k, v)


class Gpt(nn.Module):
    """ids [B, T] to logits [B, T, V], and what is kept of keys and values."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(SYMBOLS, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.last, self.head = nn.LayerNorm(WIDTH, bias=False), nn.Linear(WIDTH, SYMBOLS, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, ids, past=None):
        begin = 0 if past is None else past[0][0].shape[2]
        x = self.token(ids) + self.place(torch.arange(begin, begin + ids.shape[1]))
        kept = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, None if past is None else past[i])
            kept.append(pair)
        return self.head(self.last(x)), kept


def train_step(model, optimizer, bf16):
    ids = torch.randint(SYMBOLS, (BATCH, POSITIONS + 1))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits, _ = model(ids[:, :-1])
    loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.inference_mode()
def write(model, texts, characters, bf16):
    ids = torch.randint(SYMBOLS, (texts, 1))
    past, fresh = None, ids
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for _ in range(characters):
            if past is not None and past[0][0].shape[2] == POSITIONS:
                past, fresh = None, ids[:, -POSITIONS // 2 :]
            logits, past = model(fresh, past)
            fresh = torch.multinomial(logits[:, -1].float().softmax(-1), 1)
            ids = torch.cat((ids, fresh), 1)
    return ids


def median(what, least, count):
    for _ in range(3):
        what()
    times, begin = [], time.perf_counter()
    while len(times) < count or time.perf_counter() - begin < least:
        start = time.perf_counter()
        what()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="cores to use")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    print(f"torch {torch.__version__}, {args.threads} threads")
    for bf16 in (False, True):
        name = "bf16" if bf16 else "f32"
        for compiled in (False, True):
            model = Gpt()
            optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.99), fused=True)
            run = torch.compile(model) if compiled else model
            seconds = median(lambda: train_step(run, optimizer, bf16), 2, 100)
            print(f"train step, {name}, {'compiled' if compiled else 'eager'}: {1e3 * seconds:.2f} ms", flush=True)
        for texts in (1, 16):
            seconds = median(lambda: write(model, texts, 1000, bf16), 1, 5)
            print(f"write 1,000 characters, {name}, {texts} texts: {seconds:.3f} s", flush=True)


if __name__ == "__main__":
    main()
