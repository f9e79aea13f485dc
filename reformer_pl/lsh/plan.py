"""Sort the hashed tokens and say what each query may reach (paper, section 2, eq. 5 and 11).

Shapes: B batch, H heads, N = B*H rows, R hash rounds, L length, P = L padded to a multiple of the chunk, m chunk_len.

A round is two numbers per token, 8 bytes: its place in the sorted order, and its `code`. Codes never fall along the sorted order, and
their differences tell who reaches whom. window="chunk": i reaches j when code_i - code_j is 0 or 1 (own chunk, the one before; a change
of bucket adds 2 more). window="causal": when it is 1 ... m (a change of bucket adds m + 1 more).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Plan(NamedTuple):
    """Where every token stands in every round, and what it reaches there."""

    order: Tensor  # (N, R, P) int32, sorted index -> position
    code: Tensor  # (N, R, P) int32 by position
    padded: Tensor | None  # (B, P) bool; None where nothing is
    chunk_len: int
    causal: bool
    bucket_mask: bool
    dedupe: bool
    window: str


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
    """Sort every round of buckets (B, H, R, L) once, stably; key_padding_mask (B, L) is True where padded."""
    b, h, rounds, length = buckets.shape
    n, m, extra = b * h, chunk_len, -length % chunk_len
    p, device = length + extra, buckets.device
    padded = key_padding_mask
    if extra:
        padded = (
            torch.zeros(b, length, dtype=torch.bool, device=device) if padded is None else padded
        )
        padded, buckets = F.pad(padded, (0, extra), value=True), F.pad(buckets, (0, extra))
    if padded is not None:
        buckets = buckets.masked_fill(
            padded[:, None, None], n_buckets
        )  # padding sorts last in every round
    bucket = buckets.reshape(n, rounds, p)

    # One flat sort of (row, round, bucket) keys is several times faster than one sort per row; stability keeps position order.
    offset = torch.arange(n * rounds, device=device, dtype=torch.int64).view(n, rounds, 1) * (
        n_buckets + 1
    )
    order = (
        torch.sort((bucket + offset).view(-1), stable=True).indices.remainder_(p).view(n, rounds, p)
    )
    s = torch.arange(p, device=device, dtype=torch.int32)
    code = (s if window == "causal" else s // m).expand(n, rounds, p)
    if bucket_mask:
        ordered = bucket.gather(2, order)
        edges = F.pad(ordered[..., 1:] != ordered[..., :-1], (1, 0)).cumsum(-1, dtype=torch.int32)
        code = edges.mul_(m + 1 if window == "causal" else 2).add_(code)
    code = torch.empty(n, rounds, p, dtype=torch.int32, device=device).scatter_(2, order, code)
    return Plan(order.int(), code, padded, m, causal, bucket_mask, dedupe and rounds > 1, window)


def intervals(plan: Plan, code: Tensor, keys: Tensor | int) -> tuple[Tensor, Tensor]:
    """The sorted indices [low, high) that each query reaches in one round, self and causality by position aside.

    code (g, P) in sorted order; keys, (g, 1) or a number: how many tokens are not padded. Returns two (g, P) int64 tensors.
    """
    m, p = plan.chunk_len, code.shape[1]
    s = torch.arange(p, device=code.device)
    here = s // m * m
    low = s - m if plan.window == "causal" else here - m
    high = (
        s if plan.causal and plan.bucket_mask else here + m
    )  # within a bucket, sorted order is position order
    low, high = low.clamp_min(0).expand_as(code), high.expand_as(code)
    if plan.bucket_mask:
        edge = F.pad(code[:, 1:] - code[:, :-1] > 1, (1, 0))  # first of its bucket
        low = torch.maximum(low, torch.where(edge, s, 0).cummax(-1).values)
        if not plan.causal:
            end = torch.where(edge, s, p).roll(-1, 1)
            end[:, -1] = p
            high = torch.minimum(high, end.flip(-1).cummin(-1).values.flip(-1))
        return low, high
    return low, high.clamp(max=keys) if isinstance(keys, int) else torch.minimum(high, keys)
