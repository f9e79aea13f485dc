"""What LSH attention is, written straight from the paper's words: dense, quadratic, slow, and
differentiable by plain autograd.

Shapes: B batch, H heads, R rounds, L length, D head size. Nothing here is shared with
`reformer_pl.lsh`.
"""

import math

import torch
from torch import Tensor


def bucket_factors(
    n_buckets: int | tuple[int, ...] | None, length: int, chunk_len: int
) -> tuple[int, ...]:
    """The factors of the number of buckets: None is 2 L / chunk_len, in two factors above 128."""
    if n_buckets is None:
        n = 2 * max(1, length // chunk_len)
        first = 2 ** math.ceil(math.log2(math.sqrt(n)))
        return (n,) if n <= 128 else (first, 2 * (n // (2 * first)))
    return (n_buckets,) if isinstance(n_buckets, int) else tuple(n_buckets)


def hash_buckets(qk: Tensor, rotations: Tensor, factors: tuple[int, ...]) -> Tensor:
    """(B, H, L, D) -> (B, H, R, L): argmax [xR ; -xR] a factor, the least significant first."""
    projected = torch.einsum("bhld,hdrc->bhrlc", qk, rotations)
    buckets, weight, column = torch.zeros_like(projected[..., 0], dtype=torch.long), 1, 0
    for factor in factors:
        x = projected[..., column : column + factor // 2]
        buckets = buckets + weight * torch.cat([x, -x], -1).argmax(-1)
        weight, column = weight * factor, column + factor // 2
    return buckets


def reach_counts(
    buckets: Tensor, padded: Tensor, *, chunk_len: int, causal: bool, bucket_mask: bool, window: str
) -> Tensor:
    """How often query i (row) reaches key j, (L, L); buckets (R, L) and padded (L,) of one head."""
    rounds, length = buckets.shape
    position = torch.arange(length)
    chunks = math.ceil(
        length / chunk_len
    )  # of one round: the pad up to it sorts last and is no key
    chunk = torch.empty_like(buckets)
    for r in range(rounds):
        order = sorted(range(length), key=lambda i: (bool(padded[i]), int(buckets[r, i]), i))
        chunk[r, order] = position // chunk_len
    counts = torch.zeros(length, length, dtype=torch.long)
    for r in range(rounds):
        same_bucket = buckets[r][:, None] == buckets[r][None, :]
        if window == "chunk":
            back = chunk[r][:, None] - chunk[r][None, :]
            hit = (back == 0) | (back == 1)
            counts += hit & same_bucket if bucket_mask else hit
        elif window == "causal":  # how many tokens of its own bucket come before each token
            before = (same_bucket & ~padded[None, :] & (position[None, :] < position[:, None])).sum(
                1
            )
            back = before[:, None] - before[None, :]
            counts += same_bucket & (back >= 1) & (back <= chunk_len)
        else:
            # wrap: one ring over the chunks of all rounds, so that keys may be another round's
            for other in range(rounds):
                back = (r * chunks + chunk[r][:, None] - other * chunks - chunk[other][None, :]) % (
                    rounds * chunks
                )
                counts += (back == 0) | (back == 1)
    if causal:
        counts *= position[None, :] <= position[:, None]
    return counts * (position[None, :] != position[:, None]) * ~padded[None, :]


def lsh_attention(
    qk: Tensor,
    v: Tensor,
    buckets: Tensor,
    *,
    chunk_len: int,
    causal: bool = True,
    bucket_mask: bool = True,
    dedupe: bool = True,
    window: str = "chunk",
    key_padding_mask: Tensor | None = None,
) -> Tensor:
    """One softmax over the union of all rounds' keys (dedupe), or over their log counts; itself
    only when nothing else.
    """
    batch, heads, length, _ = qk.shape
    padded = (
        torch.zeros(batch, length, dtype=torch.bool)
        if key_padding_mask is None
        else key_padding_mask
    )
    rows = []
    for b in range(batch):
        for h in range(heads):
            counts = reach_counts(
                buckets[b, h].long(),
                padded[b],
                chunk_len=chunk_len,
                causal=causal,
                bucket_mask=bucket_mask,
                window=window,
            )
            q = qk[b, h]
            logits = q @ (q / q.norm(dim=-1, keepdim=True)).T
            if not dedupe:
                logits = logits + counts.clamp(min=1).to(q.dtype).log()
            seen = counts > 0
            seen = seen | torch.diag(~seen.any(-1))
            out = logits.masked_fill(~seen, -math.inf).softmax(-1) @ v[b, h]
            rows.append(out.masked_fill(padded[b][:, None], 0.0))
    return torch.stack(rows).view(batch, heads, length, -1)
