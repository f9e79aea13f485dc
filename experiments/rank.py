"""Which of a run's processes this one is, and how many the environment says there are.

The first process alone writes the run's files. Who starts the processes says so in the environment:
srun, torchrun, or Lightning, which starts the others itself. A number of processes that is not that
of the config would train copies of one run in one directory, or wait for ever: it is refused.
"""

import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from reformer_pl.config import ConfigError

TORCHRUN = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
# Those whose processes do not find each other here: the number of processes -> who started them.
OTHERS = {
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "JSM_NAMESPACE_SIZE": "jsrun",
    "PMI_SIZE": "mpirun",  # and srun --mpi=pmi2
    "WORLD_SIZE": "something other than torchrun",
}
# In the environment of a run that was given GPUs: it does not train on the CPU for want of them.
GPU_ASKED = "REFORMER_PL_GPU"
STOPPED = 130  # the exit code after Ctrl-C
SHELLS = ("bash", "interactive")  # what SLURM calls a job that is a shell
FIRST_SPECIAL_STEP = 0xFFFFFFF0  # the step of a batch script, and that of the shell of salloc


@dataclass(frozen=True)
class World:
    """The processes that somebody has started: how many, on how many nodes, and who did."""

    size: int
    nodes: int
    starter: str


def first_rank() -> bool:
    """Whether this is the first of the run's processes.

    Lightning numbers those that it starts with LOCAL_RANK, SLURM all of a job with SLURM_PROCID,
    torchrun all on all nodes with RANK.
    """
    names = ["LOCAL_RANK", "SLURM_PROCID", *(["RANK"] if is_task_of_torchrun() else [])]
    return all(os.environ.get(name, "0") == "0" for name in names)


def is_task_of_torchrun() -> bool:
    return set(TORCHRUN) <= os.environ.keys()


def is_task_of_srun() -> bool:
    """Whether this process is a task of srun.

    Not in a batch script or in a shell within an allocation: there Lightning starts the others.
    """
    step = os.environ.get("SLURM_STEP_ID", os.environ.get("SLURM_STEPID", ""))
    if not step.isdecimal() or int(step) >= FIRST_SPECIAL_STEP or "SLURM_PROCID" not in os.environ:
        return False
    return os.environ.get("SLURM_JOB_NAME") not in SHELLS or _tasks() > 1


def n_nodes() -> int:
    world = read_world()
    return 1 if world is None else world.nodes


def read_world() -> World | None:
    """What the environment says; None where this process is the only one yet.

    Raises ConfigError for a variable that is no number.
    """
    if is_task_of_torchrun():
        size, per_node = _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE")
        return World(size, max(1, size // max(1, per_node)), "torchrun")
    srun = is_task_of_srun()
    for name, starter in OTHERS.items():
        # srun has PMI_SIZE of its own. Lightning leaves WORLD_SIZE behind where it trained.
        if name not in os.environ or (srun and name == "PMI_SIZE"):
            continue
        if name == "WORLD_SIZE" and (srun or "RANK" not in os.environ):
            continue
        size = _number(name)
        if size > 1:
            return World(size, 1, starter)
    if srun:
        names = ("SLURM_STEP_NUM_NODES", "SLURM_NNODES")
        nodes = next((_number(name) for name in names if name in os.environ), 1)
        return World(_tasks(), nodes, "srun")
    if "LOCAL_RANK" in os.environ:  # Lightning's own, or as its manual starts them by hand
        rank = _number("LOCAL_RANK")
        size = _number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else None
        return World(size, 1, "LOCAL_RANK") if size is not None else World(rank + 1, 1, "")
    return None


def check_world(devices: int) -> None:
    """Raises ConfigError where the environment has another number of processes than the config.

    `devices` is trainer.devices, which counts those of all nodes.
    """
    world = read_world()
    if world is None:
        return
    if not world.starter:
        if world.size > devices:
            raise ConfigError(
                f"LOCAL_RANK={world.size - 1} in the environment, and trainer.devices is "
                f"{devices}: unset LOCAL_RANK"
            )
        return
    if world.starter in OTHERS.values():
        raise ConfigError(
            f"{world.size} processes are started here by {world.starter}, each of which would "
            "train the whole run: start one, which starts the others by trainer=ddp "
            "trainer.devices=N, or use srun or torchrun"
        )
    per_node, rest = divmod(devices, world.nodes)
    if world.starter == "srun" and (rest or _is_uneven()):
        raise ConfigError(
            f"srun has put {world.size} processes unevenly on {world.nodes} nodes, and "
            f"trainer.devices is {devices}: use srun --nodes=N --ntasks-per-node=M, where N x M "
            "is trainer.devices"
        )
    if world.size == devices:
        return
    match world.starter:
        case "srun":
            fix = f"srun --nodes={world.nodes} --ntasks-per-node={per_node}"
        case "torchrun":
            fix = f"torchrun --nnodes={world.nodes} --nproc-per-node={per_node}"
        case _:
            fix = "unset WORLD_SIZE and LOCAL_RANK"
    if rest or not per_node:
        fix = "another number of nodes"
    number = "process" if world.size == 1 else "processes"
    ddp = "trainer=ddp " if world.size > 1 else "trainer.strategy=auto "
    raise ConfigError(
        f"{world.starter} has started {world.size} {number}, and trainer.devices is {devices}: "
        f"use {ddp}trainer.devices={world.size}, or {fix}"
    )


def leave(code: int) -> NoReturn:
    """End this process with an exit code, and at once where it is a rank that has failed.

    A communicator of NCCL's that still waits for other ranks can keep a process from ending, and
    with it a job whose outcome is written.
    """
    torch_distributed = sys.modules.get("torch.distributed")
    failed = code not in (0, STOPPED)  # after Ctrl-C all ranks end together
    if failed and torch_distributed is not None and torch_distributed.is_initialized():
        end_now(code)
    sys.exit(code)


def end_now(code: int) -> NoReturn:
    """End without Python's and the libraries' own end, but with what was printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _tasks() -> int:
    names = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")
    return next((_number(name) for name in names if name in os.environ), 1)


def _is_uneven() -> bool:
    """Whether nodes of a step have different numbers of tasks, such as 2(x3),1."""
    text = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    return len({count.partition("(")[0] for count in text.split(",")}) > 1


def _number(name: str) -> int:
    text = os.environ[name]
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigError(f"{name}={text} in the environment is no number: unset it")
    return int(text)
