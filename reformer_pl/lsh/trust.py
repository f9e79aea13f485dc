"""Trust, but verify: a road's first use in a process, on a CUDA device, is compared with the plain
road, in float64, on a few chunks.

No road has a test on each GPU, driver and compiler that it will meet.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.config.rules import bucket_factors
from reformer_pl.lsh import autograd, triton_road
from reformer_pl.lsh.hashing import draw_rotations, hash_buckets
from reformer_pl.lsh.kernels import without_autocast
from reformer_pl.lsh.plan import Plan, make_plan
from reformer_pl.lsh.tiles import Rows
from reformer_pl.out_of_memory import is_out_of_memory

# Of the norm of a difference to that of the result.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
TF32_TOLERANCE = 1e-2  # where the user lets float32 products be rounded
OTHER_BUCKETS = 0.02  # of the tokens: two directions can be equally near, but for rounding
NAMES = ("the output", "the gradient of qk", "the gradient of v")


class Kind(NamedTuple):
    """What decides which code a tile takes, beside dtype and head size; as in `plan.Plan`."""

    chunk_len: int
    causal: bool
    bucket_mask: bool
    dedupe: bool
    window: str
    n_hashes: int  # of one round the Triton kernels are others than of several

    @classmethod
    def of(cls, plan: Plan) -> "Kind":
        return cls(*plan[3:8], plan.order.shape[1])


def find_fault(road: str, q: Tensor, kind: Kind) -> str | None:
    """What the check of this road found for the dtype and head size of q and a kind of tile, as the
    rest of a sentence; None where it agrees.
    """
    if road == "plain" or torch.compiler.is_compiling():
        return None
    two_at_most = kind._replace(n_hashes=min(kind.n_hashes, 2))
    return _check(road, q.device, q.dtype, q.shape[-1], two_at_most)


@cache  # once for each kind of tile
@torch.no_grad()
def _check(
    road: str,
    device: torch.device,
    dtype: torch.dtype,
    d: int,
    kind: Kind,
) -> str | None:
    """Two sequences of some chunks, the last one ragged, the second sequence padded."""
    generator, chunk_len = torch.Generator().manual_seed(0), kind.chunk_len
    length = 2 * chunk_len + chunk_len // 2
    x = torch.randn(3, 2, 2, length, d, generator=generator)
    qk, v, grad = x.to(device, dtype)
    what = f"{dtype}, head size {d}, {', '.join(f'{k}={x}' for k, x in kind._asdict().items())}"
    few = bucket_factors(None, length, chunk_len)
    rotations = draw_rotations(2, d, kind.n_hashes, few, generator)
    padded = torch.arange(length, device=device) >= length - chunk_len // 2
    padded = torch.stack([torch.zeros_like(padded), padded])
    with without_autocast(device):
        buckets = hash_buckets(qk, rotations, few)
        plan = make_plan(buckets, math.prod(few), *kind[:5], padded=padded)
        try:
            results = run_both_passes(road, qk, v, grad, plan)
            if road == "triton":
                hashed = triton_road.hash_buckets(qk, rotations, few)
        except Exception as error:  # whatever a compiler or a driver raises
            if is_out_of_memory(error):
                raise
            return f"failed with {type(error).__name__} on {what}: {first_line(error)}"
        if road == "triton" and (hashed != buckets).double().mean() > OTHER_BUCKETS:
            return f"hashes otherwise than plain on {what}"
        exact = run_both_passes("plain", qk.double(), v.double(), grad.double(), plan)
    tolerance = TOLERANCE.get(dtype, 1e-8)
    if dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        tolerance = TF32_TOLERANCE
    for name, result, expected in zip(NAMES, results, exact, strict=True):
        difference = ((result.double() - expected).norm() / expected.norm()).item()
        if not difference <= tolerance:  # nor where it is no number
            return f"differs from plain by {difference:.1g} in {name} on {what}"
    return None


def run_both_passes(
    road: str, qk: Tensor, v: Tensor, grad: Tensor, plan: Plan
) -> tuple[Tensor, Tensor, Tensor]:
    """(out, gradient of qk, gradient of v), each (B, H, L, D), by one road.

    The passes are called as functions: autograd would hand their tensors to whatever checkpointing
    counts those of the model.
    """
    rows = Rows.of(qk)
    if road == "triton":
        out, saved = triton_road.attend_forward(qk, v, plan)
        return out, *triton_road.attend_backward(grad, saved, plan, rows)
    length, p = qk.shape[2], plan.order.shape[2]
    qk, v, grad = (F.pad(x, (0, 0, 0, p - length)) for x in (qk, v, grad))
    out, kept = autograd.attend_forward(qk, v, plan, road)
    gradients = autograd.attend_backward(grad, kept, plan, Rows.of(qk), road)
    return tuple(x[:, :, :length] for x in (out, *gradients))


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no message")
