"""Cut the rounds of a plan into tiles, of a size that fits the device.

Shapes: B batch, H heads, N = B*H sequences, R rounds, P padded length, m chunk_len, D head size; a
tile is g sequences x T chunks.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reformer_pl.lsh.budget import only_sizes_count, tile_bytes
from reformer_pl.lsh.masks import lookup, reach, tile_bias
from reformer_pl.lsh.plan import Plan


class Tile(NamedTuple):
    """A part of one round: the rows of the flat (rows, D) tensors, and who reaches whom."""

    round: int
    key: Tensor  # (g*(T+1)*m,) int64 rows: the chunk before, then the tile's own
    # (g*m*T,) int64 rows of the tile's own alone, in the order (sequence, place in the chunk,
    # chunk). The fused ops lay out their results in that order. CUDA's read the output and its
    # gradient so, whatever their strides say (pytorch issue 138772).
    query: Tensor
    # (g, T, m, 2m) float32: 0 where this round is the first to reach the pair, else -inf
    bias: Tensor


class Rows(NamedTuple):
    """How (B, H, P, D) lies in memory: token (b, h, i) is row b * batch + h * head + i * token of a
    flat (rows, D) tensor.
    """

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
    """Whole sequences of one round if their bias, of `itemsize` bytes a score, fits tile_bytes;
    else runs of chunks of one.
    """
    n, rounds, p = plan.order.shape
    m, device = plan.chunk_len, plan.order.device
    chunks = p // m
    budget = max(1, tile_bytes(device) // (2 * m * m * itemsize))  # chunks per tile
    width, group = min(chunks, budget), max(1, budget // chunks)
    base, bias_rows = rows.base(b, n // b, device), lookup(m, device)
    every = range(rounds)
    if only_sizes_count():  # the first tile of the last round, whose tiles hold most
        n, every, chunks = min(n, group), range(rounds - 1, rounds), width
    for a in range(0, n, group):
        some = slice(a, a + group)
        for r in every:
            reached = reach(plan, some, r)
            flat = reached.ring * rows.token + base[some]
            for c in range(0, chunks, width):
                stop = min(chunks, c + width)
                key = flat[:, c * m : (stop + 1) * m]
                query = key[:, m:].unflatten(1, (-1, m)).transpose(1, 2)
                bias = tile_bias(plan, bias_rows, reached, c, stop)
                yield Tile(r, key.reshape(-1), query.reshape(-1), bias)
