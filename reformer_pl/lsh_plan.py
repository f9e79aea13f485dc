"""Sort the hashed tokens and say what each query may reach (paper, section 2, eq. 5 and 11).

Shapes: B batch, H heads, N = B*H rows, R hash rounds, L length, P = L padded to a multiple of the chunk, m chunk_len.

After a stable sort by (bucket, position) the keys a query may reach in one round are an interval [low, high) of sorted indices:
window, bucket and causality together are two numbers per token.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Plan(NamedTuple):
    """Where every token stands in every round, and what it reaches there."""

    order: Tensor  # (N, R, P) int32, sorted index -> position
    rank: Tensor  # (N, R, P) int32, position -> sorted index
    low: Tensor  # (N, R, P) int32 by position: the first sorted index in reach ...
    high: Tensor  # (N, R, P) int32 by position: ... and one past the last
    padded: Tensor  # (N, P) bool
    chunk_len: int
    causal: bool
    bucket_mask: bool
    dedupe: bool
    ring: bool  # one ring over all rounds; low and high then do not apply


@torch.no_grad()
def make_plan(
    buckets: Tensor,
    n_buckets: int,
    chunk_len: int,
    causal: bool,
    bucket_mask: bool,
    dedupe: bool,
    window: str,
    key_padding_mask: Tensor | None = None,
) -> Plan:
    """Sort every round once, stably, and turn window, bucket and causality into one interval per token."""
    b, h, rounds, length = buckets.shape
    n, m = b * h, chunk_len
    extra = -length % m
    padded = torch.zeros(b, length, dtype=torch.bool, device=buckets.device) if key_padding_mask is None else key_padding_mask
    padded = F.pad(padded, (0, extra), value=True)
    p = length + extra
    bucket = F.pad(buckets, (0, extra)).masked_fill(padded[:, None, None], n_buckets)  # padding sorts last in every round
    bucket = bucket.reshape(n, rounds, p)
    padded = padded[:, None].expand(b, h, p).reshape(n, p)

    # One flat sort of (row, round, bucket) keys is several times faster than one sort per row; stability keeps position order.
    offset = torch.arange(n * rounds, device=bucket.device).view(n, rounds, 1) * (n_buckets + 1)
    order = (torch.sort((bucket + offset).view(-1), stable=True).indices % p).view(n, rounds, p)
    s = torch.arange(p, device=bucket.device, dtype=torch.int32).expand(n, rounds, p)
    rank = torch.empty_like(s, memory_format=torch.contiguous_format).scatter_(2, order, s)

    here = (s // m) * m
    if window == "causal":
        low, high = s - m, s
    else:
        low, high = (here - m).clamp_min(0), here + m
    if bucket_mask:
        ordered = bucket.gather(2, order)
        edge = torch.ones_like(ordered, dtype=torch.bool)  # first of its bucket
        edge[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        low = torch.maximum(low, torch.where(edge, s, 0).cummax(-1).values)
        if causal:
            high = s  # within a bucket, sorted order is position order
        else:
            last = torch.ones_like(edge)
            last[..., :-1] = edge[..., 1:]
            high = torch.minimum(high, torch.where(last, s + 1, p).flip(-1).cummin(-1).values.flip(-1))
    else:
        high = torch.minimum(high, (p - padded.sum(-1))[:, None, None].int())
    empty = padded[:, None]
    low, high = (x.int().gather(2, rank.long()).masked_fill_(empty, 0) for x in (low.contiguous(), high.contiguous()))
    return Plan(order.int(), rank, low, high, padded, m, causal, bucket_mask, dedupe and rounds > 1, window == "wrap")
