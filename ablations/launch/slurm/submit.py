"""One job array: cells of equal size, submitted by submitit with one sbatch."""

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ablations.launch.cell_environment import CELL_ENVIRONMENT
from ablations.launch.slurm.become import become
from ablations.launch.slurm.environment import outside_of_a_job
from ablations.launch.slurm.queue import write_record
from ablations.launch.slurm.settings import Slurm
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.files import JOB, LOG, RESULT
from experiments.run_dir.outcome import Result, is_ok, result_row
from experiments.safe_path import safe_path
from reformer_pl.config import ConfigError

MAX_ARRAY_SIZE = 1001  # SLURM's own default, where the cluster does not say


def submit_array(study: Study, cells: list[Cell], slurm: Slurm, processes_per_node: int) -> str:
    """One sbatch; returns the job's number, and prints it.

    Raises ConfigError where sbatch fails. No result is touched then.
    """
    name = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', study.name)[:40]}.{uuid.uuid4().hex[:8]}"
    before = {cell: result_row(cell.directory) for cell in cells}
    _write_names(study, cells, name)
    job_ids = _sbatch(study, cells, slurm, processes_per_node, name)
    number = job_ids[0].split("_")[0]
    try:
        for task, (cell, job_id) in enumerate(zip(cells, job_ids, strict=True)):
            write_record(cell, name, task if len(cells) > 1 else None, job_id)
            _forget_failure(cell, before[cell])
    except OSError as error:
        raise ConfigError(
            f"study {study.name}: job {number} is submitted, "
            f"but its number could not be written for all of its cells: {error}"
        ) from error
    _print_job(number, cells, slurm, processes_per_node)
    return number


def max_array_size() -> int:
    """How many cells one array may have here."""
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, int(match[1])) if match else MAX_ARRAY_SIZE


def _write_names(study: Study, cells: list[Cell], name: str) -> None:
    """Before sbatch: should it fail after SLURM took the job, the queue then knows the name."""
    try:
        for task, cell in enumerate(cells):
            write_record(cell, name, task if len(cells) > 1 else None, None)
    except OSError as error:
        for cell in cells:
            with suppress(OSError):  # of the directory that could not be written
                (cell.directory / JOB).unlink()
        reason = " ".join(str(error).split())
        raise ConfigError(f"study {study.name}: cannot be written: {reason}") from error


def _sbatch(
    study: Study, cells: list[Cell], slurm: Slurm, processes_per_node: int, name: str
) -> list[str]:
    """The number of each cell's job."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = _executor(study, slurm, processes_per_node, name, len(cells))
    commands = [cell.command() for cell in cells]
    try:
        with _environment_of_jobs():
            jobs = executor.map_array(
                become, commands, [str(cell.directory / LOG) for cell in cells]
            )
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"study {study.name}: sbatch refuses: {reason}") from error
    return [job.job_id for job in jobs]


def _executor(study: Study, slurm: Slurm, processes_per_node: int, name: str, n_cells: int) -> Any:
    """submitit's SlurmExecutor.

    The script, and what a job prints before it is the cell, go below runs/STUDY/.slurm.
    """
    from submitit import SlurmExecutor

    executor = SlurmExecutor(study.directory / ".slurm")
    executor.update_parameters(
        **slurm.words(processes_per_node), job_name=name, array_parallelism=slurm.at_once or n_cells
    )
    return executor


def _forget_failure(cell: Cell, before: Result | None) -> None:
    """The failure that is tried again, unless another result has come meanwhile."""
    if before is not None and not is_ok(before) and result_row(cell.directory) == before:
        (cell.directory / RESULT).unlink()


def _print_job(number: str, cells: list[Cell], slurm: Slurm, processes_per_node: int) -> None:
    n_processes = processes_per_node * slurm.nodes
    size = f"{n_processes} processes" if n_processes > 1 else "1 process"
    if slurm.nodes > 1:
        size += f" on {slurm.nodes} nodes"
    what = f"{len(cells)} cells of {size} each" if len(cells) > 1 else f"{cells[0]}, {size}"
    print(f"  job {number}: {what}")


@contextmanager
def _environment_of_jobs() -> Iterator[None]:
    """sbatch hands its environment on to the jobs, also to submitit, which starts the cells there.

    A driver that runs in a job itself submits as if it did not.
    """
    before = dict(os.environ)
    inherited = outside_of_a_job() | CELL_ENVIRONMENT | safe_path()
    os.environ.clear()
    os.environ.update(inherited)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
