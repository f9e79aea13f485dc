"""Mixture of block attention (MoBA, arXiv 2502.13189, section 2).

Shapes: B batch, H heads, N = B*H rows, n rows of one slab, L length, P = L padded to whole blocks,
D head size, m tokens of a block, C = P / m blocks, K chosen blocks, G groups of m queries that
share a block.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from reformer_pl.lsh.budget import only_sizes_count, tile_bytes
from reformer_pl.lsh.kernels import without_autocast


def blocks(q: Tensor, k: Tensor, v: Tensor, chunk_len: int, top_k: int) -> Tensor:
    """Causal attention to the own block and to the `top_k` earlier blocks that each query chooses.

    A query chooses the blocks whose mean key has the largest product with it, among those that end
    before its own block begins. Where there are fewer than top_k of them, it sees them all. No
    gradient flows through the choice. (B, H, L, D) in and out, any L. Memory is O(L D).
    """
    length, batch = q.shape[2], q.shape[:2]
    if length <= (top_k + 1) * chunk_len:  # each query sees all before it
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # Padded keys lie in the last block, in the future of every real query.
    padding = (0, 0, 0, -length % chunk_len)
    rows = (F.pad(x, padding).flatten(0, 1) for x in (q, k, v))
    return BlocksAttend.apply(*rows, chunk_len, top_k).unflatten(0, batch)[:, :, :length]


class BlocksAttend(torch.autograd.Function):
    """Slab by slab of the rows, forward and again backward: no score outlives its slab."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, m: int, top_k: int) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.sizes = m, top_k
        out = torch.empty_like(q)
        for some in _slabs(q, m, top_k):
            out[some] = attend_rows(q[some], k[some], v[some], m, top_k)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors  # read once, as checkpointing asks
        gradients = [torch.empty_like(x) for x in inputs]
        for some in _slabs(inputs[0], *ctx.sizes):
            rows = [x[some].detach().requires_grad_() for x in inputs]
            with torch.enable_grad():
                out = attend_rows(*rows, *ctx.sizes)
            for whole, part in zip(
                gradients, torch.autograd.grad(out, rows, upstream[some]), strict=True
            ):
                whole[some] = part
        return *gradients, None, None


def attend_rows(q: Tensor, k: Tensor, v: Tensor, m: int, top_k: int) -> Tensor:
    """`blocks` of some rows: (n, P, D) in and out, P whole blocks of m tokens.

    Pairs of a query and a block that it chose are sorted by block, and cut into groups of m pairs
    of one block. So each group is one small dense attention. A query then adds up its parts: its
    own block's and those of its K groups, weighted by their sums of exponentials.
    """
    dtype, wide = q.dtype, torch.promote_types(q.dtype, torch.float32)
    with without_autocast(q.device):
        q, k, v = (x.to(wide) for x in (q, k, v))
        chosen = choose_blocks(q, k, m, top_k)
        slot_of_pair, query_of_slot, block_of_group = make_groups(chosen, q.shape[1] // m, m)
        queries = _take(q, query_of_slot).unflatten(1, (-1, m))  # (n, G, m, D)
        keys, values = (_take(x.unflatten(1, (-1, m)), block_of_group) for x in (k, v))
        parts, sums = _attend(queries, keys, values, None)  # (n, G*m, D), (n, G*m)
        future = torch.ones(m, m, dtype=torch.bool, device=q.device).triu(1)
        own, own_sum = _attend(*(x.unflatten(1, (-1, m)) for x in (q, k, v)), future)
        part_sums = _take(sums, slot_of_pair.flatten(1)).view(slot_of_pair.shape)  # (n, P, K)
        part_sums = part_sums.masked_fill(chosen == q.shape[1] // m, -math.inf)
        weights = torch.cat([own_sum[..., None], part_sums], -1).softmax(-1)  # (n, P, 1 + K)
        y = own * weights[..., :1]
        for i in range(slot_of_pair.shape[2]):
            y = y + _take(parts, slot_of_pair[..., i]) * weights[..., i + 1, None]
        return y.to(dtype)


@torch.no_grad()
def choose_blocks(q: Tensor, k: Tensor, m: int, top_k: int) -> Tensor:
    """(n, P, K): the earlier blocks that each query chooses, C where it has no further one."""
    n, p, _ = q.shape
    n_blocks = p // m
    mean = k.unflatten(1, (-1, m)).mean(2).transpose(1, 2)  # (n, D, C)
    block = torch.arange(n_blocks, device=q.device)
    chosen = torch.empty(n, p, top_k, dtype=torch.int64, device=q.device)
    # The products of all queries and all blocks together would grow as the square of the length.
    width = max(1, tile_bytes(q.device) // (n * n_blocks * q.dtype.itemsize))
    stop = min(p, 2 * width) if only_sizes_count() else p
    for start in range(0, stop, width):
        some = slice(start, min(start + width, p))
        own = torch.arange(some.start, some.stop, device=q.device)[:, None] // m
        gate = (q[:, some] @ mean).masked_fill_(block >= own, -math.inf)
        best = gate.topk(top_k, sorted=False)
        chosen[:, some] = best.indices.masked_fill(best.values == -math.inf, n_blocks)
    return chosen


@torch.no_grad()
def make_groups(chosen: Tensor, n_blocks: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Groups of at most m queries that chose the same block; chosen is (n, P, K).

    Returns (the slot of each pair (n, P, K), the query in each slot (n, G*m), the block of each
    group (n, G)). Slots that nobody fills hold query 0, and nobody reads what comes of them.
    """
    n, p, top_k = chosen.shape
    n_groups = n_blocks * (top_k + 1)  # each block may leave one group that is not full
    pairs = chosen.flatten(1)
    block, order = torch.sort(pairs, dim=1, stable=True)
    counts = torch.zeros(n, n_blocks + 1, dtype=torch.int64, device=pairs.device)
    counts.scatter_add_(1, pairs, torch.ones_like(pairs))
    first_pair = counts.cumsum(1) - counts  # of each block, in sorted order
    used = (counts + m - 1) // m
    first_group = used.cumsum(1) - used
    rank = torch.arange(p * top_k, device=pairs.device) - first_pair.gather(1, block)
    slot = first_group.gather(1, block) * m + rank
    # Where there was nothing to choose, the pair goes to a slot behind all groups.
    slot = slot.masked_fill(block == n_blocks, n_groups * m)
    query_of_slot = torch.zeros(n, n_groups * m + 1, dtype=torch.int64, device=pairs.device)
    query_of_slot.scatter_(1, slot, order // top_k)
    block_of_group = torch.zeros(n, n_groups + 1, dtype=torch.int64, device=pairs.device)
    block_of_group.scatter_(1, slot // m, block)
    slot_of_pair = torch.empty_like(slot).scatter_(1, order, slot.clamp(max=n_groups * m - 1))
    return slot_of_pair.view(n, p, top_k), query_of_slot[:, :-1], block_of_group[:, :-1]


def _attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention within each group, (n, G, m, D) -> out (n, G*m, D) and log-sum-exp (n, G*m)."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    sums = scores.logsumexp(-1, keepdim=True)
    return ((scores - sums).exp() @ v).flatten(1, 2), sums.flatten(1)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Along the second dimension: x (n, S, ...), index (n, T) -> (n, T, ...)."""
    n, size = x.shape[:2]
    flat = (index + size * torch.arange(n, device=x.device)[:, None]).flatten()
    return x.flatten(0, 1).index_select(0, flat).unflatten(0, (n, -1))


def _slabs(q: Tensor, m: int, top_k: int) -> list[slice]:
    """Slices of the rows (N, P, D), each with as many scores as a tile holds, or of one row."""
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.shape[1] * m * (top_k + 2) * wide.itemsize  # bytes of one row's
    rows = max(1, tile_bytes(q.device) // scores)
    slabs = [slice(i, min(i + rows, len(q))) for i in range(0, len(q), rows)]
    return slabs[:1] if only_sizes_count() else slabs
