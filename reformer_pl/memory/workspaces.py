"""What kernels take and give back within themselves, in bytes, which no tensor shows."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from reformer_pl.memory.allocator import KIB, MIB

ATEN = torch.ops.aten
FLASH = ATEN._scaled_dot_product_flash_attention_for_cpu.default
FLASH_BACKWARD = ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default
EFFICIENT_BACKWARD = ATEN._scaled_dot_product_efficient_attention_backward.default
# Of cuBLAS, kept for each thread that multiplies: the one of the forward pass and autograd's.
CUBLAS_THREADS = 2
CUBLAS_BYTES, CUBLAS_HOPPER_BYTES = 2 * 4096 * KIB + 8 * 16 * KIB, 32 * MIB


def workspace_bytes(func: Any, args: Any, threads: int, device: str) -> int:
    """Of one operator, on CPU tensors, as the kernel of the device ("cpu" or "cuda") takes it."""
    return cuda_bytes(func, args) if device == "cuda" else cpu_bytes(func, args, threads)


def cpu_bytes(func: Any, args: Any, threads: int) -> int:
    """Of a CPU's kernel.

    Elementwise operators copy an input of another dtype than the common one. Fused attention
    (ATen/native/cpu/FlashAttentionKernel.cpp) holds, for each thread, the scores of one block of
    queries and keys. Two things are not counted: sort's copy of its keys, and what oneDNN takes,
    which under bfloat16 is about 100 KiB for a product.
    """
    if torch.Tag.pointwise in func.tags:
        mixed = [x for x in args if isinstance(x, Tensor) and x.dim() and x.dtype != torch.bool]
        common = reduce(torch.promote_types, (x.dtype for x in mixed), torch.bool)
        return sum(x.numel() * common.itemsize for x in mixed if x.dtype != common)
    if func is FLASH:
        scores, sums = _flash_blocks(*args[:2])
        return threads * (scores + sums)
    if func is FLASH_BACKWARD:
        grad, query, key = args[:3]
        scores, _ = _flash_blocks(query, key)
        copied = 0 if grad.transpose(1, 2).is_contiguous() else grad.numel() * grad.element_size()
        return copied + threads * 2 * scores  # and their gradient
    return 0


def cuda_bytes(func: Any, args: Any) -> int:
    """Of a GPU's kernel, where the CPU's operator stands for it.

    Fused attention backward adds up the queries' gradient in float32 where they are narrower, and
    keeps a number for each query; flash attention rounds up to 128 queries and 32 of a head's size.
    A sort (ATen/native/cuda/Sort.cu) keeps a second copy of keys and positions, and the positions
    before it. Elementwise operators take nothing.
    """
    if func in (FLASH_BACKWARD, EFFICIENT_BACKWARD):
        b, h, length, d = args[1].shape
        rows = b * h * -(-length // 128) * 128
        sums = rows * -(-d // 32) * 32 * 4 if args[1].element_size() < 4 else 0
        return sums + rows * 4
    if func is ATEN.sort.stable:
        keys = args[0]
        return keys.numel() * (keys.element_size() + 2 * 8)
    return 0


def cublas_bytes() -> int:
    """Of all products together: as on the GPU that this process uses, or else as on a Hopper.

    No GPU is woken up for it. torch's notes on CUDA, "cuBLAS workspaces", name the sizes.
    """
    is_hopper = not torch.cuda.is_initialized() or torch.cuda.get_device_capability() >= (9, 0)
    return CUBLAS_THREADS * (CUBLAS_HOPPER_BYTES if is_hopper else CUBLAS_BYTES)


def _flash_blocks(query: Tensor, key: Tensor) -> tuple[int, int]:
    """Bytes of one thread's block: (the scores, the output so far).

    Scores are in at least float32, and once more in the inputs' dtype if that is narrower.
    """
    length, d = query.shape[2:]
    rows = min(length, 256 if length >= 768 else 64 if length >= 192 else 32)
    wide = torch.promote_types(query.dtype, torch.float32).itemsize
    narrow = query.dtype.itemsize if query.dtype.itemsize < wide else 0
    return rows * min(key.shape[2], 512) * (wide + narrow), rows * (d + 2) * wide
