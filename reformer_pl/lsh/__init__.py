"""LSH attention (paper, section 2 and appendix A): hash (hashing.py), sort (plan.py), choose the
kernels (roads.py), attend tile by tile (autograd.py) or round by round (triton_road.py).

Pure functions of tensors. Shapes: B batch, H heads, R hash rounds, L length, P = L padded to a
multiple of the chunk, D head size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.lsh.autograd import LSHAttend
from reformer_pl.lsh.hashing import draw_rotations, hash_buckets
from reformer_pl.lsh.plan import Plan, plan_attention
from reformer_pl.lsh.roads import choose_road
from reformer_pl.lsh.triton_road import TritonAttend

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


def attend(qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Attention of every token over what the plan reaches: qk, v and the result are (B, H, L, D).
    Differentiable in qk and v.
    """
    length, p = qk.shape[2], plan.order.shape[2]
    v = v.to(qk.dtype)  # autocast leaves them alike
    road = choose_road(qk, plan)
    if road == "triton":
        return TritonAttend.apply(qk, v, plan)
    if p > length:
        qk, v = (F.pad(x, (0, 0, 0, p - length)) for x in (qk, v))
    return LSHAttend.apply(qk, v, plan, road)[:, :, :length]
