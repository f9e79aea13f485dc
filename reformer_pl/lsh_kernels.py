"""The roads an LSH attention tile can take, and the autograd Function that drives them over all tiles and rounds.

Shapes: N rows, R rounds, P padded length, m chunk_len, D head size; a tile is g rows x T chunks: q (g, T, m, D), keys (g, T, 2m, D).

All rounds are ONE softmax over the union of their keys. So the backward pass of each round is the ordinary fused attention backward, called
with the output and log-sum-exp of all rounds: no score survives the forward pass, and memory is O(P * D).
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reformer_pl.lsh_plan import Plan

# The largest bias of one tile. One that leaves room in the CPU's cache for q, k, v and the gradients is fastest; a GPU wants few launches.
TILE_BYTES = {"cpu": 1 << 20}
TILE_BYTES_ELSEWHERE = 32 << 20


def fused_on_cpu(q: Tensor) -> bool:
    return q.device.type == "cpu" and q.dtype != torch.float16


def tile_forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention of one tile with an additive bias: (out like q, log-sum-exp (g, T, m)). Every row must reach a key."""
    if fused_on_cpu(q):
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=bias, scale=1.0)
    wide = torch.promote_types(q.dtype, torch.float32)  # logits without 1/sqrt(d) are too large to be rounded to 8 bits
    scores = (q.to(wide) @ k.to(wide).transpose(-1, -2)).add_(bias)
    lse = scores.logsumexp(-1, keepdim=True)
    return (scores.sub_(lse).exp_() @ v.to(wide)).to(q.dtype), lse[..., 0]


def tile_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dq, dk, dv) of one tile, where out and lse belong to the softmax of ALL rounds."""
    if fused_on_cpu(q):
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        return backward(grad, q, k, v, out, lse, 0.0, False, attn_mask=bias, scale=1.0)
    grad, q, k, v, out = (x.to(lse.dtype) for x in (grad, q, k, v, out))
    p = (q @ k.transpose(-1, -2)).add_(bias).sub_(lse[..., None]).exp_()
    delta = (grad * out).sum(-1, keepdim=True)
    ds = (grad @ v.transpose(-1, -2)).sub_(delta).mul_(p)
    return ds @ k, ds.transpose(-1, -2) @ q, p.transpose(-1, -2) @ grad


class Tile(NamedTuple):
    round: int
    rows: slice
    first_chunk: int
    query: Tensor  # (g, T*m) int64 positions, in sorted order
    key: Tensor  # (g, (T+1)*m) int64 positions: the chunk before, then the tile's own
    flat_query: Tensor  # (g*T*m,) indices into the flat (N*P, D) tensors
    flat_key: Tensor


def tiles(plan: Plan, itemsize: int) -> Iterator[Tile]:
    """Cut every round into tiles whose bias fits TILE_BYTES: whole rows if they fit, else runs of chunks of one row."""
    n, rounds, p = plan.order.shape
    m = plan.chunk_len
    chunks = p // m
    budget = max(1, TILE_BYTES.get(plan.order.device.type, TILE_BYTES_ELSEWHERE) // (2 * m * m * itemsize))  # chunks per tile
    per_tile = min(chunks, budget)
    row_step = max(1, budget // chunks)
    base = torch.arange(n, device=plan.order.device)[:, None] * p
    for a in range(0, n, row_step):
        rows = slice(a, min(n, a + row_step))
        for r in range(rounds):
            # The first chunk looks back into the round before: the ring of window="wrap"; in the other windows low masks it.
            ring = torch.cat([plan.order[rows, r - 1, -m:], plan.order[rows, r]], 1).long()
            for c in range(0, chunks, per_tile):
                stop = min(chunks, c + per_tile)
                query, key = ring[:, (c + 1) * m : (stop + 1) * m], ring[:, c * m : (stop + 1) * m]
                yield Tile(r, rows, c, query, key, (query + base[rows]).reshape(-1), (key + base[rows]).reshape(-1))


def windows(x: Tensor, m: int) -> Tensor:
    """(g, (T+1)*m, ...) -> (g, T, 2m, ...): each chunk with the one before, a view."""
    g, stride = x.shape[0], x.stride()
    return x.as_strided((g, x.shape[1] // m - 1, 2 * m, *x.shape[2:]), (stride[0], m * stride[1], *stride[1:]))


def tile_bias(plan: Plan, tile: Tile, dtype: torch.dtype) -> Tensor:
    """(g, T, m, 2m): minus the log of how many rounds reach the pair (0 if duplicates count), -inf where this round does not."""
    m, rows = plan.chunk_len, tile.rows
    g, width = tile.query.shape
    shape = (g, width // m, m, 1)
    query, key = tile.query.view(shape), windows(tile.key, m)[:, :, None]
    if plan.ring:
        allowed = (key < query) if plan.causal else (key != query)
        allowed &= ~windows(plan.padded[rows].gather(1, tile.key), m)[:, :, None]
        return bias_of(allowed, dtype)

    def reached(r: int, rank: Tensor) -> Tensor:
        low = plan.low[rows, r].gather(1, tile.query).view(shape)
        high = plan.high[rows, r].gather(1, tile.query).view(shape)
        return (rank >= low).logical_and_(rank < high)

    first = (tile.first_chunk - 1) * m
    own = torch.arange(first, first + width + m, device=key.device, dtype=torch.int32).expand(g, -1).contiguous()
    allowed = reached(tile.round, windows(own, m)[:, :, None])
    if not (plan.bucket_mask and plan.causal):  # there sorted order is position order, and the interval ends before the query
        allowed &= (key < query) if plan.causal else (key != query)
    if not plan.dedupe:
        return bias_of(allowed, dtype)
    count = torch.ones_like(allowed, dtype=torch.uint8)
    for r in range(plan.order.shape[1]):
        if r != tile.round:
            count += reached(r, windows(plan.rank[rows, r].gather(1, tile.key), m)[:, :, None])
    return bias_of(count.mul_(allowed), dtype)


def bias_of(count: Tensor, dtype: torch.dtype) -> Tensor:
    """-log(count), and -inf for 0. A look-up: the logarithm of a tile would take longer than its attention."""
    table = -torch.arange(256, dtype=torch.float64, device=count.device).log()
    table[0] = -math.inf
    return table.to(dtype).index_select(0, count.view(-1).int()).view(count.shape)


class LSHAttend(torch.autograd.Function):
    """q, k, v (N*P, D), k of unit length, and a Plan -> out (N*P, D). A lone token gets its own v, a padded one 0."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
        m, d = plan.chunk_len, q.shape[1]
        wide = torch.promote_types(q.dtype, torch.float32)  # bfloat16 rounds are added up in float32
        out = torch.zeros(q.shape, dtype=wide, device=q.device)
        lse = torch.full(q.shape[:1], -math.inf, dtype=wide, device=q.device)
        for tile in tiles(plan, q.element_size()):
            g, width = tile.query.shape
            bias = tile_bias(plan, tile, q.dtype)
            # A row that reaches nothing in this round gets its own key, so that the softmax is finite; its log-sum-exp is then discarded.
            empty = bias.amax(-1) == -math.inf
            own = bias.diagonal(offset=m, dim1=2, dim2=3)
            own.masked_fill_(empty, 0.0)
            keys, values = (windows(x.index_select(0, tile.flat_key).view(g, width + m, d), m) for x in (k, v))
            y, z = tile_forward(q.index_select(0, tile.flat_query).view(g, width // m, m, d), keys, values, bias)
            y = y.to(wide).reshape(-1, d)
            z = z.to(wide).reshape(g, -1, m).masked_fill(empty, -math.inf).reshape(-1)
            if tile.round > 0:
                before = lse.index_select(0, tile.flat_query)
                both = torch.logaddexp(before, z)
                safe = both.masked_fill(both == -math.inf, 0.0)
                y = out.index_select(0, tile.flat_query).mul_((before - safe).exp_()[:, None]).addcmul_(y, (z - safe).exp_()[:, None])
                z = both
            out.index_copy_(0, tile.flat_query, y)
            lse.index_copy_(0, tile.flat_query, z)
        padded = plan.padded.reshape(-1)
        alone = (lse == -math.inf) & ~padded
        lse.masked_fill_(alone | padded, 0.0)
        out = torch.where(alone[:, None], v, out.to(q.dtype)).masked_fill_(padded[:, None], 0.0)
        ctx.options = plan[5:]
        ctx.save_for_backward(q, k, v, out, lse, alone, *plan[:5])  # the plan's tensors too, so that checkpointing drops them
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, alone, *planned = ctx.saved_tensors
        plan = Plan(*planned, *ctx.options)
        m, d = plan.chunk_len, q.shape[1]
        dv = torch.where(alone[:, None], grad, 0.0).to(lse.dtype)
        grad = grad.masked_fill((alone | plan.padded.reshape(-1))[:, None], 0.0)
        dq, dk = (torch.zeros(q.shape, dtype=lse.dtype, device=q.device) for _ in range(2))
        for tile in tiles(plan, q.element_size()):
            g, width = tile.query.shape
            shape = (g, width // m, m, d)
            bias = tile_bias(plan, tile, q.dtype)
            keys, values = (windows(x.index_select(0, tile.flat_key).view(g, width + m, d), m) for x in (k, v))
            grad_tile, query, seen = (x.index_select(0, tile.flat_query).view(shape) for x in (grad, q, out))
            lse_tile = lse.index_select(0, tile.flat_query).view(shape[:3])
            bq, bk, bv = tile_backward(grad_tile, query, keys, values, seen, lse_tile, bias)
            dq.index_add_(0, tile.flat_query, bq.reshape(-1, d).to(dq.dtype))
            for total, x in ((dk, bk), (dv, bv)):
                x = x.reshape(g, width // m, 2, m, d).to(total.dtype)
                ring = x.new_zeros(g, width // m + 1, m, d)
                ring[:, :-1] += x[:, :, 0]
                ring[:, 1:] += x[:, :, 1]
                total.index_add_(0, tile.flat_key, ring.view(-1, d))
        return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), None
