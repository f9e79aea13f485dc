"""--launcher slurm: the cells become job arrays, and the driver ends. No job depends on it."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from ablations.launch.decide import Plan, record_refusals
from ablations.launch.job import Job
from ablations.launch.local.stop import Stop
from ablations.launch.options import Options
from ablations.launch.slurm import queue
from ablations.launch.slurm.settings import Slurm
from ablations.launch.slurm.submit import max_array_size, submit_array
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.files import JOB
from experiments.run_dir.outcome import OK, WOULD_NOT_FIT
from reformer_pl.config import ConfigError, RunConfig


@dataclass
class OnSlurm:
    slurm: Slurm = field(default_factory=Slurm)
    submitted: list[str] = field(default_factory=list)  # the numbers of the jobs of this command

    word = queue.WORD
    name = "SLURM"
    where = "on SLURM"
    stays = False
    local_options = "on SLURM write at_once, gpus and time into the file of --slurm"

    def check_tools(self) -> None:
        missing = [tool for tool in ("sbatch", "squeue", "srun") if shutil.which(tool) is None]
        if missing:
            raise ConfigError(
                f"--launcher slurm: there is no {missing[0]} here: "
                "use it on a machine of the cluster, such as its login node"
            )
        if find_spec("submitit") is None:
            raise ConfigError(
                "--launcher slurm needs the package submitit: pip install -e '.[slurm]'"
            )

    def check(self, study: Study, configs: list[RunConfig], options: Options) -> None:
        """Cells must fit their nodes, and not disturb each other in a timed study."""
        # exclusive: user would leave a node to several cells
        if study.timed and self.slurm.sbatch.get("exclusive") is not True:
            raise ConfigError(
                f"study {study.name} reports time, so its cells must not disturb each other: "
                "give them nodes of their own, with sbatch: {exclusive: true}"
            )
        self._processes_per_node(study, configs)

    def read_jobs(self, cells: Iterable[Cell]) -> dict[Cell, Job]:
        return queue.read_jobs(cells)

    def record_path(self, cell: Cell) -> Path | None:
        return cell.directory / JOB

    def start(self, plan: Plan, options: Options, stop: Stop) -> int:
        """Submit the cells that must run, and print their jobs. ConfigError where sbatch fails."""
        n_skipped_ok = sum(status == OK for status in plan.skipped.values())
        print(
            f"{plan.study.name}: {len(plan.study.cells)} cells, {n_skipped_ok} already done, "
            f"{len(plan.given)} with SLURM, {len(plan.starting)} to submit",
            flush=True,
        )
        refused = record_refusals(plan, lambda line: print(line, flush=True))
        statuses = plan.skipped | dict.fromkeys(refused, WOULD_NOT_FIT)
        not_ok = [f"{cell} ({status})" for cell, status in statuses.items() if status != OK]
        if not_ok:
            print(f"  not ok: {', '.join(not_ok)}; --retry submits them again", flush=True)
        n_before = len(self.submitted)
        self._submit_arrays(plan)
        if self.submitted[n_before:]:
            print(f"  scancel {' '.join(self.submitted[n_before:])} ends them", flush=True)
        return 1 if not_ok else 0

    def cancel_command(self, jobs: list[Job]) -> str:
        """Of several jobs, whole arrays."""
        ids = [job.id if len(jobs) == 1 else job.id.split("_")[0] for job in jobs]
        return " ".join(["scancel", *dict.fromkeys(ids)])

    def _processes_per_node(self, study: Study, configs: list[RunConfig]) -> dict[Cell, int]:
        return {
            cell: self.slurm.processes_per_node(f"study {study.name}: {cell}", config)
            for cell, config in zip(study.cells, configs, strict=True)
        }

    def _submit_arrays(self, plan: Plan) -> None:
        """One array for all cells of equal size; several where the cluster bounds an array."""
        if not plan.starting:
            return
        sizes = self._processes_per_node(plan.study, plan.configs)
        limit = max_array_size()
        in_order = sorted(plan.starting, key=lambda cell: sizes[cell])
        for size, group in groupby(in_order, key=lambda cell: sizes[cell]):
            cells = list(group)
            for first in range(0, len(cells), limit):
                self._submit(plan.study, cells[first : first + limit], size)

    def _submit(self, study: Study, cells: list[Cell], processes_per_node: int) -> None:
        try:
            self.submitted.append(submit_array(study, cells, self.slurm, processes_per_node))
        except ConfigError as error:
            if not self.submitted:
                raise
            earlier = f"scancel {' '.join(self.submitted)} ends them"
            raise ConfigError(f"{error}; the jobs before it run: {earlier}") from error
