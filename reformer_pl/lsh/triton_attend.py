"""The Triton kernels of LSH attention: one launch a round and pass, the output and its gradients
added up round by round.

A token is a query in one chunk of a round and a key in the same one. So one program owns a block of
tokens as both, nobody else writes their rows in this launch, and no sum depends on an order: there
are no atomics, and equal inputs give equal bits.
"""

import triton
import triton.language as tl

from reformer_pl.lsh.triton_reach import (
    count_keys,
    finite,
    inverse_norm,
    load_rows,
    mask_scores,
    positions,
    product,
    sequence,
    store_rows,
)

RUNTIME = ["r", "R", "P", "L", "H", "batch", "head", "token"]  # no kernel anew for each value


@triton.jit(do_not_specialize=RUNTIME)
def forward_round(
    Q,
    V,
    Order,
    Code,
    Padding,
    Sum,
    Lse,
    Out,
    r,
    R,
    P,
    L,
    H,
    batch,
    head,
    token,
    M: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    RING: tl.constexpr,
    NEAR: tl.constexpr,
    SORTED: tl.constexpr,
    CAUSAL: tl.constexpr,
    CODED: tl.constexpr,
    DEDUPE: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PRECISION: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Attend in round r, on top of what Sum (rows, D) and Lse (rows,), both float32, hold of the
    rounds before. The last round writes Out, where a token that reached nothing has its own v.
    """
    n, start, offset, base = sequence(tl.program_id(0), P, H, batch, head, M, BLOCK)
    keys = count_keys(Padding, n, P, H, PADDED)
    Order, Code = Order + n * R * P, Code + n * P * R
    here = offset + tl.arange(0, BLOCK)
    query, there, real = positions(Order, start + here, here < M, r, R, P, keys, RING)
    own = base + query.to(tl.int64) * token
    q = load_rows(Q, own, real, D, WIDTH)
    top = tl.load(Lse + own, mask=real & (r > 0), other=float("-inf"))
    weight = tl.where(top == float("-inf"), 0.0, 1.0)
    # A single round has no sum beside its result, and that may be of lower precision.
    out = load_rows(Sum, own, real & (r > 0), D, WIDTH).to(tl.float32)
    # Keys behind the query in sorted order are never reached where order is position order.
    stop = min(2 * M, M + offset + BLOCK) if SORTED else 2 * M
    for w in range(offset if NEAR else 0, stop, STEP):
        window = w + tl.arange(0, STEP)
        key, _key_there, key_real = positions(
            Order, start - M + window, window < 2 * M, r, R, P, keys, RING
        )
        rows = base + key.to(tl.int64) * token
        k = load_rows(Q, rows, key_real, D, WIDTH)
        nothing = tl.zeros((BLOCK, STEP), tl.float32)
        scores = product(q, tl.trans(k), nothing, PRECISION, INTERPRETED) * inverse_norm(k)[None, :]
        scores = mask_scores(
            scores, Code, r, R, query, key, real, key_real, CAUSAL, CODED, DEDUPE, LOW, HIGH, False
        )
        higher = tl.maximum(top, tl.max(scores, 1))
        safe = finite(higher)
        p = tl.exp(scores - safe[:, None])
        shrink = tl.exp(top - safe)
        v = load_rows(V, rows, key_real, D, WIDTH)
        weight = weight * shrink + tl.sum(p, 1)
        out = product(p.to(v.dtype), v, out * shrink[:, None], PRECISION, INTERPRETED)
        top = higher
    total = tl.where(weight == 0.0, 1.0, weight)
    out = out / total[:, None]
    tl.store(Lse + own, tl.where(weight == 0.0, float("-inf"), top + tl.log(total)), mask=real)
    last = r == R - 1
    store_rows(Sum, own, out, real & (not last), D, WIDTH)
    alone = real & last & (weight == 0.0)
    out = tl.where(alone[:, None], load_rows(V, own, alone, D, WIDTH).to(tl.float32), out)
    # What is padding has reached nothing and is 0; what only fills up the last chunk has no row.
    store_rows(Out, own, out, there & last & (query < L), D, WIDTH)


@triton.jit(do_not_specialize=RUNTIME)
def backward_queries(
    Grad,
    Q,
    V,
    Order,
    Code,
    Padding,
    Out,
    Lse,
    Delta,
    SumQ,
    r,
    R,
    P,
    L,
    H,
    batch,
    head,
    token,
    M: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    RING: tl.constexpr,
    NEAR: tl.constexpr,
    SORTED: tl.constexpr,
    CAUSAL: tl.constexpr,
    CODED: tl.constexpr,
    DEDUPE: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PRECISION: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Add to SumQ (rows, D) float32 what round r's queries get. Lse and Out are those of all rounds
    together. Round 0 fills in Delta (rows,), the scalar products of Grad and Out.
    """
    n, start, offset, base = sequence(tl.program_id(0), P, H, batch, head, M, BLOCK)
    keys = count_keys(Padding, n, P, H, PADDED)
    Order, Code = Order + n * R * P, Code + n * P * R
    here = offset + tl.arange(0, BLOCK)
    query, _there, real = positions(Order, start + here, here < M, r, R, P, keys, RING)
    own = base + query.to(tl.int64) * token
    q, grad = load_rows(Q, own, real, D, WIDTH), load_rows(Grad, own, real, D, WIDTH)
    lse = finite(tl.load(Lse + own, mask=real, other=0.0))
    out = load_rows(Out, own, real & (r == 0), D, WIDTH).to(tl.float32)
    delta = tl.sum(out * grad.to(tl.float32), 1)
    delta += tl.load(Delta + own, mask=real & (r > 0), other=0.0)
    tl.store(Delta + own, delta, mask=real & (r == 0))
    grad_query = tl.zeros((BLOCK, WIDTH), tl.float32)
    nothing = tl.zeros((BLOCK, STEP), tl.float32)
    stop = min(2 * M, M + offset + BLOCK) if SORTED else 2 * M
    for w in range(offset if NEAR else 0, stop, STEP):
        window = w + tl.arange(0, STEP)
        key, _key_there, key_real = positions(
            Order, start - M + window, window < 2 * M, r, R, P, keys, RING
        )
        rows = base + key.to(tl.int64) * token
        k, v = load_rows(Q, rows, key_real, D, WIDTH), load_rows(V, rows, key_real, D, WIDTH)
        inverse = inverse_norm(k)
        scores = product(q, tl.trans(k), nothing, PRECISION, INTERPRETED) * inverse[None, :]
        scores = mask_scores(
            scores, Code, r, R, query, key, real, key_real, CAUSAL, CODED, DEDUPE, LOW, HIGH, False
        )
        p = tl.exp(scores - lse[:, None])
        change = product(grad, tl.trans(v), nothing, PRECISION, INTERPRETED)
        change = p * (change - delta[:, None])
        # A short key has a large inverse, which float16 could not hold beside the change.
        unit = (k.to(tl.float32) * inverse[:, None]).to(k.dtype)
        grad_query = product(change.to(k.dtype), unit, grad_query, PRECISION, INTERPRETED)
    grad_query += load_rows(SumQ, own, real & (r > 0), D, WIDTH)
    store_rows(SumQ, own, grad_query, real, D, WIDTH)


@triton.jit(do_not_specialize=RUNTIME)
def backward_keys(
    Grad,
    Q,
    V,
    Order,
    Code,
    Padding,
    Lse,
    Delta,
    SumQ,
    SumV,
    GradQ,
    GradV,
    r,
    R,
    P,
    L,
    H,
    batch,
    head,
    token,
    M: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    RING: tl.constexpr,
    NEAR: tl.constexpr,
    SORTED: tl.constexpr,
    CAUSAL: tl.constexpr,
    CODED: tl.constexpr,
    DEDUPE: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PRECISION: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Add to SumQ and SumV (rows, D) float32 what round r's keys and values get. The last round
    writes the sums as GradQ and GradV.
    """
    n, start, offset, base = sequence(tl.program_id(0), P, H, batch, head, M, BLOCK)
    keys = count_keys(Padding, n, P, H, PADDED)
    Order, Code = Order + n * R * P, Code + n * P * R
    here = offset + tl.arange(0, BLOCK)
    key, there, real = positions(Order, start + here, here < M, r, R, P, keys, RING)
    own = base + key.to(tl.int64) * token
    k, v = load_rows(Q, own, real, D, WIDTH), load_rows(V, own, real, D, WIDTH)
    inverse = inverse_norm(k)[:, None]
    grad_key = tl.zeros((BLOCK, WIDTH), tl.float32)
    grad_value = tl.zeros((BLOCK, WIDTH), tl.float32)
    nothing = tl.zeros((BLOCK, STEP), tl.float32)
    # Over the queries that have these keys in their windows: this chunk's and the next one's.
    stop = min(2 * M, M + offset + BLOCK) if NEAR else 2 * M
    for w in range(offset if SORTED else 0, stop, STEP):
        window = w + tl.arange(0, STEP)
        query, _query_there, query_real = positions(
            Order, start + window, window < 2 * M, r, R, P, keys, RING
        )
        rows = base + query.to(tl.int64) * token
        q = load_rows(Q, rows, query_real, D, WIDTH)
        grad = load_rows(Grad, rows, query_real, D, WIDTH)
        lse = finite(tl.load(Lse + rows, mask=query_real, other=0.0))
        delta = tl.load(Delta + rows, mask=query_real, other=0.0)
        scores = product(k, tl.trans(q), nothing, PRECISION, INTERPRETED) * inverse
        scores = mask_scores(
            scores, Code, r, R, key, query, real, query_real, CAUSAL, CODED, DEDUPE, LOW, HIGH, True
        )
        p = tl.exp(scores - lse[None, :])
        grad_value = product(p.to(q.dtype), grad, grad_value, PRECISION, INTERPRETED)
        change = product(v, tl.trans(grad), nothing, PRECISION, INTERPRETED)
        change = p * (change - delta[None, :])
        grad_key = product(change.to(q.dtype), q, grad_key, PRECISION, INTERPRETED)
    # Back through k / |k|, to the one tensor of queries and keys.
    again = real & (R > 0)  # always so: loaded again, for the loop needs the registers
    unit = load_rows(Q, own, again, D, WIDTH).to(tl.float32) * inverse
    grad_key = (grad_key - unit * tl.sum(unit * grad_key, 1)[:, None]) * inverse
    grad_key += load_rows(SumQ, own, real, D, WIDTH)
    grad_value += load_rows(SumV, own, real & (r > 0), D, WIDTH)
    last = r == R - 1
    store_rows(SumQ, own, grad_key, real & (not last), D, WIDTH)
    store_rows(SumV, own, grad_value, real & (not last), D, WIDTH)
    # A token that reached nothing has its own v as its output.
    alone = real & last
    alone = alone & (tl.load(Lse + own, mask=alone, other=0.0) == float("-inf"))
    grad_value += load_rows(Grad, own, alone, D, WIDTH).to(tl.float32)
    at_last = there & last & (key < L)
    store_rows(GradQ, own, grad_key, at_last, D, WIDTH)
    store_rows(GradV, own, grad_value, at_last, D, WIDTH)
