"""LSH attention along a plan, forward and backward, in O(L * D) memory: a kernel driven over all
tiles of all rounds.

Shapes: B batch, H heads, P padded length, m chunk_len, D head size; a tile is g sequences x T
chunks; rows = B*H*P.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reformer_pl.lsh.kernels import tile_backward, tile_forward, without_autocast
from reformer_pl.lsh.masks import windows
from reformer_pl.lsh.plan import Plan
from reformer_pl.lsh.tiles import Rows, Tile, tiles


class Inputs(NamedTuple):
    """What the tiles gather from."""

    q: Tensor  # (rows, D)
    inverse: Tensor  # (rows,) 1/|q|, at least float32
    v: Tensor  # (rows, D)


class Outputs(NamedTuple):
    """The softmax over the keys of all rounds so far, or, in the backward pass, of all rounds."""

    out: Tensor  # (rows, D), at least float32 while it is added up
    lse: Tensor  # (rows,) log-sum-exp, at least float32


class Gradients(NamedTuple):
    """What the tiles add to, at least float32."""

    q: Tensor  # (rows, D)
    v: Tensor  # (rows, D)


def in_own_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """A pass without autocast, which would round the plain road's float32 products, and those of
    one of the passes alone.
    """

    @wraps(function)
    def plain(ctx: Any, first: Tensor, *rest: Any) -> Any:
        with without_autocast(first.device):
            return function(ctx, first, *rest)

    return plain


class Saved(NamedTuple):
    """What the backward pass needs beside the plan."""

    q: Tensor  # (rows, D)
    v: Tensor  # (rows, D)
    out: Tensor  # (rows, D)
    lse: Tensor  # (rows,), inf where no gradient passes
    alone: Tensor  # (rows, 1) bool: the output is the token's own v


class LSHAttend(torch.autograd.Function):
    """qk, v (B, H, P, D), a Plan and a road of tiles -> out (B, H, P, D). A token that reaches
    nothing gets its own v, a padded one 0.
    """

    @staticmethod
    @in_own_precision
    def forward(ctx: Any, qk: Tensor, v: Tensor, plan: Plan, road: str) -> Tensor:
        out, saved = attend_forward(qk, v, plan, road)
        ctx.rows, ctx.road, ctx.options = Rows.of(qk), road, plan[3:]
        # The plan's tensors too, so that checkpointing drops them.
        ctx.save_for_backward(*saved, *plan[:3])
        return out

    @staticmethod
    @once_differentiable
    @in_own_precision
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        saved, plan = Saved(*tensors[:5]), Plan(*tensors[5:], *ctx.options)
        return *attend_backward(grad, saved, plan, ctx.rows, ctx.road), None, None


def attend_forward(qk: Tensor, v: Tensor, plan: Plan, road: str) -> tuple[Tensor, Saved]:
    """The output (B, H, P, D), and what `attend_backward` needs."""
    b, h, p, _ = qk.shape
    rows = Rows.of(qk)
    q, v = rows.flat(qk), rows.flat(v)
    inputs = Inputs(q, inverse_norm(q), v)
    wide = inputs.inverse.dtype  # bfloat16 is added up in float32
    out = torch.empty(q.shape, dtype=wide, device=q.device)
    lse = torch.empty(q.shape[:1], dtype=wide, device=q.device)
    for tile in tiles(plan, rows, b, q.element_size()):
        add_tile(road, tile, inputs, Outputs(out, lse))
        del tile  # or it would live beside the next one
    alone = (lse == -math.inf)[:, None]
    out = out.to(q.dtype)
    torch.where(alone, v, out, out=out)
    if plan.padded is not None:
        padded = rows.flat(plan.padded[:, None, :, None].expand(b, h, p, 1))
        out.masked_fill_(padded, 0.0)
        alone &= ~padded
        lse.masked_fill_(padded[:, 0], math.inf)
    lse.masked_fill_(alone[:, 0], math.inf)  # no gradient passes through its softmax
    return rows.back(out, b, h), Saved(q, v, out, lse, alone)


def attend_backward(
    grad: Tensor, saved: Saved, plan: Plan, rows: Rows, road: str
) -> tuple[Tensor, Tensor]:
    """The gradients (B, H, P, D) of qk and v."""
    (b, h, _, _), (q, v, out, lse, alone) = grad.shape, saved
    grad, inputs = rows.flat(grad), Inputs(q, inverse_norm(q), v)
    dq = torch.zeros(q.shape, dtype=lse.dtype, device=q.device)
    dv = torch.where(alone, grad, 0.0).to(lse.dtype)
    for tile in tiles(plan, rows, b, q.element_size()):
        add_tile_gradients(road, tile, inputs, Outputs(out, lse), grad, Gradients(dq, dv))
        del tile
    return rows.back(dq.to(q.dtype), b, h), rows.back(dv.to(q.dtype), b, h)


def add_tile(road: str, tile: Tile, inputs: Inputs, outputs: Outputs) -> None:
    """Attend in one round, and add it to what earlier rounds left in the outputs."""
    (g, _, m, _), d, wide = tile.bias.shape, inputs.q.shape[1], outputs.out.dtype
    # A query that reaches nothing in this round gets its own key, so that the softmax is finite.
    # Its log-sum-exp is then discarded.
    empty = tile.bias.amax(-1) == -math.inf
    tile.bias.diagonal(offset=m, dim1=2, dim2=3).masked_fill_(empty, 0.0)
    query, key = query_and_key(inputs, tile)
    value = windows(inputs.v.index_select(0, tile.key).view(g, -1, d), m)
    y, z = tile_forward(road, query, windows(key, m), value, tile.bias.to(query.dtype))
    y = y.to(wide).transpose(1, 2).reshape(-1, d)  # from here on in the order of tile.query
    z = z.to(wide).reshape(empty.shape).masked_fill(empty, -math.inf)
    z = z.transpose(1, 2).reshape(-1)
    if tile.round > 0:
        before = outputs.lse.index_select(0, tile.query)
        both = torch.logaddexp(before, z)
        safe = both.masked_fill(both == -math.inf, 0.0)
        old = outputs.out.index_select(0, tile.query).mul_((before - safe).exp_()[:, None])
        y, z = old.addcmul_(y, (z - safe).exp_()[:, None]), both
    outputs.out.index_copy_(0, tile.query, y)
    outputs.lse.index_copy_(0, tile.query, z)


def add_tile_gradients(
    road: str, tile: Tile, inputs: Inputs, outputs: Outputs, grad: Tensor, gradients: Gradients
) -> None:
    """Add one round's gradients, those of the unit-length keys taken back to q; grad (rows, D) is
    that of the output.
    """
    (g, t, m, _), d = tile.bias.shape, inputs.q.shape[1]
    query, key = query_and_key(inputs, tile)
    value = windows(inputs.v.index_select(0, tile.key).view(g, -1, d), m)
    grad_tile, out_tile = (
        x.index_select(0, tile.query).view(g, m, t, d).transpose(1, 2) for x in (grad, outputs.out)
    )
    lse = outputs.lse.index_select(0, tile.query).view(g, m, t).transpose(1, 2).contiguous()
    bias = tile.bias.to(query.dtype)
    bq, bk, bv = tile_backward(road, grad_tile, query, windows(key, m), value, out_tile, lse, bias)
    gradients.v.index_add_(0, tile.key, overlap(bv.to(gradients.v.dtype)).view(-1, d))
    dk = overlap(bk.to(gradients.q.dtype))
    unit = key.to(dk.dtype)
    inverse = inputs.inverse.index_select(0, tile.key).view(g, -1, 1)
    dk.addcmul_(unit, (unit * dk).sum(-1, keepdim=True), value=-1).mul_(inverse)
    dk[:, m:].view(g, t, m, d).add_(bq)
    gradients.q.index_add_(0, tile.key, dk.view(-1, d))


def inverse_norm(q: Tensor) -> Tensor:
    """(rows, D) -> (rows,), at least float32: k = q / |q| (section 2). Keys are made again for
    every tile rather than kept.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    return torch.linalg.vector_norm(q, dim=-1, dtype=wide).clamp_min_(1e-12).reciprocal_()


def query_and_key(inputs: Inputs, tile: Tile) -> tuple[Tensor, Tensor]:
    """q (g, T, m, D) and the unit-length keys (g, (T+1)*m, D) of a tile, from one gather."""
    (g, t, m, _), d = tile.bias.shape, inputs.q.shape[1]
    x = inputs.q.index_select(0, tile.key).view(g, -1, d)
    key = (x * inputs.inverse.index_select(0, tile.key).view(g, -1, 1)).to(x.dtype)
    return x[:, m:].unflatten(1, (t, m)), key


def overlap(x: Tensor) -> Tensor:
    """(g, T, 2m, D) gradients of windows -> (g, (T+1)*m, D): what each key gets as its own chunk's
    and as the one before.
    """
    g, t, two_m, d = x.shape
    m = two_m // 2
    total = x.new_empty(g, t + 1, m, d)
    total[:, 1:], total[:, 0] = x[:, :, m:], 0
    total[:, :-1] += x[:, :, :m]
    return total.view(g, -1, d)
