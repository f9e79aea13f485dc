"""LSH attention by Triton kernels: at most two launches a round and pass, and no mask, bias or
score in memory.

Shapes: B batch, H heads, N = B*H sequences, R rounds, L length, P = L padded to a multiple of the
chunk, D head size; rows = B*H*L.
"""

import math
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reformer_pl.lsh.budget import only_sizes_count
from reformer_pl.lsh.hashing import check_rotations
from reformer_pl.lsh.plan import Plan
from reformer_pl.lsh.tiles import Rows

HASH_BLOCK, HASH_COLUMNS = 128, 32  # tokens that a program hashes, and directions at once
# Tokens in sorted order that a program owns, and those of its window that it takes at once. With
# more, or with rows above NARROW_ROW bytes, four warps have too few registers.
BLOCK, BLOCK_OF_WIDE_ROWS, NARROW_ROW, STEP = 64, 32, 128, 16


class Saved(NamedTuple):
    """What the backward pass needs beside the plan."""

    q: Tensor  # (rows, D)
    v: Tensor  # (rows, D)
    out: Tensor  # (rows, D)
    lse: Tensor  # (rows,) float32, -inf where no round reached anything


class TritonAttend(torch.autograd.Function):
    """qk, v (B, H, L, D) and a Plan -> out (B, H, L, D). A token that reaches nothing gets its own
    v, a padded one 0.
    """

    @staticmethod
    def forward(ctx: Any, qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
        out, saved = attend_forward(qk, v, plan)
        ctx.rows, ctx.options = Rows.of(qk), plan[3:]
        # The plan's tensors too, so that checkpointing drops them.
        ctx.save_for_backward(*saved, *plan[:3])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        saved, plan = Saved(*tensors[:4]), Plan(*tensors[4:], *ctx.options)
        return *attend_backward(grad, saved, plan, ctx.rows), None


def attend_forward(qk: Tensor, v: Tensor, plan: Plan) -> tuple[Tensor, Saved]:
    """The output (B, H, L, D), and what `attend_backward` needs."""
    b, h, length, _ = qk.shape
    rows, rounds = Rows.of(qk), plan.order.shape[1]
    q, v = rows.flat(qk), rows.flat(v)
    out = torch.empty_like(q)
    total = sum_beside(out, rounds)
    lse = torch.empty(q.shape[0], dtype=torch.float32, device=q.device)
    if plan.padded is not None:
        lse.fill_(-math.inf)  # that of padding, which no program writes
    tables, sizes, options = arguments(plan, rows, length, h, q)
    for r in range(rounds):
        tensors = q, v, *tables, total, lse, out
        launch("forward_round", programs(plan, options), *tensors, r, *sizes, **options)
    return rows.back(out, b, h), Saved(q, v, out, lse)


def attend_backward(grad: Tensor, saved: Saved, plan: Plan, rows: Rows) -> tuple[Tensor, Tensor]:
    """The gradients (B, H, L, D) of qk and v."""
    (b, h, length, _), (q, v, out, lse) = grad.shape, saved
    grad, rounds = rows.flat(grad), plan.order.shape[1]
    grad_q, grad_v = torch.empty_like(q), torch.empty_like(v)
    sum_q, sum_v = torch.empty_like(q, dtype=torch.float32), sum_beside(grad_v, rounds)
    delta = torch.empty_like(lse)
    tables, sizes, options = arguments(plan, rows, length, h, q)
    grid = programs(plan, options)
    for r in range(rounds):
        tensors = grad, q, v, *tables, out, lse, delta, sum_q
        launch("backward_queries", grid, *tensors, r, *sizes, **options)
        tensors = grad, q, v, *tables, lse, delta, sum_q, sum_v, grad_q, grad_v
        launch("backward_keys", grid, *tensors, r, *sizes, **options)
    return rows.back(grad_q, b, h), rows.back(grad_v, b, h)


def hash_buckets(qk: Tensor, rotations: Tensor, factors: tuple[int, ...]) -> Tensor:
    """What `hashing.hash_buckets` returns, in one launch; qk (B, H, L, D)."""
    check_rotations(qk, rotations, factors)
    b, h, length, d = qk.shape
    rounds, directions = rotations.shape[2:]
    rows = Rows.of(qk)
    rotations = rotations.to(qk.device, torch.float32).contiguous()
    buckets = torch.empty(b, h, rounds, length, dtype=torch.int32, device=qk.device)
    sizes = rounds, length, h, *rows, directions
    options = hash_options(d, tuple(factors))
    grid = b * h * -(-length // options["BLOCK"])
    tensors = rows.flat(qk), rotations, buckets
    launch("hash_tokens", grid, *tensors, *sizes, **options)
    return buckets


def hash_options(d: int, factors: tuple[int, ...]) -> dict[str, Any]:
    """What the hash is compiled for."""
    width = 1 << (d - 1).bit_length()
    part = 1 if width <= 64 else 2  # of what fits the registers
    return {
        "FACTORS": factors,
        "D": d,
        "BLOCK": HASH_BLOCK // part,
        "COLUMNS": HASH_COLUMNS // part,
        "WIDTH": width,
        "num_warps": 8,
        "num_stages": 1,
    }


def sum_beside(result: Tensor, rounds: int) -> Tensor:
    """Where the rounds before the last add up, in float32: the result itself where it can be."""
    if rounds == 1 or result.dtype == torch.float32:
        return result
    return torch.empty_like(result, dtype=torch.float32)


def arguments(
    plan: Plan, rows: Rows, length: int, h: int, q: Tensor
) -> tuple[tuple[Tensor, ...], tuple[int, ...], dict[str, Any]]:
    """(the plan's tensors, sizes, compile-time options) of the kernels; q (rows, D)."""
    rounds, p = plan.order.shape[1:]
    # A token's codes of all rounds lie together: one sector of 32 bytes holds eight of them.
    coded = plan.bucket_mask or plan.dedupe
    code = plan.code.transpose(1, 2).contiguous() if coded else plan.order
    padding = plan.order if plan.padded is None else plan.padded.sum(-1)
    options = kernel_options(plan, q.shape[1], q.dtype)
    return (plan.order, code, padding), (rounds, p, length, h, *rows), options


def kernel_options(plan: Plan, d: int, dtype: torch.dtype) -> dict[str, Any]:
    """What a kernel is compiled for. BLOCK and WIDTH are powers of two that hold a chunk, or a part
    of one, and a head.
    """
    m, width = plan.chunk_len, 1 << (d - 1).bit_length()
    most = BLOCK if width * dtype.itemsize <= NARROW_ROW else BLOCK_OF_WIDE_ROWS
    low, high = (1, m) if plan.window == "causal" else (0, 1)
    return {
        "M": m,
        "D": d,
        "BLOCK": min(most, 1 << (m - 1).bit_length()),
        "STEP": STEP,
        "WIDTH": width,
        "PADDED": plan.padded is not None,
        "RING": plan.window == "wrap",  # the rounds are one ring of chunks
        "NEAR": plan.window == "causal",  # keys are at most m before their queries
        "SORTED": plan.causal and plan.bucket_mask,  # and never behind them in sorted order
        "CAUSAL": plan.causal,
        "CODED": plan.bucket_mask,  # the codes of a pair decide
        "DEDUPE": plan.dedupe,
        "LOW": low,
        "HIGH": high,
        "PRECISION": "tf32x3" if dtype == torch.float32 else "ieee",
        "INTERPRETED": interpreted(),
        "num_warps": 4,
        "num_stages": 1,
    }


def programs(plan: Plan, options: dict[str, Any]) -> int:
    """How many programs a launch has: one a block."""
    n, _, p = plan.order.shape
    return n * (p // plan.chunk_len) * -(-plan.chunk_len // options["BLOCK"])


def interpreted() -> bool:
    """Whether TRITON_INTERPRET=1 runs the kernels on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def launch(name: str, grid: int, *tensors_and_sizes: Any, **options: Any) -> None:
    """Run one kernel of triton_attend, as `grid` programs; nothing where only sizes count."""
    if only_sizes_count():
        return
    from reformer_pl.lsh import triton_attend, triton_hash  # an extra installs Triton

    module = triton_hash if name == "hash_tokens" else triton_attend
    with torch.cuda.device_of(tensors_and_sizes[0]):  # Triton launches on the current one
        getattr(module, name)[(grid,)](*tensors_and_sizes, **options)
