"""LSH attention along a plan, forward and backward, in O(L * D) memory: a kernel driven over all tiles of all rounds.

Shapes: B batch, H heads, P padded length, m chunk_len, D head size; a tile is g rows x T chunks; rows = B*H*P.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reformer_pl.lsh.kernels import choose_road, tile_backward, tile_forward
from reformer_pl.lsh.plan import Plan
from reformer_pl.lsh.tiles import Rows, Tile, tiles, windows


def in_own_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without autocast, which would round the plain road's float32 products to bfloat16, and those of one of the passes alone."""

    @wraps(function)
    def plain(ctx: Any, first: Tensor, *rest: Any) -> Any:
        device = first.device.type
        with (
            torch.autocast(device, enabled=False)
            if torch.amp.is_autocast_available(device)
            else nullcontext()
        ):
            return function(ctx, first, *rest)

    return plain


class LSHAttend(torch.autograd.Function):
    """qk, v (B, H, P, D) and a Plan -> out (B, H, P, D). A token that reaches nothing gets its own v, a padded one 0."""

    @staticmethod
    @in_own_precision
    def forward(ctx: Any, qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
        b, h, p, _ = qk.shape
        rows, road = Rows.of(qk), choose_road(qk, plan.chunk_len)
        q, v = rows.flat(qk), rows.flat(v)
        inverse = inverse_norm(q)
        out = torch.empty(
            q.shape, dtype=inverse.dtype, device=q.device
        )  # bfloat16 is added up in float32
        lse = torch.empty(q.shape[:1], dtype=inverse.dtype, device=q.device)
        for tile in tiles(plan, rows, b, q.element_size()):
            add_tile(road, tile, q, inverse, v, out, lse)
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
        ctx.rows, ctx.road, ctx.shape, ctx.options = rows, road, (b, h), plan[3:]
        ctx.save_for_backward(
            q, v, out, lse, alone, *plan[:3]
        )  # the plan's tensors too, so that checkpointing drops them
        return rows.back(out, b, h)

    @staticmethod
    @once_differentiable
    @in_own_precision
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, v, out, lse, alone, *planned = ctx.saved_tensors
        plan, rows, (b, h) = Plan(*planned, *ctx.options), ctx.rows, ctx.shape
        grad, inverse = rows.flat(grad), inverse_norm(q)
        dq = torch.zeros(q.shape, dtype=lse.dtype, device=q.device)
        dv = torch.where(alone, grad, 0.0).to(lse.dtype)
        for tile in tiles(plan, rows, b, q.element_size()):
            add_tile_gradients(ctx.road, tile, grad, q, inverse, v, out, lse, dq, dv)
            del tile
        return rows.back(dq.to(q.dtype), b, h), rows.back(dv.to(q.dtype), b, h), None


def add_tile(
    road: str, tile: Tile, q: Tensor, inverse: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> None:
    """Attend in one round and add it to what earlier rounds left in out (rows, D) and lse (rows,), both at least float32."""
    (g, _, m, _), d = tile.bias.shape, q.shape[1]
    # A query that reaches nothing in this round gets its own key, so that the softmax is finite; its log-sum-exp is then discarded.
    empty = tile.bias.amax(-1) == -math.inf
    tile.bias.diagonal(offset=m, dim1=2, dim2=3).masked_fill_(empty, 0.0)
    query, key = query_and_key(q, inverse, tile)
    value = windows(v.index_select(0, tile.key).view(g, -1, d), m)
    y, z = tile_forward(road, query, windows(key, m), value, tile.bias.to(q.dtype))
    y = y.to(out.dtype).transpose(1, 2).reshape(-1, d)
    z = z.to(out.dtype).reshape(empty.shape).masked_fill(empty, -math.inf)
    z = z.transpose(1, 2).reshape(-1)
    if tile.round > 0:
        before = lse.index_select(0, tile.query)
        both = torch.logaddexp(before, z)
        safe = both.masked_fill(both == -math.inf, 0.0)
        y = (
            out.index_select(0, tile.query)
            .mul_((before - safe).exp_()[:, None])
            .addcmul_(y, (z - safe).exp_()[:, None])
        )
        z = both
    out.index_copy_(0, tile.query, y)
    lse.index_copy_(0, tile.query, z)


def add_tile_gradients(
    road: str,
    tile: Tile,
    grad: Tensor,
    q: Tensor,
    inverse: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dq: Tensor,
    dv: Tensor,
) -> None:
    """Add one round's gradients to dq and dv (rows, D), those of the unit-length keys taken back to q."""
    (g, t, m, _), d = tile.bias.shape, q.shape[1]
    query, key = query_and_key(q, inverse, tile)
    value = windows(v.index_select(0, tile.key).view(g, -1, d), m)
    grad_tile, seen = (
        x.index_select(0, tile.query).view(g, m, t, d).transpose(1, 2) for x in (grad, out)
    )
    lse_tile = lse.index_select(0, tile.query).view(g, m, t).transpose(1, 2).contiguous()
    bq, bk, bv = tile_backward(
        road, grad_tile, query, windows(key, m), value, seen, lse_tile, tile.bias.to(q.dtype)
    )
    dv.index_add_(0, tile.key, overlap(bv.to(dv.dtype)).view(-1, d))
    dk = overlap(bk.to(dq.dtype))
    unit = key.to(dq.dtype)
    dk.addcmul_(unit, (unit * dk).sum(-1, keepdim=True), value=-1).mul_(
        inverse.index_select(0, tile.key).view(*dk.shape[:2], 1)
    )
    dk[:, m:].view(g, t, m, d).add_(bq)
    dq.index_add_(0, tile.key, dk.view(-1, d))


def inverse_norm(q: Tensor) -> Tensor:
    """(rows, D) -> (rows,), at least float32: k = q / |q| (paper, section 2), made again for every tile rather than kept."""
    return (
        torch.linalg.vector_norm(q, dim=-1, dtype=torch.promote_types(q.dtype, torch.float32))
        .clamp_min_(1e-12)
        .reciprocal_()
    )


def query_and_key(q: Tensor, inverse: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
    """q (g, T, m, D) and the unit-length keys (g, (T+1)*m, D) of a tile, from one gather."""
    g, t, m, _ = tile.bias.shape
    x = q.index_select(0, tile.key).view(g, -1, q.shape[1])
    key = (x * inverse.index_select(0, tile.key).view(g, -1, 1)).to(q.dtype)
    return x[:, m:].unflatten(1, (t, m)), key


def overlap(x: Tensor) -> Tensor:
    """(g, T, 2m, D) gradients of windows -> (g, (T+1)*m, D): what each key gets as its own chunk's and as the one before."""
    g, t, two_m, d = x.shape
    m = two_m // 2
    total = x.new_empty(g, t + 1, m, d)
    total[:, 1:], total[:, 0] = x[:, :, m:], 0
    total[:, :-1] += x[:, :, :m]
    return total.view(g, -1, d)
