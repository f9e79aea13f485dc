"""The slot of --launcher: what a launcher offers, and the `match` that builds it from its word."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ablations.launch.decide import Plan
from ablations.launch.job import Job
from ablations.launch.local.launcher import Local
from ablations.launch.local.stop import Stop
from ablations.launch.options import Options
from ablations.launch.slurm.launcher import OnSlurm
from ablations.launch.slurm.settings import load_slurm
from ablations.study import Study
from ablations.study.cell import Cell
from reformer_pl.config import ConfigError, RunConfig

LAUNCHERS = ("local", "slurm")


class Launcher(Protocol):
    """Starts cells. Locks, refusals and decisions stand around it, in ablations/launch/run.py."""

    word: str  # of --launcher
    name: str  # in a sentence: SLURM
    where: str  # a cell runs "here", "on SLURM"
    stays: bool  # whether `start` returns after the cells have ended, and so needs Ctrl-C
    local_options: (
        str  # what to do instead of --parallel, --gpus and --timeout, where it `stays` not
    )

    def check_tools(self) -> None:
        """Raises ConfigError where a program that it needs is not here. A dry run needs none."""

    def check(self, study: Study, configs: list[RunConfig], options: Options) -> None:
        """Raises ConfigError where the cells of a study cannot run this way."""

    def read_jobs(self, cells: Iterable[Cell]) -> dict[Cell, Job]:
        """The jobs of the cells that it was given; unreadable where the record is damaged."""

    def record_path(self, cell: Cell) -> Path | None:
        """The file in a cell's directory that says which job it is, where there are jobs."""

    def start(self, plan: Plan, options: Options, stop: Stop) -> int:
        """Start the cells of `plan.starting`. Exit code: 0, or 1 where a cell is not ok."""

    def cancel_command(self, jobs: list[Job]) -> str:
        """The shell command that ends live jobs. It is shown, never run."""


def build_launcher(word: str, file: Path | None = None) -> Launcher:
    """`file` holds the launcher's settings. Raises ConfigError."""
    match word:
        case "local":
            return Local()
        case "slurm":
            return OnSlurm(load_slurm(file))
        case _:
            raise ConfigError(f"--launcher {word} is unknown: choose {', '.join(LAUNCHERS)}")


def launcher_of(arguments: argparse.Namespace) -> Launcher:
    """The launcher of a command line. Raises ConfigError for an option of another launcher."""
    launcher = build_launcher(arguments.launcher, arguments.launcher_file)
    here = {
        "--parallel": arguments.parallel,
        "--gpus": arguments.gpus,
        "--gpus-per-cell": arguments.gpus_per_cell,
        "--cells-per-gpu": arguments.cells_per_gpu,
        "--timeout": arguments.timeout,
        "--round-minutes": arguments.round_minutes,
        "--until-quiet": arguments.until_quiet,
    }
    elsewhere = {"--slurm": arguments.launcher_file, "--wait": arguments.wait or None}
    options = elsewhere if launcher.stays else here
    for option in (option for option, value in options.items() if value is not None):
        if launcher.stays:
            raise ConfigError(f"{option} is of --launcher slurm: add that, or leave {option} out")
        raise ConfigError(f"{option} is of --launcher local: {launcher.local_options}")
    return launcher
