"""LSH attention (paper, section 2 and appendix A): hash here, sort in lsh_plan, attend in lsh_attend. Pure functions of tensors.

Shapes: B batch, H heads, L length, D head size.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from reformer_pl.config.rules import bucket_factors, check_lsh
from reformer_pl.lsh.autograd import LSHAttend
from reformer_pl.lsh.kernels import tile_bytes
from reformer_pl.lsh.plan import Plan, make_plan


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
) -> tuple[Tensor, Tensor]:
    """Shared-QK attention over the keys that n_hashes rounds of hashing bring near: (out (B, H, L, D), buckets (B, H, R, L) int32).

    qk, v (B, H, L, D), any L. Logits are q . k/|k|, without a further scale. A token never sees itself unless nothing else is in
    reach in any round; it then sees exactly itself. n_buckets: None, an even int, or a tuple of even factors (least significant
    first). `causal` adds "position j <= i" and nothing else. `bucket_mask` keeps a query to its own bucket. `dedupe` divides a key's
    weight by the number of rounds that reach it (N_ij of appendix A), which makes the result one softmax over the union; without
    it a key weighs as often as it is reached.

    window: "chunk" is the own chunk and the one before in sorted order (paper); "causal" the chunk_len keys before in the same
    bucket, so that no future token moves what the past reaches; "wrap" the published code's ring over all rounds, in which chunks of
    padding take part: there a padded batch equals each sequence alone only if both fill as many chunks.

    rotations (H, D, n_hashes, sum(factors) // 2) are drawn from `generator` when None; `buckets` given skips hashing.
    key_padding_mask (B, L) is True where padded: such tokens are no key and their output is 0.
    Raises ValueError for an illegal mode or a wrong shape, with the sentence that says why.
    """
    check_lsh(
        n_hashes=n_hashes,
        chunk_len=chunk_len,
        n_buckets=n_buckets,
        causal=causal,
        bucket_mask=bucket_mask,
        dedupe=dedupe,
        window=window,
    )
    if qk.shape != v.shape or qk.dim() != 4:
        raise ValueError(
            f"qk and v must both be (B, H, L, D): got {tuple(qk.shape)} and {tuple(v.shape)}"
        )
    b, _, length, _ = qk.shape
    if length == 0:
        raise ValueError("lsh_attention needs at least one token: L is 0")
    if key_padding_mask is not None and key_padding_mask.shape != (b, length):
        raise ValueError(
            f"key_padding_mask must be (B, L) = {(b, length)}, not {tuple(key_padding_mask.shape)}"
        )
    plan, buckets = hash_and_sort(
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
    )
    return attend(qk, v, plan), buckets


def hash_and_sort(
    qk: Tensor,
    *,
    n_hashes: int,
    chunk_len: int,
    n_buckets: Any,
    causal: bool,
    bucket_mask: bool,
    dedupe: bool,
    window: str,
    rotations: Tensor | None = None,
    buckets: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Plan, Tensor]:
    """Draw rotations, hash, sort: what each query reaches, and the buckets (B, H, n_hashes, L).

    qk (B, H, L, D). The options are those of `lsh_attention`, which has checked them.
    Raises ValueError for rotations or buckets of a wrong shape.
    """
    b, h, length, d = qk.shape
    factors = bucket_factors(n_buckets, length, chunk_len)
    if buckets is None:
        if rotations is None:
            rotations = draw_rotations(h, d, n_hashes, factors, generator)
        elif rotations.dim() != 4 or rotations.shape[2] != n_hashes:
            raise ValueError(
                f"rotations must be (H, D, n_hashes = {n_hashes}, sum(factors) // 2), not {tuple(rotations.shape)}"
            )
        buckets = hash_buckets(qk, rotations, factors)
    elif buckets.shape != (b, h, n_hashes, length) or (
        buckets.numel() and not 0 <= int(buckets.min()) <= int(buckets.max()) < math.prod(factors)
    ):
        raise ValueError(
            f"buckets must be (B, H, n_hashes, L) = {(b, h, n_hashes, length)} with values below {math.prod(factors)}"
        )
    plan = make_plan(
        buckets,
        math.prod(factors),
        chunk_len,
        causal,
        bucket_mask,
        dedupe,
        window,
        key_padding_mask,
    )
    return plan, buckets


def draw_rotations(
    h: int, d: int, n_hashes: int, factors: tuple[int, ...], generator: torch.Generator | None
) -> Tensor:
    """(H, D, n_hashes, sum(factors) // 2), shared over the batch. Drawn in float32, so that every precision draws alike."""
    device = generator.device if generator is not None else "cpu"
    return torch.randn(
        h, d, n_hashes, sum(factors) // 2, generator=generator, device=device, dtype=torch.float32
    )


@torch.no_grad()
def hash_buckets(qk: Tensor, rotations: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Angular LSH: argmax over [xR ; -xR] for each factor, h = h1 + f1 * h2 + ...; (B, H, n_hashes, L) int32 (section 2)."""
    b, h, length, d = qk.shape
    if (
        rotations.dim() != 4
        or rotations.shape[:2] != (h, d)
        or rotations.shape[3] != sum(factors) // 2
    ):
        raise ValueError(
            f"rotations must be (H, D, n_hashes, sum(factors) // 2) = {(h, d, 'n_hashes', sum(factors) // 2)}, not {tuple(rotations.shape)}"
        )
    rounds = rotations.shape[2]
    rotations = rotations.to(device=qk.device, dtype=qk.dtype).flatten(2)  # (H, D, R*S)
    buckets = torch.empty(b, h, rounds, length, dtype=torch.int32, device=qk.device)
    width = max(1, tile_bytes(qk.device) // (b * h * rotations.shape[2] * qk.element_size()))
    slices = range(
        0, min(length, 2 * width) if isinstance(qk, FakeTensor) else length, width
    )  # fake ones are all alike
    for start in slices:  # all projections together would outweigh q, k and v
        projected = (qk[:, :, start : start + width] @ rotations).unflatten(
            -1, (rounds, -1)
        )  # (B, H, l, R, S)
        sizes, bucket, step, column = projected.abs(), 0, 1, 0
        for factor in factors:
            largest = sizes[..., column : column + factor // 2].argmax(-1, keepdim=True)
            negative = projected[..., column : column + factor // 2].gather(-1, largest) < 0
            bucket = bucket + step * (largest + negative * (factor // 2))
            step, column = step * factor, column + factor // 2
        buckets[..., start : start + width] = bucket.squeeze(-1).transpose(2, 3)
    return buckets


def attend(qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Attention of every token over what the plan reaches: (B, H, L, D), differentiable in qk and v."""
    length, p = qk.shape[2], plan.order.shape[2]
    v = v.to(qk.dtype)  # autocast leaves them alike
    if p > length:
        qk, v = (F.pad(x, (0, 0, 0, p - length)) for x in (qk, v))
    return LSHAttend.apply(qk, v, plan)[:, :, :length]
