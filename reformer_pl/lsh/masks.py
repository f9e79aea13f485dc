"""What the queries of one round may reach: first as numbers per token (`reach`), then as the bias
of a tile (`tile_bias`).

Shapes: B batch, H heads, N = B*H sequences, R rounds, P padded length, m chunk_len; a tile is g
sequences x T chunks of m queries, each over 2m keys. A `ring` is (g, m + P): a number per token in
sorted order, behind the last chunk of the round before.

A key that several rounds reach must count once (N_ij of appendix A). All rounds are one softmax
over the union of their keys. So it is enough that each round masks what an earlier one reaches. The
result is that of weights 1/N_ij, at half the comparisons and without a logarithm. Masks are
subtractions and minima of floats, because those run several times as fast as comparisons.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.lsh.plan import Plan


class Lookup(NamedTuple):
    """Rows of a window's bias, float32: 0 or -inf for each of its 2m keys."""

    below: Tensor  # (2m + 1, 2m), row l masks the keys before l
    above: Tensor  # (2m + 1, 2m), row l masks the keys from l on
    not_before: Tensor  # (m, 2m), row i masks query i itself and the keys behind it


class Reach(NamedTuple):
    """What every query of g sequences may reach in one round."""

    ring: Tensor  # (g, m + P) int64 positions
    padded: Tensor | None  # (g, P) bool by position
    # (g, P) the first key of the own window, and the first that is too far. None in window="wrap",
    # where the whole window is reached.
    low: Tensor | None
    high: Tensor | None
    # A ring of codes for each earlier round, whose pairs count no second time.
    earlier: tuple[Tensor, ...]


def lookup(m: int, device: torch.device) -> Lookup:
    column = torch.arange(2 * m, device=device)
    bound = torch.arange(2 * m + 1, device=device)[:, None]
    own = torch.arange(m, 2 * m, device=device)[:, None]
    return Lookup(infinite(column < bound), infinite(column >= bound), infinite(column >= own))


def reach(plan: Plan, some: slice, r: int) -> Reach:
    """Round r of some of the N sequences."""
    m, p = plan.chunk_len, plan.order.shape[2]
    # The first chunk looks back into the round before: the ring of window="wrap"; in the other
    # windows it is masked.
    ring = torch.cat([plan.order[some, r - 1, p - m :], plan.order[some, r]], 1).long()
    padded = plan.padded
    if padded is not None:
        padded = padded.repeat_interleave(plan.order.shape[0] // padded.shape[0], 0)[some]
    if plan.window == "wrap":
        return Reach(ring, padded, None, None, ())
    keys = p if padded is None else (~padded).sum(-1, keepdim=True)
    low, high = intervals(plan, plan.code[some, r].gather(1, ring[:, m:]), keys)
    start = torch.arange(p, device=ring.device) // m * m - m  # of each query's window
    dtype = code_dtype(plan.largest_code)
    rounds = range(r) if plan.dedupe else ()
    earlier = tuple(plan.code[some, e].gather(1, ring).to(dtype) for e in rounds)
    return Reach(ring, padded, low - start, (high - start).clamp_min(0), earlier)


def code_dtype(largest_code: int) -> torch.dtype:
    """The narrowest float in which the half-way numbers between codes are exact: float32 has halves
    below 2**23.
    """
    return torch.float32 if largest_code < 2**23 else torch.float64


def intervals(plan: Plan, code: Tensor, keys: Tensor | int) -> tuple[Tensor, Tensor]:
    """The sorted indices [low, high) that each query reaches in one round, self and causality by
    position aside.

    code (g, P) in sorted order; keys, (g, 1) or a number: how many tokens are not padded. Returns
    two (g, P) int64 tensors.
    """
    m, p = plan.chunk_len, code.shape[1]
    s = torch.arange(p, device=code.device)
    here = s // m * m
    low = s - m if plan.window == "causal" else here - m
    # Within a bucket, sorted order is position order.
    high = s if plan.causal and plan.bucket_mask else here + m
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


def tile_bias(plan: Plan, rows: Lookup, reach: Reach, c: int, stop: int) -> Tensor:
    """(g, T, m, 2m) of chunks c to stop, float32: 0 where this round is the first to reach the
    pair, else -inf.
    """
    m, g, t = plan.chunk_len, reach.ring.shape[0], stop - c
    if plan.window == "wrap":
        key, query = pairs(reach.ring, m, c, stop)
        seen = (key < query) if plan.causal else (key != query)
        if reach.padded is not None:
            seen &= ~pairs(reach.padded.gather(1, reach.ring), m, c, stop)[0]
        return infinite(~seen)
    own = slice(c * m, stop * m)
    bias = rows.below.index_select(0, reach.low[:, own].reshape(-1)).view(g, t, m, 2 * m)
    if plan.causal and plan.bucket_mask:
        bias += rows.not_before
    else:
        above = rows.above.index_select(0, reach.high[:, own].reshape(-1)).view(bias.shape)
        torch.minimum(bias, above, out=bias)
        if plan.causal:
            key, query = pairs(reach.ring, m, c, stop)
            bias.masked_fill_(key >= query, -math.inf)
        bias.diagonal(offset=m, dim1=2, dim2=3).fill_(-math.inf)
    if reach.earlier:
        torch.minimum(bias, not_reached(plan, reach.earlier, c, stop).to(bias.dtype), out=bias)
    return bias


def not_reached(plan: Plan, earlier: tuple[Tensor, ...], c: int, stop: int) -> Tensor:
    """(g, T, m, 2m) of chunks c to stop: -inf where one of the earlier rounds reaches the pair,
    else a number above 0.
    """
    m = plan.chunk_len
    # A round reaches a pair where |code_i - code_j - middle| <= half.
    middle, half = ((m + 1) / 2, m / 2) if plan.window == "causal" else (0.5, 1.0)
    nearest = None
    for codes in earlier:
        key, query = pairs(codes, m, c, stop)
        distance = (query - middle).sub(key).abs_()
        nearest = distance if nearest is None else torch.minimum(nearest, distance, out=nearest)
    return F.threshold_(nearest, half, -math.inf)


def pairs(ring: Tensor, m: int, c: int, stop: int) -> tuple[Tensor, Tensor]:
    """A ring's numbers of the keys, (g, T, 1, 2m), and of the queries, (g, T, m, 1), of chunks c to
    stop.
    """
    ring = ring[:, c * m : (stop + 1) * m]
    return windows(ring, m)[:, :, None], ring[:, m:].view(len(ring), stop - c, m, 1)


def infinite(masked: Tensor) -> Tensor:
    """A bias, float32: -inf where masked, else 0."""
    zeros = torch.zeros(masked.shape, dtype=torch.float32, device=masked.device)
    return zeros.masked_fill_(masked, -math.inf)


def windows(x: Tensor, m: int) -> Tensor:
    """(g, (T+1)*m, ...) -> (g, T, 2m, ...): each chunk with the one before, a view."""
    return x.unfold(1, 2 * m, m).movedim(-1, 2)
