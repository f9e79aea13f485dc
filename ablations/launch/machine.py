"""What a cell gets of the machine: GPUs of its own, its part of the CPU's threads, and a port.

The port is for a cell of several processes. All of it is environment variables of the cell, so that
its command stays the one that can be pasted. CUDA is never asked here.
"""

import os
import socket
from collections.abc import Iterable

from ablations.launch.local.gpus import visible_variable
from experiments.rank import GPU_ASKED
from reformer_pl.config import RunConfig

# As torch, Python and the system write it:
PORT_IS_TAKEN = ("EADDRINUSE", "Address already in use", "address already in use")


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
    config: RunConfig, threads: int | None, gpus: tuple[str, ...], port: int | None
) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS of each of a cell's processes, and MASTER_PORT.

    A cell that is given GPUs does not train on the CPU where torch finds none.
    """
    environment: dict[str, str] = {}
    if gpus:
        environment = {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            visible_variable(): ",".join(gpus),
            GPU_ASKED: "1",
        }
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(max(1, threads // config.trainer.devices))
    if port is not None:
        environment["MASTER_PORT"] = str(port)
    return environment
