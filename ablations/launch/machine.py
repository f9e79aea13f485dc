"""What a cell gets of the machine: GPUs of its own, its part of the CPU's threads, and a port.

The port is for a cell of several processes. All of it is environment variables of the cell, so that
its command stays the one that can be pasted. CUDA is never asked here.
"""

import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from reformer_pl.config import ConfigError, RunConfig

MAX_GPU = 1023
DEV = Path("/dev")
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")  # NVIDIA's, AMD's, and Windows' in its Linux
# As torch, Python and the system write it:
PORT_IS_TAKEN = ("EADDRINUSE", "Address already in use", "address already in use")


def read_gpus(text: str) -> tuple[int, ...]:
    """ "0,2,5-7" as (0, 2, 5, 6, 7): the numbers that nvidia-smi prints. Raises ConfigError."""
    gpus: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise ConfigError(
                f"--gpus {text} is not understood at '{part}': "
                "give numbers and ranges, such as 0-7 or 0,2,5-7"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= MAX_GPU:
            raise ConfigError(
                f"--gpus {text}: {part} is no range of GPUs: "
                f"it must go up, and to {MAX_GPU} at most"
            )
        gpus += range(first, last + 1)
    twice = sorted({gpu for gpu in gpus if gpus.count(gpu) > 1})
    if twice:
        raise ConfigError(f"--gpus {text} names GPU {twice[0]} twice: no two cells may share one")
    return tuple(gpus)


def check_visible(gpus: tuple[int, ...]) -> None:
    """Raises ConfigError for a GPU outside of CUDA_VISIBLE_DEVICES, by which a cluster sets limits.

    Also where there is no GPU at all: each cell would train on the CPU as if it were alone.
    """
    if not any(path for pattern in GPU_FILES for path in DEV.glob(pattern)):
        raise ConfigError(
            "--gpus: this machine has no GPU: leave it out, "
            "and give --parallel for cells side by side on the CPU"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return
    outside = [gpu for gpu in gpus if str(gpu) not in visible.split(",")]
    if outside:
        raise ConfigError(
            f"--gpus: GPU {outside[0]} is not among CUDA_VISIBLE_DEVICES={visible}: "
            "name those, or unset the variable"
        )


def gpus_needed(config: RunConfig) -> int:
    """How many GPUs a cell asks for, where there are any."""
    return 0 if config.trainer.accelerator == "cpu" else config.trainer.devices


def threads_per_cell(at_once: int) -> int | None:
    """CPU threads divided among the cells; a cell alone takes what the environment gives (None)."""
    if at_once == 1:
        return None
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(limit) if limit.isdecimal() else cores) // at_once)


def free_port(taken: Iterable[int] = ()) -> int:
    """A TCP port on which nobody listens now, and which is not `taken` by a running cell.

    Until the cell listens, anybody may still take it.
    """
    while True:
        with socket.socket() as listener:
            listener.bind(("", 0))
            port = listener.getsockname()[1]
        if port not in taken:
            return port


def environment_of(
    config: RunConfig, threads: int | None, gpus: tuple[int, ...], port: int | None
) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS of each of a cell's processes, and MASTER_PORT."""
    environment: dict[str, str] = {}
    if gpus:
        environment = {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        }
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(max(1, threads // config.trainer.devices))
    if port is not None:
        environment["MASTER_PORT"] = str(port)
    return environment
