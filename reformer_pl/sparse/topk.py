"""Attention to the best keys alone: what a perfect selector of n keys would reach.

Shapes: B batch, H heads, L length, D head size.
"""

import math

import torch
from torch import Tensor

from reformer_pl.lsh.kernels import without_autocast


def topk(q: Tensor, k: Tensor, v: Tensor, n_keys: int) -> Tensor:
    """Causal attention to the `n_keys` keys of the highest score; (B, H, L, D) in and out, any L.

    It is the ceiling of every way to choose n_keys keys. All (B, H, L, L) scores are made and kept,
    so time and memory are quadratic on purpose: it is here to be compared with, not to be fast.
    Scores are float32 at least, so that rounding chooses no key.
    """
    length, wide = q.shape[2], torch.promote_types(q.dtype, torch.float32)
    with without_autocast(q.device):
        scores = q.to(wide) @ k.to(wide).transpose(-1, -2) / math.sqrt(q.shape[-1])
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    best, index = scores.masked_fill(future, -math.inf).topk(min(n_keys, length), sorted=False)
    weights = torch.zeros_like(scores).scatter(-1, index, best.softmax(-1))
    return weights.to(v.dtype) @ v
