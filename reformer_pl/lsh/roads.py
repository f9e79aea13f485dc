"""Which kernels attend: `model.lsh.road`, or the fastest that fits and can be trusted.

`triton` takes a round at a time (triton_road.py); `efficient`, `flash` and `plain` a tile at a time
(kernels.py).
"""

import logging
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from reformer_pl.config.rules import ROADS, ConfigError
from reformer_pl.lsh.budget import kernels_of, only_sizes_count
from reformer_pl.lsh.triton_road import interpreted
from reformer_pl.lsh.trust import Kind, find_fault

# The fastest first; plain fits everything.
FASTEST_FIRST = {"cuda": ("triton", "efficient", "plain"), "cpu": ("flash", "plain")}
HEAD_SIZES, CHUNK_LENS = range(16, 129), range(16, 257)  # of the Triton kernels
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def choose_road(q: Tensor, word: str, kind: Kind) -> str:
    """The road that the word names, or with "auto" the fastest for q (B, H, L, D) of this device
    and dtype.

    On CUDA the first use of a road checks it, and one line of the log says why a faster one is not
    taken. Raises ConfigError where the word's road is not for such a tensor.
    """
    m, device = kind.chunk_len, kernels_of(q.device)
    checks = device == "cuda" and not only_sizes_count()
    if word != "auto":
        if reason := refusal(word, q, m):
            raise ConfigError(f"model.lsh.road={word} {reason}: choose auto")
        if checks and (fault := find_fault(word, q, kind)):
            say(f"LSH attention keeps to model.lsh.road={word}, though it {fault}")
        return word
    road, reasons = "plain", []
    for road in FASTEST_FIRST.get(device, ("plain",)):
        reason = refusal(road, q, m)
        if reason is None and checks:
            reason = find_fault(road, q, kind)
        if reason is None:
            break
        reasons.append(f"{road} {reason}")
    if checks and reasons:
        say(f"LSH attention takes road={road}: {'; '.join(reasons)}")
    return road


def refusal(road: str, q: Tensor, m: int) -> str | None:
    """Why a road is not for q of chunks of m tokens, as the rest of a sentence; None if it is."""
    device, d = kernels_of(q.device), q.shape[-1]
    match road:
        case "triton":
            if q.dtype not in TRITON_DTYPES:
                return f"takes float32, bfloat16 and float16, not {q.dtype}"
            if d not in HEAD_SIZES:
                return f"takes head sizes of 16 to 128, not {d}"
            if m not in CHUNK_LENS:
                return f"takes chunk_len of 16 to 256, not {m}"
            return None if only_sizes_count() else _missing_for_triton(q)
        case "efficient":
            if device != "cuda" and not only_sizes_count():
                return "needs a CUDA device"
            if m % 32 or d % 8:
                return f"takes chunk_len in steps of 32 and head sizes in steps of 8, not {m}, {d}"
            if not hasattr(torch.ops.aten, "_scaled_dot_product_efficient_attention"):
                return "needs a PyTorch that has it"
            if device == "cuda" and not _is_fused(q):
                return f"takes no {q.dtype} on this device"
        case "flash":
            if device != "cpu":
                return "needs the CPU"
            if q.dtype == torch.float16:
                return "takes no float16"
            if not hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu"):
                return "needs a PyTorch that has it"
        case "plain":
            pass
        case _:
            raise ConfigError(f"model.lsh.road={road} is unknown: choose {', '.join(ROADS)}")
    return None


def _missing_for_triton(q: Tensor) -> str | None:
    if q.device.type != "cuda" and not (q.device.type == "cpu" and interpreted()):
        return "needs a CUDA device (TRITON_INTERPRET=1 runs it on the CPU, very slowly)"
    if find_spec("triton") is None:
        return "needs the package triton (pip install 'reformer-pl[triton]')"
    if q.device.type == "cuda" and torch.cuda.get_device_capability(q.device) < (8, 0):
        return "needs a GPU of compute capability 8.0 (A100) or later"
    return None


def _is_fused(q: Tensor) -> bool:
    """The dtypes of CUDA's memory-efficient kernels: bfloat16 from compute capability 8.0 on
    (A100), never float64.
    """
    return q.dtype in (torch.float16, torch.float32) or (
        q.dtype == torch.bfloat16
        and (only_sizes_count() or torch.cuda.get_device_capability(q.device) >= (8, 0))
    )


@cache
def say(line: str) -> None:
    """Once a process, to the log."""
    logging.getLogger("reformer_pl").warning(line)
