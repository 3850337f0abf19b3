"""The original's model in PyTorch, as tiny-diffusion has it: the peer whose steps are timed beside ours.

RMSNorm without weights, rotary embedding (half split) and then the norm of queries and keys, ReLU², no biases, a time
embedding, a head of its own; masked diffusion with t uniform, where every token behind the context is masked with
probability (t + 1) / 128 and the loss is the mean cross-entropy of masked tokens.
"""

import dataclasses

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclasses.dataclass(frozen=True)
class Shape:
    """L layers of H heads, C wide, over T positions of V symbols, the last of which is the mask."""

    layers: int = 6
    heads: int = 6
    width: int = 384
    positions: int = 256
    symbols: int = 128
    timesteps: int = 128
    context: int = 16

    @property
    def mask(self):
        return self.symbols - 1

    def forward_flops(self, batch):
        """Of the products: 12·C² a token and layer, the head, and scores and values of attention."""
        c, t = self.width, self.positions
        return 2 * batch * t * (self.layers * (12 * c * c + 2 * t * c) + self.symbols * c)


ORIGINAL = Shape()
SMALL = Shape(layers=2, heads=2, width=32, positions=16, context=2)


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


def rotate(x, cos, sin):
    """x [B, H, T, D]; cos and sin [T, D/2]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), -1)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        c = shape.width
        self.heads = shape.heads
        self.q, self.k, self.v, self.projection = (nn.Linear(c, c, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(c, 4 * c, bias=False), nn.Linear(4 * c, c, bias=False)

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        y = norm(x)
        q, k, v = (w(y).view(b, t, self.heads, -1).transpose(1, 2) for w in (self.q, self.k, self.v))
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        o = F.scaled_dot_product_attention(q, k, v.to(q.dtype))
        x = x + self.projection(o.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.relu(self.up(norm(x))).square())


class Denoiser(nn.Module):
    """ids [B, T] and timesteps [B] to logits [B, T, V]."""

    def __init__(self, shape):
        super().__init__()
        d = shape.width // shape.heads
        self.token = nn.Embedding(shape.symbols, shape.width)
        self.time = nn.Embedding(shape.timesteps, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.head = nn.Linear(shape.width, shape.symbols, bias=False)
        angle = torch.arange(shape.positions)[:, None] / 10000 ** (torch.arange(d // 2) / (d // 2))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for p in self.parameters():
            nn.init.normal_(p, std=0.02)

    def forward(self, ids, timesteps):
        x = norm(self.token(ids) + self.time(timesteps)[:, None])
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.head(norm(x))


def corrupted_batch(corpus, shape, batch):
    """Crops of the corpus, masks and timesteps, all made on the corpus's device."""
    device = corpus.device
    start = torch.randint(0, corpus.numel() - shape.positions, (batch, 1), device=device)
    place = torch.arange(shape.positions, device=device)
    clean = corpus[start + place].long()
    timesteps = torch.randint(0, shape.timesteps, (batch,), device=device)
    masked = torch.rand(batch, shape.positions, device=device) < ((timesteps + 1) / shape.timesteps)[:, None]
    return clean, masked & (place >= shape.context), timesteps


def loss(model, corpus, shape, batch):
    clean, masked, timesteps = corrupted_batch(corpus, shape, batch)
    logits = model(torch.where(masked, shape.mask, clean), timesteps)
    nats = F.cross_entropy(logits.float().flatten(0, 1), clean.flatten(), reduction="none").view_as(masked)
    return (nats * masked).sum() / masked.sum().clamp(min=1)


def reverse_step(model, ids, timesteps, shape, k):
    """Commits the k likeliest predictions, then masks all again, so that every step is the same work."""
    logits = model(ids, timesteps).float()
    logits[..., shape.mask] = float("-inf")
    confidence, likeliest = logits.softmax(-1).max(-1)
    places = confidence.topk(k, dim=-1).indices
    ids.scatter_(1, places, likeliest.gather(1, places))
    ids.fill_(shape.mask)
