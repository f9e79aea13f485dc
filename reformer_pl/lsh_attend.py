"""LSH attention along a plan, forward and backward, in O(L * D) memory: a kernel driven over all tiles of all rounds.

Shapes: B batch, H heads, P padded length, m chunk_len, D head size; a tile is g rows x T chunks; rows = B*H*P.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reformer_pl.lsh_kernels import choose_road, tile_backward, tile_forward
from reformer_pl.lsh_plan import Plan
from reformer_pl.lsh_tiles import Rows, Tile, tiles, windows


class LSHAttend(torch.autograd.Function):
    """qk, v (B, H, P, D) and a Plan -> out (B, H, P, D). A token that reaches nothing gets its own v, a padded one 0."""

    @staticmethod
    def forward(ctx: Any, qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
        (b, h, p, d), m = qk.shape, plan.chunk_len
        rows, road = Rows.of(qk), choose_road(qk, m)
        q, v = rows.flat(qk), rows.flat(v)
        inverse = inverse_norm(q)
        out = torch.empty(q.shape, dtype=inverse.dtype, device=q.device)  # bfloat16 is added up in float32
        lse = torch.empty(q.shape[:1], dtype=inverse.dtype, device=q.device)
        for tile in tiles(plan, rows, b, q.element_size()):
            g, t = tile.bias.shape[:2]
            # A query that reaches nothing in this round gets its own key, so that the softmax is finite; its log-sum-exp is then discarded.
            empty = tile.bias.amax(-1) == -math.inf
            tile.bias.diagonal(offset=m, dim1=2, dim2=3).masked_fill_(empty, 0.0)
            query, key = query_and_key(q, inverse, tile, (g, t, m, d))
            value = windows(v.index_select(0, tile.key).view(g, -1, d), m)
            y, z = tile_forward(road, query, key, value, tile.bias.to(q.dtype))
            y = y.to(out.dtype).reshape(-1, d)
            z = z.to(out.dtype).reshape(empty.shape).masked_fill(empty, -math.inf).view(-1)
            if tile.round > 0:
                before = lse.index_select(0, tile.query)
                both = torch.logaddexp(before, z)
                safe = both.masked_fill(both == -math.inf, 0.0)
                y = out.index_select(0, tile.query).mul_((before - safe).exp_()[:, None]).addcmul_(y, (z - safe).exp_()[:, None])
                z = both
            out.index_copy_(0, tile.query, y)
            lse.index_copy_(0, tile.query, z)
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
        ctx.save_for_backward(q, v, out, lse, alone, *plan[:3])  # the plan's tensors too, so that checkpointing drops them
        return rows.back(out, b, h)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, v, out, lse, alone, *planned = ctx.saved_tensors
        plan, rows, (b, h) = Plan(*planned, *ctx.options), ctx.rows, ctx.shape
        m, d = plan.chunk_len, q.shape[1]
        grad, inverse = rows.flat(grad), inverse_norm(q)
        dq = torch.zeros(q.shape, dtype=lse.dtype, device=q.device)
        dv = torch.where(alone, grad, 0.0).to(lse.dtype)
        for tile in tiles(plan, rows, b, q.element_size()):
            shape = (*tile.bias.shape[:2], m, d)
            query, key = query_and_key(q, inverse, tile, shape)
            value = windows(v.index_select(0, tile.key).view(shape[0], -1, d), m)
            grad_tile, seen = (x.index_select(0, tile.query).view(shape) for x in (grad, out))
            lse_tile = lse.index_select(0, tile.query).view(shape[:3])
            bq, bk, bv = tile_backward(ctx.road, grad_tile, query, key, value, seen, lse_tile, tile.bias.to(q.dtype))
            dk = overlap(bk.to(dq.dtype))
            unit = key.as_strided(dk.shape, (key.stride(0), d, 1), key.storage_offset()).to(dq.dtype)
            dk.addcmul_(unit, (unit * dk).sum(-1, keepdim=True), value=-1).mul_(inverse.index_select(0, tile.key).view(*dk.shape[:2], 1))
            dk[:, m:] += bq.reshape(shape[0], -1, d)
            dq.index_add_(0, tile.key, dk.view(-1, d))
            dv.index_add_(0, tile.key, overlap(bv.to(dv.dtype)).view(-1, d))
        return rows.back(dq.to(q.dtype), b, h), rows.back(dv.to(q.dtype), b, h), None


def inverse_norm(q: Tensor) -> Tensor:
    """(rows, D) -> (rows,), at least float32: k = q / |q| (paper, section 2), made again for every tile rather than kept."""
    return torch.linalg.vector_norm(q, dim=-1, dtype=torch.promote_types(q.dtype, torch.float32)).clamp_min_(1e-12).reciprocal_()


def query_and_key(q: Tensor, inverse: Tensor, tile: Tile, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """q (g, T, m, D) and the unit-length keys (g, T, 2m, D) of a tile, from one gather."""
    g, t, m, d = shape
    x = q.index_select(0, tile.key).view(g, -1, d)
    key = (x * inverse.index_select(0, tile.key).view(g, -1, 1)).to(q.dtype)
    return x[:, m:].unflatten(1, (t, m)), windows(key, m)


def overlap(x: Tensor) -> Tensor:
    """(g, T, 2m, D) gradients of windows -> (g, (T+1)*m, D): what each key gets as its own chunk's and as the one before."""
    g, t, two_m, d = x.shape
    m = two_m // 2
    total = x.new_empty(g, t + 1, m, d)
    total[:, 1:], total[:, 0] = x[:, :, m:], 0
    total[:, :-1] += x[:, :, :m]
    return total.view(g, -1, d)
