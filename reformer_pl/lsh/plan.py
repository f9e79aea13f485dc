"""Sort the hashed tokens and say what each query may reach (paper, section 2, equations 5 and 11).

Shapes: B batch, H heads, N = B*H sequences, R hash rounds, L length, P = L padded to a multiple of
the chunk, m chunk_len, D head size.

A round is two numbers per token, 8 bytes: its place in the sorted order, and its `code`. Codes
never fall along the sorted order. The difference of two codes tells whether one token reaches the
other. In window="chunk" and "wrap", i reaches j where code_i - code_j is 0 or 1: the own chunk and
the one before. A change of bucket adds 2 more. In window="causal", i reaches j where it is 1 ... m,
and a change of bucket adds m + 1 more.
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
    largest_code: int  # no code is larger
    road: str = "auto"  # which kernels attend: `roads.choose_road`


@torch.no_grad()
def make_plan(
    buckets: Tensor,
    n_buckets: int,
    chunk_len: int,
    causal: bool,
    bucket_mask: bool,
    dedupe: bool,
    window: str,
    padded: Tensor | None = None,
) -> Plan:
    """Sort every round of buckets (B, H, R, L) once, stably; padded (B, L) is True where a token is
    padding.
    """
    b, h, rounds, length = buckets.shape
    n, m, extra = b * h, chunk_len, -length % chunk_len
    p, device = length + extra, buckets.device
    largest = largest_code(p, m, n_buckets if bucket_mask else 0, window)
    if extra:
        if padded is None:
            padded = torch.zeros(b, length, dtype=torch.bool, device=device)
        padded, buckets = F.pad(padded, (0, extra), value=True), F.pad(buckets, (0, extra))
    if padded is not None:  # padding sorts last in every round
        buckets = buckets.masked_fill(padded[:, None, None], n_buckets)
    bucket = buckets.reshape(n, rounds, p)

    # One flat sort of (sequence, round, bucket) is several times faster than one sort per row;
    # stability keeps position order. A GPU sorts 32 bits in half the passes of 64.
    narrow = torch.int32 if n * rounds * (n_buckets + 1) < 2**31 else torch.int64
    row = torch.arange(n * rounds, device=device, dtype=narrow).view(n, rounds, 1)
    keys = (bucket + row * (n_buckets + 1)).view(-1)
    order = torch.sort(keys, stable=True).indices.remainder_(p).view(n, rounds, p)
    s = torch.arange(p, device=device, dtype=torch.int32)
    code = (s if window == "causal" else s // m).expand(n, rounds, p)
    if bucket_mask:
        ordered = bucket.gather(2, order)
        edges = F.pad(ordered[..., 1:] != ordered[..., :-1], (1, 0)).cumsum(-1, dtype=torch.int32)
        code = edges.mul_(m + 1 if window == "causal" else 2).add_(code)
    code = torch.empty(n, rounds, p, dtype=torch.int32, device=device).scatter_(2, order, code)
    dedupe = dedupe and rounds > 1
    return Plan(order.int(), code, padded, m, causal, bucket_mask, dedupe, window, largest)


def largest_code(p: int, m: int, n_buckets: int, window: str) -> int:
    """A bound on every code of a round, which is int32; n_buckets is 0 without a bucket mask.
    Raises ValueError at 2**31.
    """
    changes = min(n_buckets, p - 1)  # of bucket, the padding's among them
    largest = p - 1 + (m + 1) * changes if window == "causal" else (p - 1) // m + 2 * changes
    if largest >= 2**31:
        raise ValueError(
            f"{p} tokens in {n_buckets} buckets with chunk_len={m} need codes up to {largest}, "
            "above 2**31: choose fewer buckets or a shorter sequence"
        )
    return largest


def first_rounds(plan: Plan, n_hashes: int) -> Plan:
    """The plan of the first n_hashes rounds alone."""
    return plan._replace(
        order=plan.order[:, :n_hashes],
        code=plan.code[:, :n_hashes],
        dedupe=plan.dedupe and n_hashes > 1,
    )
