"""Trust, but verify: a road's first use in a process, on a CUDA device, is compared with the plain
road, in float64, on a few chunks.

No road has a test on each GPU, driver and compiler that it will meet.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.lsh import autograd, triton_road
from reformer_pl.lsh.kernels import without_autocast
from reformer_pl.lsh.plan import Plan, plan_attention
from reformer_pl.lsh.tiles import Rows

# Of the norm of a difference to that of the result.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
TF32_TOLERANCE = 1e-2  # where the user lets float32 products be rounded
NAMES = ("the output", "the gradient of qk", "the gradient of v")


def find_fault(road: str, q: Tensor, plan: Plan) -> str | None:
    """What the check of this road found, for the dtype and head size of q and the mode of the plan,
    as the rest of a sentence; None where it agrees.
    """
    if road == "plain" or torch.compiler.is_compiling():
        return None
    return _check(road, q.device, q.dtype, q.shape[-1], *plan[3:8])


@cache  # once for each kind of tile
@torch.no_grad()
def _check(
    road: str,
    device: torch.device,
    dtype: torch.dtype,
    d: int,
    chunk_len: int,
    causal: bool,
    bucket_mask: bool,
    dedupe: bool,
    window: str,
) -> str | None:
    """Two sequences of some chunks, the last one ragged, the second sequence padded; two rounds."""
    generator = torch.Generator().manual_seed(0)
    length = 2 * chunk_len + chunk_len // 2
    x = torch.randn(3, 2, 2, length, d, generator=generator)
    qk, v, grad = x.to(device, dtype)
    mode = f"window={window}, causal={causal}, bucket_mask={bucket_mask}, dedupe={dedupe}"
    kind = f"{dtype}, head size {d}, chunk_len={chunk_len}, {mode}"
    with without_autocast(device):
        plan, _ = plan_attention(
            qk,
            n_hashes=2,
            chunk_len=chunk_len,
            causal=causal,
            bucket_mask=bucket_mask,
            dedupe=dedupe,
            window=window,
            generator=generator,
            key_padding_mask=torch.tensor([[False], [True]], device=device)
            & (torch.arange(length, device=device) >= length - chunk_len // 2),
            road="plain",
        )
        try:
            results = run_both_passes(road, qk, v, grad, plan)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler or a driver raises
            return f"failed with {type(error).__name__} on {kind}: {first_line(error)}"
        exact = run_both_passes("plain", qk.double(), v.double(), grad.double(), plan)
    tolerance = TOLERANCE.get(dtype, 1e-8)
    if dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        tolerance = TF32_TOLERANCE
    for name, result, expected in zip(NAMES, results, exact, strict=True):
        difference = ((result.double() - expected).norm() / expected.norm()).item()
        if not difference <= tolerance:  # nor where it is no number
            return f"differs from plain by {difference:.1g} in {name} on {kind}"
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
