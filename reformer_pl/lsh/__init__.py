"""LSH attention (paper, section 2 and appendix A): hash (hashing.py), sort (plan.py), choose the
kernels (roads.py), attend tile by tile (autograd.py) or round by round (triton_road.py).

Pure functions of tensors. Shapes: B batch, H heads, R hash rounds, L length, P = L padded to a
multiple of the chunk, D head size.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.config.rules import bucket_factors, check_lsh
from reformer_pl.lsh import triton_road
from reformer_pl.lsh.autograd import LSHAttend
from reformer_pl.lsh.hashing import draw_rotations, hash_buckets
from reformer_pl.lsh.plan import Plan, make_plan
from reformer_pl.lsh.roads import choose_road
from reformer_pl.lsh.trust import Kind

__all__ = ["attend", "draw_rotations", "hash_buckets", "lsh_attention", "plan_attention"]


def lsh_attention(
    qk: Tensor,
    v: Tensor,
    *,
    n_hashes: int,
    chunk_len: int,
    n_buckets: Any = None,
    causal: bool = True,
    bucket_mask: bool = True,
    dedupe: bool = True,
    window: str = "chunk",
    rotations: Tensor | None = None,
    buckets: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    road: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Shared-QK attention over the keys that hashing brings near.

    Returns out (B, H, L, D) and the buckets (B, H, R, L) int32.

    qk and v are (B, H, L, D), of any L of at least 1. n_hashes is the number of rounds R, chunk_len
    is in tokens. Logits are q . k/|k|, without a further scale. A token does not see itself. Where
    nothing else is in reach in any round, it sees exactly itself.

    n_buckets: None for 2 L / chunk_len, an even int, or a tuple of even factors, the least
        significant first.
    causal: whether a query sees only the positions before its own.
    bucket_mask: whether a query sees only its own bucket.
    dedupe: whether a key that several rounds reach counts once. Its weight is divided by their
        number (N_ij of appendix A), so that the result is one softmax over the union of the keys.
        Without it, a key counts as often as it is reached.
    window: "chunk" is the own chunk and the one before in sorted order (section 2). "causal" is the
        chunk_len keys before in the same bucket: no future token changes what the past reaches.
        "wrap" is the published code's ring over the chunks of all rounds. Chunks of padding take
        part in that ring, so a padded batch equals each sequence alone only where both fill as
        many chunks.
    rotations: (H, D, R, sum(factors) // 2); drawn from `generator` where None.
    buckets: (B, H, R, L), where hashing is to be skipped: those of an earlier call replay it.
    key_padding_mask: (B, L), True where padded. Such a token is no key, and its output is 0.
    road: which kernels attend. "auto" takes the fastest that fits the device, dtype and shape:
        "triton" or "efficient" on CUDA, "flash" on the CPU, else "plain". Each gives the same
        numbers but for rounding.

    Raises ValueError for an illegal mode, a wrong shape, or a road that is not for these tensors.
    """
    if qk.shape != v.shape or qk.dim() != 4:
        raise ValueError(
            f"qk and v must both be (B, H, L, D): got {tuple(qk.shape)} and {tuple(v.shape)}"
        )
    plan, buckets = plan_attention(
        qk,
        n_hashes=n_hashes,
        chunk_len=chunk_len,
        n_buckets=n_buckets,
        causal=causal,
        bucket_mask=bucket_mask,
        dedupe=dedupe,
        window=window,
        rotations=rotations,
        buckets=buckets,
        key_padding_mask=key_padding_mask,
        generator=generator,
        road=road,
    )
    return attend(qk, v, plan), buckets


@torch.no_grad()
def plan_attention(
    qk: Tensor,
    *,
    n_hashes: int,
    chunk_len: int,
    n_buckets: Any = None,
    causal: bool = True,
    bucket_mask: bool = True,
    dedupe: bool = True,
    window: str = "chunk",
    rotations: Tensor | None = None,
    buckets: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    road: str = "auto",
) -> tuple[Plan, Tensor]:
    """Draw rotations, hash, sort: (the plan, buckets (B, H, R, L) int32). `lsh_attention` explains
    the options; qk (B, H, L, D).

    Rotations are drawn only where neither they nor the buckets are there already. Raises ValueError
    as `lsh_attention` does.
    """
    check_lsh(
        n_hashes=n_hashes,
        chunk_len=chunk_len,
        n_buckets=n_buckets,
        causal=causal,
        bucket_mask=bucket_mask,
        dedupe=dedupe,
        window=window,
        road=road,
    )
    b, h, length, d = qk.shape
    if length == 0:
        raise ValueError("lsh_attention needs at least one token: L is 0")
    factors = bucket_factors(n_buckets, length, chunk_len)
    n = math.prod(factors)
    if key_padding_mask is not None and key_padding_mask.shape != (b, length):
        raise ValueError(
            f"key_padding_mask must be (B, L) = {(b, length)}, not {tuple(key_padding_mask.shape)}"
        )
    if buckets is None:
        if rotations is None:
            rotations = draw_rotations(h, d, n_hashes, factors, generator)
        elif rotations.dim() != 4 or rotations.shape[2] != n_hashes:
            raise ValueError(
                f"rotations must be (H, D, n_hashes = {n_hashes}, sum(factors) // 2), "
                f"not {tuple(rotations.shape)}"
            )
        kind = Kind(chunk_len, causal, bucket_mask, dedupe, window, n_hashes)
        if choose_road(qk, road, kind) == "triton":
            buckets = triton_road.hash_buckets(qk, rotations, factors)
        else:
            buckets = hash_buckets(qk, rotations, factors)
    elif buckets.shape != (b, h, n_hashes, length) or (
        buckets.numel() and not 0 <= int(buckets.min()) <= int(buckets.max()) < n
    ):
        raise ValueError(
            f"buckets must be (B, H, n_hashes, L) = {(b, h, n_hashes, length)} "
            f"with values below {n}"
        )
    plan = make_plan(
        buckets, n, chunk_len, causal, bucket_mask, dedupe, window, padded=key_padding_mask
    )
    return plan._replace(road=road), buckets


def attend(qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Attention of every token over what the plan reaches: qk, v and the result are (B, H, L, D).
    Differentiable in qk and v.
    """
    length, p = qk.shape[2], plan.order.shape[2]
    v = v.to(qk.dtype)  # autocast leaves them alike
    road = choose_road(qk, plan.road, Kind.of(plan))
    if road == "triton":
        return triton_road.TritonAttend.apply(qk, v, plan)
    if p > length:
        qk, v = (F.pad(x, (0, 0, 0, p - length)) for x in (qk, v))
    return LSHAttend.apply(qk, v, plan, road)[:, :, :length]
