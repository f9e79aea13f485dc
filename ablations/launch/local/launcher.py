"""--launcher local: the cells are processes of this machine, and the driver stays with them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ablations.launch.decide import Plan
from ablations.launch.job import Job
from ablations.launch.local.quiet import QuietWait
from ablations.launch.local.rounds import measure_rounds
from ablations.launch.local.stop import Stop
from ablations.launch.local.sweep import run_cells
from ablations.launch.machine import gpus_needed
from ablations.launch.options import Options
from ablations.study import Study
from ablations.study.cell import Cell
from reformer_pl.config import ConfigError, RunConfig


@dataclass
class Local:
    console: Console = field(default_factory=Console)

    word = "local"
    name = "this machine"
    where = "here"
    stays = True
    local_options = ""

    def check_tools(self) -> None:
        """Python is all that it needs."""

    def check(self, study: Study, configs: list[RunConfig], options: Options) -> None:
        if study.timed and options.at_once(study) > 1:
            raise ConfigError(
                f"study {study.name} reports time, so its cells run one at a time: "
                f"drop --parallel {options.parallel}"
            )
        if study.timed and options.places > 1:
            raise ConfigError(
                f"study {study.name} reports time, so its cells run one at a time: "
                f"drop --cells-per-gpu {options.places}"
            )
        for cell, config in zip(study.cells, configs, strict=True):
            if options.gpus and gpus_needed(config) > options.share:
                devices = config.trainer.devices
                raise ConfigError(
                    f"study {study.name}: {cell} has trainer.devices={devices}, "
                    f"more than --gpus-per-cell {options.share}: give --gpus-per-cell {devices}"
                )

    def read_jobs(self, cells: Iterable[Cell]) -> dict[Cell, Job]:
        """None: a cell lives no longer than its driver, and its log is locked while it does."""
        return {}

    def record_path(self, cell: Cell) -> Path | None:
        return None

    def start(self, plan: Plan, options: Options, stop: Stop) -> int:
        if not plan.study.timed:
            return run_cells(plan, options, stop, self.console)
        quiet = QuietWait(options.until_quiet_minutes or 0.0)
        if plan.starting:
            quiet.wait(stop, self._print_line)
        code = run_cells(plan, options, stop, self.console)
        return max(code, measure_rounds(plan, options, stop, quiet, self._print_line))

    def _print_line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def cancel_command(self, jobs: list[Job]) -> str:
        return "Ctrl-C"
