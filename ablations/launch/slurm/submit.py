"""Give the cells of studies to SLURM: one job array for all cells of equal size, submitted by submitit with one sbatch.

What runs, resumes or is refused is decided as it is locally. The driver then ends, or waits, and may be killed: no job depends on it.
"""

import os
import re
import shutil
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING

from ablations.launch.decide import Decision, decide, set_aside
from ablations.launch.local.sweep import check_decisions, record_refusals
from ablations.launch.machine import outside_of_a_job
from ablations.launch.options import Options
from ablations.launch.pace import state
from ablations.launch.slurm.become import become
from ablations.launch.slurm.queue import (
    cancel_command,
    refuse_live,
    refuse_unknown,
    settle,
    write_record,
)
from ablations.launch.slurm.settings import Slurm
from ablations.launch.study_lock import locked
from ablations.study import Study, compose_cells
from ablations.study.grid import Cell
from experiments.run_dir.files import JOB, RESULT
from experiments.run_dir.outcome import OK, WOULD_NOT_FIT, is_ok, read_result
from reformer_pl.config import ConfigError, RunConfig

if TYPE_CHECKING:
    from submitit import SlurmExecutor

MAX_ARRAY_SIZE = 1001  # SLURM's own default, where the cluster does not say
POLL_SECONDS = (2.0, 30.0)  # while much happens, and while nothing does


def submit(studies: list[Study], options: Options, slurm: Slurm) -> int:
    """Submit the cells that must run, and print their jobs. ConfigError before anything is submitted, or from sbatch.

    Exit code: 0; 1 where cells are neither ok nor with SLURM now, as those that failed before.
    """
    check_tools()
    grids = [compose_cells(study) for study in studies]
    sizes = places(studies, grids, slurm)
    with ExitStack() as stack:
        for study in studies:
            stack.enter_context(locked(study))
        jobs = settle(sizes)
        refuse_unknown(jobs)
        if options.force:
            refuse_live(jobs, "starting over")
        plans = [
            decide(study, configs, options, jobs, [])
            for study, configs in zip(studies, grids, strict=True)
        ]
        for study, configs, decisions in zip(studies, grids, plans, strict=True):
            check_decisions(study, configs, decisions)
        if options.force:
            set_aside([cell for cell in sizes if cell.directory.exists()])
        submitted: list[str] = []
        return max(
            [
                _submit_study(study, decisions, slurm, sizes, submitted)
                for study, decisions in zip(studies, plans, strict=True)
            ]
        )


def check_tools() -> None:
    """ConfigError where there is no SLURM, or no submitit."""
    missing = [tool for tool in ("sbatch", "squeue", "srun") if shutil.which(tool) is None]
    if missing:
        raise ConfigError(
            f"--launcher slurm: there is no {missing[0]} here: use it on a machine of the cluster, such as its login node"
        )
    if find_spec("submitit") is None:
        raise ConfigError("--launcher slurm needs the package submitit: pip install -e '.[slurm]'")


def places(studies: list[Study], grids: list[list[RunConfig]], slurm: Slurm) -> dict[Cell, int]:
    """Each cell's processes on each of its nodes. ConfigError where they do not fit, or would disturb each other in a timed study."""
    for study in studies:
        if (
            study.timed and slurm.sbatch.get("exclusive") is not True
        ):  # "user" would leave a node to the cells together
            why = f"study {study.name} reports time, so its cells must not disturb each other"
            raise ConfigError(
                f"{why}: give them nodes of their own, with sbatch: {{exclusive: true}}"
            )
    return {
        cell: slurm.processes_per_node(f"study {study.name}: {cell}", config)
        for study, configs in zip(studies, grids, strict=True)
        for cell, config in zip(study.cells, configs, strict=True)
    }


def wait(studies: list[Study]) -> int:
    """Until SLURM has none of the cells any more. Exit code: 0 all cells ok, 1 some not, 130 after Ctrl-C, which cancels nothing."""
    cells = [cell for study in studies for cell in study.cells]
    told, pause = "", POLL_SECONDS[0]
    while True:
        jobs = settle(cells)
        counts = Counter(
            state(study, cell, jobs.get(cell)) for study in studies for cell in study.cells
        )
        now = ", ".join(f"{number} {word}" for word, number in counts.items())
        if now != told:
            print(f"{time.strftime('%H:%M:%S')} {now}", flush=True)
            told, pause = now, POLL_SECONDS[0]
        if not any(job.is_live or job.state == "unknown" for job in jobs.values()):
            return 0 if counts[OK] == len(cells) else 1
        try:
            time.sleep(pause)
        except KeyboardInterrupt:
            print(f"the jobs go on; {cancel_command(jobs)} ends them", flush=True)
            return 130
        pause = min(1.5 * pause, POLL_SECONDS[1])


def _submit_study(
    study: Study,
    decisions: dict[Cell, Decision],
    slurm: Slurm,
    sizes: dict[Cell, int],
    submitted: list[str],
) -> int:
    """Exit code as of `submit`; the numbers of its jobs are added to those `submitted` before."""
    starting = [cell for cell in study.cells if decisions[cell].starts]
    given = [decision for decision in decisions.values() if decision.word == "given"]
    statuses = {
        cell: decision.status for cell, decision in decisions.items() if decision.word == "skip"
    }
    done = sum(status == OK for status in statuses.values())
    print(
        f"{study.name}: {len(study.cells)} cells, {done} already done, {len(given)} with SLURM, {len(starting)} to submit",
        flush=True,
    )
    statuses |= dict.fromkeys(
        record_refusals(decisions, lambda text: print(text, flush=True)), WOULD_NOT_FIT
    )
    not_ok = [f"{cell} ({status})" for cell, status in statuses.items() if status != OK]
    if not_ok:
        print(f"  not ok: {', '.join(not_ok)}; --retry submits them again", flush=True)
    limit = max_array_size() if starting else MAX_ARRAY_SIZE
    before = len(submitted)
    for size, same in groupby(
        sorted(starting, key=lambda cell: sizes[cell]), key=lambda cell: sizes[cell]
    ):
        cells = list(same)
        for first in range(0, len(cells), limit):
            try:
                submitted.append(_submit_array(study, cells[first : first + limit], slurm, size))
            except ConfigError as error:
                told = (
                    f"; the jobs before it run: scancel {' '.join(submitted)} ends them"
                    if submitted
                    else ""
                )
                raise ConfigError(f"{error}{told}") from error
    if submitted[before:]:
        print(f"  scancel {' '.join(submitted[before:])} ends them", flush=True)
    return 1 if not_ok else 0


def _submit_array(study: Study, cells: list[Cell], slurm: Slurm, processes_per_node: int) -> str:
    """One sbatch; returns the job's number. ConfigError where it fails; no result is touched then."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    name = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', study.name)[:40]}.{uuid.uuid4().hex[:8]}"
    executor = executor_of(study, slurm, processes_per_node, name, len(cells))
    before = {cell: read_result(cell.directory) for cell in cells}
    try:
        for i, cell in enumerate(cells):
            write_record(cell, name, i if len(cells) > 1 else None, None)
    except OSError as error:
        for cell in cells:
            with suppress(OSError):  # of the directory that could not be written
                (cell.directory / JOB).unlink()
        raise ConfigError(
            f"study {study.name}: cannot be written: {' '.join(str(error).split())}"
        ) from error
    try:  # what was written stays: sbatch may fail after SLURM took the job, and the queue then knows its name
        with _outside_of_a_job():
            jobs = executor.map_array(
                become, [cell.command() for cell in cells], [str(cell.directory) for cell in cells]
            )
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise ConfigError(
            f"study {study.name}: sbatch refuses: {' '.join(str(error).split())}"
        ) from error
    number = jobs[0].job_id.split("_")[0]
    try:
        for i, (cell, job) in enumerate(zip(cells, jobs, strict=True)):
            write_record(cell, name, i if len(cells) > 1 else None, job.job_id)
            result = before[cell]
            if (
                result is not None and not is_ok(result) and read_result(cell.directory) == result
            ):  # of the failure that is tried again
                (cell.directory / RESULT).unlink()
    except OSError as error:
        raise ConfigError(
            f"study {study.name}: job {number} is submitted, but not all of its cells could be told: {error}"
        ) from error
    each = (
        f"{processes_per_node * slurm.nodes} processes"
        if processes_per_node * slurm.nodes > 1
        else "1 process"
    )
    where = f" on {slurm.nodes} nodes" if slurm.nodes > 1 else ""
    print(
        f"  job {number}: {len(cells)} cells of {each}{where} each"
        if len(cells) > 1
        else f"  job {number}: {cells[0]}, {each}{where}"
    )
    return number


def executor_of(
    study: Study, slurm: Slurm, processes_per_node: int, name: str, n_cells: int
) -> "SlurmExecutor":
    """submitit's executor; what it writes, the script and what a job says before it is the cell, goes below runs/STUDY/.slurm."""
    from submitit import SlurmExecutor

    executor = SlurmExecutor(study.directory / ".slurm")
    executor.update_parameters(
        **slurm.words(processes_per_node), job_name=name, array_parallelism=slurm.at_once or n_cells
    )
    return executor


def max_array_size() -> int:
    """How many cells one array may have here."""
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, int(found[1])) if found else MAX_ARRAY_SIZE


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """A driver that runs in a job itself submits as if it did not."""
    kept = outside_of_a_job()
    removed = {name: os.environ.pop(name) for name in list(os.environ) if name not in kept}
    try:
        yield
    finally:
        os.environ.update(removed)
