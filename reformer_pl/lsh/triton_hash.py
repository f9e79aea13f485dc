"""The Triton kernel of angular hashing: one launch for all rounds, and no projection in memory.

Shapes: H heads, L length, D head size, R hash rounds, S directions of a round, as in `hashing`.
"""

import triton
import triton.language as tl

from reformer_pl.lsh.triton_reach import load_rows


@triton.jit
def nearest_direction(q, rotations, HALF: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr):
    """(BLOCK,) the index of the largest of [x ; -x], x = q @ rotations, of HALF directions."""
    BLOCK: tl.constexpr = q.shape[0]
    WIDTH: tl.constexpr = q.shape[1]
    nothing = tl.zeros((BLOCK, COLUMNS), tl.float32)
    most = tl.full((BLOCK,), -1.0, tl.float32)
    best = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, HALF, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        real = column < HALF
        d = tl.arange(0, WIDTH)
        at = rotations[:, None] + column[None, :]
        rotation = tl.load(at, mask=(d < D)[:, None] & real[None, :], other=0.0)
        x = tl.dot(q, rotation, nothing, input_precision="tf32x3")
        size = tl.where(real[None, :], tl.abs(x), -1.0)
        largest = tl.max(size, 1)
        index = tl.min(tl.where(size == largest[:, None], column[None, :], HALF), 1)
        value = tl.sum(tl.where(column[None, :] == index[:, None], x, 0.0), 1)
        index += tl.where(value < 0.0, HALF, 0)
        best = tl.where(largest > most, index, best)
        most = tl.maximum(largest, most)
    return best


@triton.jit(do_not_specialize=["R", "L", "H", "batch", "head", "token", "S"])
def hash_tokens(
    Q,
    Rotations,
    Buckets,
    R,
    L,
    H,
    batch,
    head,
    token,
    S,
    FACTORS: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Buckets (B, H, R, L) of Q (rows, D) under Rotations (H, D, R, S) float32: for each factor f
    the index of the largest of [x ; -x], x = q @ rotations, the first factor least significant.
    """
    blocks = (L + BLOCK - 1) // BLOCK
    n = (tl.program_id(0) // blocks).to(tl.int64)
    position = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    rows = n // H * batch + n % H * head + position.to(tl.int64) * token
    there = position < L
    q = load_rows(Q, rows, there, D, WIDTH).to(tl.float32)
    rotations = Rotations + (n % H) * D * R * S + tl.arange(0, WIDTH) * R * S
    for r in range(0, R):
        bucket = tl.zeros((BLOCK,), tl.int32)
        first, step = r * S, 1
        for i in tl.static_range(len(FACTORS)):
            nearest = nearest_direction(q, rotations + first, FACTORS[i] // 2, D, COLUMNS)
            bucket += step * nearest
            first, step = first + FACTORS[i] // 2, step * FACTORS[i]
        tl.store(Buckets + (n * R + r) * L + position, bucket, mask=there)
