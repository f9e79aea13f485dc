"""CUDA's memory-efficient attention on CPU tensors: stand-ins for the two ATen operators that keep
the kernels' rules.

The rules are those of torch 2.13: kernel_forward.h, kernel_backward.h and attention_backward.cu
below aten/src/ATen/native/transformers/cuda, and the strides that torch/_inductor/lowering.py asks
for at its own call (pytorch issue 138772). Tensors are (B, H, M, K), as the operators take them: B
batch, H heads, M queries, N keys, K head size.

* Every stride of q, k, v and the bias is a multiple of 8 elements, but for the last, which is 1,
  and for those of dimensions of size 1; every address one of 16 bytes.
* The bias is (B, H, M, N), of the dtype of q, and N a multiple of 16: the kernels load whole
  vectors of it.
* The log-sum-exp is float32, (B, H, M rounded up to a multiple of 32); what the forward pass fills
  up with is inf.
* The half-precision kernels take one row of `out` from the next by H * K elements, whatever its
  strides say. So `out` and its gradient lie as (B, M, H, K) in memory. The stand-in reads them in
  that way, and NaN for what lies behind their end.
* B and H are dimensions of the launch grid, of at most 65535 blocks.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)
LSE_BLOCK, BIAS_BLOCK, GRID = 32, 16, 65535


@contextmanager
def cuda_ops_on_cpu() -> Iterator[dict[str, int]]:
    """Within, both operators take CPU tensors. Yields how often each was called."""
    calls = {"forward": 0, "backward": 0}

    def counted_forward(*args: object, **options: object) -> tuple[Tensor, ...]:
        calls["forward"] += 1
        return forward(*args, **options)

    def counted_backward(*args: object, **options: object) -> tuple[Tensor, ...]:
        calls["backward"] += 1
        return backward(*args, **options)

    library = torch.library.Library("aten", "IMPL")
    library.impl("_scaled_dot_product_efficient_attention", counted_forward, "CPU")
    library.impl("_scaled_dot_product_efficient_attention_backward", counted_backward, "CPU")
    try:
        yield calls
    finally:
        library._destroy()


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    compute_lse: bool,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, ...]:
    """(out, lse, seed, offset) of `_scaled_dot_product_efficient_attention`."""
    check_inputs(q, k, v, bias)
    demand(compute_lse and not dropout and not is_causal, "only what the tiles ask for")
    scores = (q.float() @ k.float().transpose(-1, -2)) * scale + bias.float()
    lse = scores.logsumexp(-1)
    out = (scores - lse[..., None]).exp().to(q.dtype).float() @ v.float()
    lse = torch.nn.functional.pad(lse, (0, -q.shape[2] % LSE_BLOCK), value=math.inf)
    number = torch.zeros((), dtype=torch.int64)
    return heads_inside(out.to(q.dtype)), lse, number, number.clone()


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    out: Tensor,
    lse: Tensor,
    seed: Tensor,
    offset: Tensor,
    dropout: float,
    wanted: list[bool],
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, ...]:
    """(dq, dk, dv, dbias) of `_scaled_dot_product_efficient_attention_backward`."""
    check_inputs(q, k, v, bias)
    b, h, m, _ = q.shape
    demand(not dropout and not is_causal, "only what the tiles ask for")
    demand(
        lse.dtype == torch.float32 and lse.shape == (b, h, m + -m % LSE_BLOCK),
        f"the log-sum-exp is {lse.dtype} {tuple(lse.shape)}",
    )
    demand(aligned(lse, 2), f"log-sum-exp strides {lse.stride()}")
    if q.dtype in HALVES:
        grad, out = as_the_kernel_reads(grad), as_the_kernel_reads(out)
    grad, out = grad.float(), out.float()
    p = (
        (q.float() @ k.float().transpose(-1, -2)) * scale + bias.float() - lse[..., :m, None]
    ).exp()
    delta = (grad * out).sum(-1, keepdim=True)
    ds = (p * (grad @ v.float().transpose(-1, -2) - delta)).to(q.dtype).float() * scale
    p = p.to(q.dtype).float()
    gradients = ds @ k.float(), ds.transpose(-1, -2) @ q.float(), p.transpose(-1, -2) @ grad
    return *(heads_inside(x.to(q.dtype)) for x in gradients), torch.Tensor()


def check_inputs(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> None:
    for x in (q, k, v, bias):
        demand(x.stride(3) == 1 and aligned(x, 3), f"strides {x.stride()}")
        demand(x.data_ptr() % 16 == 0, "an address that is no multiple of 16 bytes")
        demand(x.dtype == q.dtype, f"{x.dtype} beside queries of {q.dtype}")
    demand(
        tuple(bias.shape) == (*q.shape[:3], k.shape[2]) and bias.shape[3] % BIAS_BLOCK == 0,
        f"a bias of shape {tuple(bias.shape)}",
    )
    demand(max(q.shape[:2]) <= GRID, f"a grid of {tuple(q.shape[:2])}")


def aligned(x: Tensor, dimensions: int) -> bool:
    """Whether the first strides are multiples of 8 elements; one of a dimension of size 1 is never
    walked.
    """
    steps = zip(x.shape[:dimensions], x.stride()[:dimensions], strict=True)
    return all(size == 1 or step % 8 == 0 for size, step in steps)


def as_the_kernel_reads(x: Tensor) -> Tensor:
    """(B, H, M, K) as a half-precision kernel walks it: a step of H * K elements from query to
    query.
    """
    h, k = x.shape[1], x.shape[3]
    strides = (x.stride(0), x.stride(1), h * k, 1)
    last = sum((size - 1) * step for size, step in zip(x.shape, strides, strict=True))
    memory = x.untyped_storage().nbytes() // x.element_size() - x.storage_offset()
    flat = x.as_strided((memory,), (1,))
    flat = torch.cat([flat, flat.new_full((max(0, last + 1 - memory),), math.nan)])
    return flat.as_strided(x.shape, strides)


def heads_inside(x: Tensor) -> Tensor:
    """(B, H, M, K) that lies as (B, M, H, K) in memory, as both operators leave it."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def demand(condition: bool, reason: str) -> None:
    if not condition:
        raise RuntimeError(f"CUDA's memory-efficient attention would not take this: {reason}")
