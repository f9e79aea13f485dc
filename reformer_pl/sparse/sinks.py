"""Sliding-window attention with sinks (StreamingLLM, arXiv 2309.17453).

Shapes: B batch, H heads, L length, D head size, C chunks, m tokens of one chunk.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def sinks(q: Tensor, k: Tensor, v: Tensor, window: int, n_sinks: int) -> Tensor:
    """Causal attention to the last `window` keys, the own among them, and to the first `n_sinks`.

    (B, H, L, D) in and out, any L. Memory is O(L D). With n_sinks=0 it is a sliding window alone.
    """
    batch, length = q.shape[:2], q.shape[2]
    if length <= window:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # All sinks lie in the first chunk, so every chunk from the third on sees them, the chunk
    # before and itself through one and the same mask.
    m = max(window, n_sinks)
    start = min(length, 2 * m)
    age = torch.arange(start, device=q.device)[:, None] - torch.arange(start, device=q.device)
    is_sink = torch.arange(start, device=q.device) < n_sinks
    seen = (age >= 0) & ((age < window) | is_sink)
    first = F.scaled_dot_product_attention(
        q[:, :, :start], k[:, :, :start], v[:, :, :start], attn_mask=seen
    )
    if start == length:
        return first
    if length % m:  # padded keys lie in the future of every real query
        q, k, v = (F.pad(x, (0, 0, 0, -length % m)) for x in (q, k, v))
    keys, values = (_sinks_and_neighbours(x, m, n_sinks) for x in (k, v))
    queries = q[:, :, start:].unflatten(2, (-1, m)).flatten(0, 1)  # (B*H, C-2, m, D)
    band = (age[m:] >= 0) & (age[m:] < window)  # (m, 2m)
    mask = torch.cat([band.new_ones(m, n_sinks), band], 1)
    rest = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return torch.cat([first, rest.unflatten(0, batch).flatten(2, 3)], 2)[:, :, :length]


def _sinks_and_neighbours(x: Tensor, m: int, n_sinks: int) -> Tensor:
    """(B*H, C-2, n_sinks + 2m, D): what each chunk from the third on may see of x."""
    chunks = x.unflatten(2, (-1, m)).flatten(0, 1)  # (B*H, C, m, D)
    first = chunks[:, :1, :n_sinks].expand(-1, chunks.shape[1] - 2, -1, -1)
    return torch.cat([first, chunks[:, 1:-1], chunks[:, 2:]], 2)
