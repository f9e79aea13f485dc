"""The options of `python -m ablations run`."""

import argparse

from ablations.arguments.place import place
from ablations.launch.options import ROUND_MINUTES

GPUS = (
    "GPUs to pack the cells on, each GPU for one cell at a time: 0-7, or 0,2,5-7, or names such as "
    "GPU-8932f937, or all; where CUDA_VISIBLE_DEVICES has none of the numbers, they are positions "
    "in it (default: a cell sees all there are, and takes the first)"
)
PARALLEL = (
    "cells at a time, the CPU threads divided "
    "(default: 1, or with --gpus as many as fit; a timed study runs one at a time)"
)
TIMEOUT = "stop a cell after so many seconds, record it as timeout and go on (default: never)"
MEMORY_LIMIT = (
    "record a cell as would_not_fit where one process of it is predicted to need more GiB "
    "(default: no limit, no prediction)"
)
ROUND_MINUTES_HELP = (
    "a timed study measures its step times in rounds, all cells in turn: stop after so many "
    f"minutes of rounds (default: {ROUND_MINUTES:g}; the first round ends in any case; 0: no other)"
)
UNTIL_QUIET = (
    "a timed study waits until nobody else uses the cores, before it starts and before each round, "
    "for so many minutes in all at most (default: it waits never)"
)
RETRY = (
    "run cells again that are recorded as failed, oom, timeout or would_not_fit "
    "(default: skip them)"
)
FORCE = (
    "start every cell over, finished ones too; nothing is deleted: "
    "the directory seed=0 is renamed seed=0.before-YYYYMMDD-HHMMSS"
)
DRY_RUN = (
    "say for each cell what would happen (skip, resume from step N, run, retry, evaluate, refuse), "
    "start nothing; 2 if a config changed"
)
LAUNCHER = (
    "local: on this machine, the default. slurm: as job arrays, one cell a job, and this command "
    "returns; cells that are queued or running are left alone, one that needs more than a job's "
    "time is requeued and resumes"
)
SLURM = (
    "what to ask of the cluster: see configs/launcher/slurm.yaml (default: what the cluster gives)"
)
EXTEND = (
    "go on with finished or stopped cells whose study has a larger trainer.max_steps now; "
    "not under a cosine schedule, which ends at max_steps"
)


def add_run_options(sub: argparse.ArgumentParser) -> None:
    """Which cells run, where, how many at a time and for how long."""
    sub.add_argument("--parallel", type=int, metavar="N", help=PARALLEL)
    sub.add_argument("--gpus", metavar="LIST", help=GPUS)
    sub.add_argument(
        "--gpus-per-cell",
        type=int,
        metavar="N",
        help="GPUs of each cell; trainer.devices must not exceed it (default: 1)",
    )
    sub.add_argument(
        "--cells-per-gpu",
        type=int,
        metavar="N",
        help="cells that share a GPU at a time, where one cell does not fill it (default: 1)",
    )
    sub.add_argument("--timeout", type=float, metavar="SECONDS", help=TIMEOUT)
    sub.add_argument("--round-minutes", type=float, metavar="MINUTES", help=ROUND_MINUTES_HELP)
    sub.add_argument("--until-quiet", type=float, metavar="MINUTES", help=UNTIL_QUIET)
    sub.add_argument("--memory-limit", type=float, metavar="GIB", help=MEMORY_LIMIT)
    repeated = sub.add_mutually_exclusive_group()
    repeated.add_argument("--retry", action="store_true", help=RETRY)
    repeated.add_argument("--force", action="store_true", help=FORCE)
    repeated.add_argument("--extend", action="store_true", help=EXTEND)
    sub.add_argument("--dry-run", action="store_true", help=DRY_RUN)
    sub.add_argument("--launcher", default="local", metavar="WORD", help=LAUNCHER)
    sub.add_argument(
        "--slurm",
        "--launcher-file",
        type=place,
        dest="launcher_file",
        metavar="FILE",
        help=SLURM,
    )
    sub.add_argument(
        "--wait",
        action="store_true",
        help="with a launcher that returns at once, such as slurm: wait until no cell is queued or "
        "running; Ctrl-C cancels none",
    )
