"""What the Triton kernels share: which token stands where, and which pairs a round is the first to
reach. No mask, bias or score is ever in memory.

Every kernel works on blocks of BLOCK tokens in sorted order. P padded length, R rounds, M chunk_len
and D head size are as in `plan`; `rows` index flat (rows, D) tensors.
"""

import triton
import triton.language as tl


@triton.jit
def sequence(pid, P, H, batch, head, M: tl.constexpr, BLOCK: tl.constexpr):
    """What a program works on: (sequence n, sorted index of its chunk's first token, offset of its
    block within the chunk, row of the sequence's first token).
    """
    blocks: tl.constexpr = (M + BLOCK - 1) // BLOCK
    chunks = P // M
    n = pid // (blocks * chunks)
    chunk = pid // blocks % chunks
    base = (n // H).to(tl.int64) * batch + (n % H).to(tl.int64) * head
    return n.to(tl.int64), chunk * M, pid % blocks * BLOCK, base


@triton.jit
def count_keys(Padding, n, P, H, PADDED: tl.constexpr):
    """How many tokens of a sequence are no padding. They come first in every sorted order."""
    keys = P
    if PADDED:
        keys = P - tl.load(Padding + n // H).to(tl.int32)
    return keys


@triton.jit
def positions(Order, s, inside, r, R, P, keys, RING: tl.constexpr):
    """(position, whether there is such a token, whether it is no padding) of each sorted index s of
    round r. With RING, what lies beyond a round's end is another round's.
    """
    t = r * P + s
    if RING:
        t = tl.where(t < 0, t + R * P, t)
        t = tl.where(t >= R * P, t - R * P, t)
        s = tl.where(s < 0, s + P, s)
        s = tl.where(s >= P, s - P, s)
    else:
        inside = inside & (s >= 0) & (s < P)
    return tl.load(Order + t, mask=inside, other=0), inside, inside & (s < keys)


@triton.jit
def load_rows(X, rows, real, D: tl.constexpr, WIDTH: tl.constexpr):
    """(BLOCK, WIDTH) of a (rows, D) tensor, 0 where there is nothing."""
    d = tl.arange(0, WIDTH)
    at = X + rows[:, None] * D + d[None, :]
    return tl.load(at, mask=real[:, None] & (d < D)[None, :], other=0.0)


@triton.jit
def store_rows(X, rows, x, real, D: tl.constexpr, WIDTH: tl.constexpr):
    """Store (BLOCK, WIDTH) into the rows of a (rows, D) tensor."""
    d = tl.arange(0, WIDTH)
    at = X + rows[:, None] * D + d[None, :]
    tl.store(at, x.to(X.dtype.element_ty), mask=real[:, None] & (d < D)[None, :])


@triton.jit
def inverse_norm(k):
    """1 / |k| of each row, float32: logits are q . k / |k| (section 2)."""
    k = k.to(tl.float32)
    return 1.0 / tl.maximum(tl.sqrt(tl.sum(k * k, 1)), 1e-12)


@triton.jit
def finite(lse):
    """0 where nothing was reached: exp(-inf - 0) is 0 there, as it should be."""
    return tl.where(lse == float("-inf"), 0.0, lse)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr, INTERPRETED: tl.constexpr):
    """total + a @ b in float32. The interpreter cannot multiply bfloat16."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def within(Code, e, R, row, column, row_real, column_real, LOW: tl.constexpr, HIGH: tl.constexpr):
    """Whether code_row - code_column of round e is LOW to HIGH."""
    code_row = tl.load(Code + row * R + e, mask=row_real, other=0)
    code_column = tl.load(Code + column * R + e, mask=column_real, other=0)
    difference = code_row[:, None] - code_column[None, :]
    return (difference >= LOW) & (difference <= HIGH)


@triton.jit
def mask_scores(
    scores,
    Code,
    r,
    R,
    row,
    column,
    row_real,
    column_real,
    CAUSAL: tl.constexpr,
    CODED: tl.constexpr,
    DEDUPE: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    KEYS_IN_ROWS: tl.constexpr,
):
    """The scores (BLOCK, BLOCK) of the pairs that round r is the first to reach, -inf for others.

    Queries are in the rows and keys in the columns, or the other way round; row and column are
    their positions. The scores are carried, not the mask: the comparisons then happen where the
    scores are, a few rows and columns a thread, and not in a layout of their own.
    """
    low: tl.constexpr = -HIGH if KEYS_IN_ROWS else LOW
    high: tl.constexpr = -LOW if KEYS_IN_ROWS else HIGH
    nowhere = float("-inf")
    scores = tl.where(row_real[:, None] & column_real[None, :], scores, nowhere)
    if not CAUSAL:
        scores = tl.where(row[:, None] != column[None, :], scores, nowhere)
    elif KEYS_IN_ROWS:
        scores = tl.where(row[:, None] < column[None, :], scores, nowhere)
    else:
        scores = tl.where(row[:, None] > column[None, :], scores, nowhere)
    if CODED:
        here = within(Code, r, R, row, column, row_real, column_real, low, high)
        scores = tl.where(here, scores, nowhere)
    if DEDUPE:
        for e in range(0, r):
            again = within(Code, e, R, row, column, row_real, column_real, low, high)
            scores = tl.where(again, nowhere, scores)
    return scores
