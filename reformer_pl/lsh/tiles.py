"""Cut the rounds of a plan into tiles, and say in a bias what each tile's queries reach.

Shapes: B batch, H heads, N = B*H rows, R rounds, P padded length, m chunk_len, D head size; a tile is g rows x T chunks.

A key that several rounds reach must count once (N_ij of appendix A). As all rounds are one softmax over the union of their keys, it is
enough that each round masks what an earlier one reaches: the result of weights 1/N_ij, at half the comparisons and no logarithm.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from reformer_pl.lsh.kernels import tile_bytes
from reformer_pl.lsh.plan import Plan, intervals


class Tile(NamedTuple):
    round: int
    key: Tensor  # (g*(T+1)*m,) int64 rows of the flat (rows, D) tensors: the chunk before, then the tile's own
    # (g*m*T,) the tile's own alone, in the order (row, place in the chunk, chunk). The fused ops lay out their results in that order,
    # and CUDA's read the output and its gradient so, whatever their strides say (pytorch issue 138772).
    query: Tensor
    bias: Tensor  # (g, T, m, 2m) 0 where this round is the first to reach the pair, else -inf


class Rows(NamedTuple):
    """How (B, H, P, D) lies in memory: token (b, h, i) is row b * batch + h * head + i * token of a flat (rows, D) tensor."""

    batch: int
    head: int
    token: int

    @staticmethod
    def of(x: Tensor) -> "Rows":
        """Heads last, as a projection leaves them, or head by head."""
        _, h, p, _ = x.shape
        return Rows(p * h, 1, h) if x.transpose(1, 2).is_contiguous() else Rows(h * p, p, 1)

    def flat(self, x: Tensor) -> Tensor:
        """x as (rows, D); a copy only if it lies otherwise."""
        return (x.transpose(1, 2) if self.token > 1 else x).reshape(-1, x.shape[-1])

    def back(self, x: Tensor, b: int, h: int) -> Tensor:
        """(rows, D) as (B, H, P, D), a view."""
        return (
            x.view(b, -1, h, x.shape[1]).transpose(1, 2)
            if self.token > 1
            else x.view(b, h, -1, x.shape[1])
        )

    def base(self, b: int, h: int, device: torch.device) -> Tensor:
        """(N, 1): the row of each sequence's first token."""
        batch, head = torch.arange(b, device=device), torch.arange(h, device=device)
        return (batch[:, None] * self.batch + head * self.head).view(-1, 1)


def tiles(plan: Plan, rows: Rows, b: int, itemsize: int) -> Iterator[Tile]:
    """Whole sequences of one round if their bias fits tile_bytes, else runs of chunks of one."""
    n, rounds, p = plan.order.shape
    m, device = plan.chunk_len, plan.order.device
    chunks = p // m
    budget = max(1, tile_bytes(device) // (2 * m * m * itemsize))  # chunks per tile
    width, group = min(chunks, budget), max(1, budget // chunks)
    base, masks = rows.base(b, n // b, device), Masks(plan)
    every: Any = range(rounds)
    if isinstance(
        plan.order, FakeTensor
    ):  # nothing is computed, and every tile holds the same: the last round, which holds most
        n, every, chunks = min(n, group), [rounds - 1], width
    for a in range(0, n, group):
        some = slice(a, a + group)
        for r in every:
            # The first chunk looks back into the round before: the ring of window="wrap"; in the other windows it is masked.
            ring = torch.cat([plan.order[some, r - 1, p - m :], plan.order[some, r]], 1).long()
            flat = ring * rows.token + base[some]
            masks.enter(some, r, ring)
            for c in range(0, chunks, width):
                stop = min(chunks, c + width)
                key = flat[:, c * m : (stop + 1) * m]
                query = key[:, m:].unflatten(1, (-1, m)).transpose(1, 2)
                yield Tile(r, key.reshape(-1), query.reshape(-1), masks.bias(c, stop))


class Masks:
    """What the queries of a round may reach, first as numbers per token (`enter`), then as the bias of a tile.

    Subtractions and minima of float32, because they run several times as fast as comparisons; codes are whole numbers below 2**24.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, m, device = plan, plan.chunk_len, plan.order.device
        column = torch.arange(2 * m, device=device)
        bound = torch.arange(2 * m + 1, device=device)[:, None]
        self.below = infinite(column < bound)  # row l masks what lies below l
        self.above = infinite(column >= bound)
        self.not_before = infinite(column >= torch.arange(m, 2 * m, device=device)[:, None])
        # An earlier round reaches a pair where |code_i - code_j - middle| <= half.
        self.middle, self.half = ((m + 1) / 2, m / 2) if plan.window == "causal" else (0.5, 1.0)

    def enter(self, some: slice, r: int, ring: Tensor) -> None:
        """some: which rows; ring (g, m + P): the positions of round r in sorted order, behind a last chunk of the round before."""
        plan, m = self.plan, self.plan.chunk_len
        self.ring, order, heads = (
            ring,
            ring[:, m:],
            plan.order.shape[0] // (1 if plan.padded is None else plan.padded.shape[0]),
        )
        self.padded = None if plan.padded is None else plan.padded.repeat_interleave(heads, 0)[some]
        if plan.window == "wrap":
            return
        keys = order.shape[1] if self.padded is None else (~self.padded).sum(-1, keepdim=True)
        low, high = intervals(plan, plan.code[some, r].gather(1, order), keys)
        start = (
            torch.arange(order.shape[1], device=ring.device) // m * m - m
        )  # of each query's window
        self.low, self.high = low - start, (high - start).clamp_min(0)
        self.codes = [
            plan.code[some, e].gather(1, ring).float() for e in range(r if plan.dedupe else 0)
        ]

    def bias(self, c: int, stop: int) -> Tensor:
        """(g, T, m, 2m) of chunks c to stop: 0 or -inf, float32."""
        plan, m = self.plan, self.plan.chunk_len
        g, t = self.ring.shape[0], stop - c
        if plan.window == "wrap":
            key, query = self.pairs(self.ring, c, stop)
            seen = (key < query) if plan.causal else (key != query)
            if self.padded is not None:
                seen &= ~windows(self.padded.gather(1, self.ring[:, c * m : (stop + 1) * m]), m)[
                    :, :, None
                ]
            return infinite(~seen)
        bias = self.below.index_select(0, self.low[:, c * m : stop * m].reshape(-1)).view(
            g, t, m, 2 * m
        )
        if plan.causal and plan.bucket_mask:
            bias += self.not_before
        else:
            above = self.above.index_select(0, self.high[:, c * m : stop * m].reshape(-1)).view(
                bias.shape
            )
            torch.minimum(bias, above, out=bias)
            if plan.causal:
                key, query = self.pairs(self.ring, c, stop)
                bias.masked_fill_(key >= query, -math.inf)
            bias.diagonal(offset=m, dim1=2, dim2=3).fill_(-math.inf)
        distance = None
        for code in self.codes:
            key, query = self.pairs(code, c, stop)
            d = (query - self.middle).sub(key).abs_()
            distance = d if distance is None else torch.minimum(distance, d, out=distance)
        return (
            bias
            if distance is None
            else torch.minimum(bias, F.threshold_(distance, self.half, -math.inf), out=bias)
        )

    def pairs(self, x: Tensor, c: int, stop: int) -> tuple[Tensor, Tensor]:
        """A number per token, (g, m + P) as the ring, of the keys (g, T, 1, 2m) and the queries (g, T, m, 1) of chunks c to stop."""
        m = self.plan.chunk_len
        x = x[:, c * m : (stop + 1) * m]
        return windows(x, m)[:, :, None], x[:, m:].view(len(x), stop - c, m, 1)


def infinite(masked: Tensor) -> Tensor:
    """A bias: -inf where masked, else 0."""
    return torch.zeros(masked.shape, dtype=torch.float32, device=masked.device).masked_fill_(
        masked, -math.inf
    )


def windows(x: Tensor, m: int) -> Tensor:
    """(g, (T+1)*m, ...) -> (g, T, 2m, ...): each chunk with the one before, a view."""
    g, stride = x.shape[0], x.stride()
    return x.as_strided(
        (g, x.shape[1] // m - 1, 2 * m, *x.shape[2:]),
        (stride[0], m * stride[1], *stride[1:]),
        x.storage_offset(),
    )
