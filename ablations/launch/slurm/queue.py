"""Which cells were given to SLURM and what became of them: slurm.json in each cell's directory, and one squeue for all of them.

The queue says who waits and who runs, on whatever node; result.json says how a cell ended. Nothing is asked of sacct, which many clusters
do not have. A job that is in the queue no more and left no result is a failure like any other.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.study.grid import Cell, numbers_of
from experiments.run_dir.files import JOB, log_tail
from experiments.run_dir.outcome import FAILED, OOM, TIMEOUT, is_ok, read_result, write_failure
from reformer_pl.config import ConfigError

COLUMNS = "Name:|,ArrayTaskID:|,State:|,RestartCnt:|,Reason:|"
WAITING = (
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
)
ENDED = {  # SLURM's word, and the status of a cell that left no result
    **dict.fromkeys(
        ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"),
        FAILED,
    ),
    **dict.fromkeys(("TIMEOUT", "DEADLINE"), TIMEOUT),
    "OUT_OF_MEMORY": OOM,
}
EXPECTED = (
    "None",
    "Priority",
    "Resources",
    "JobArrayTaskLimit",
    "BeginTime",
    "Cleaning",
    "",
)  # reasons to wait that will pass


@dataclass(frozen=True)
class Job:
    """What SLURM has of a cell."""

    id: str  # 12_3 of an array
    state: str  # queued, requeued or running; else ended, or unknown where squeue does not answer
    why: str = ""  # why it waits, if somebody must do something; how it ended, in SLURM's word; or what squeue says instead

    @property
    def is_live(self) -> bool:
        return self.state in ("queued", "requeued", "running")

    def __str__(self) -> str:
        return f"{self.state} as SLURM job {self.id}" + (f": {self.why}" if self.why else "")


def write_record(cell: Cell, name: str, task: int | None, job: str | None) -> None:
    """Before sbatch, without a job: should the driver die in between, the queue still knows the name. And after it, with one."""
    cell.directory.mkdir(parents=True, exist_ok=True)
    (cell.directory / JOB).write_text(
        json.dumps({"name": name, "task": task, "job": job, "user": os.getuid()}) + "\n"
    )


def read_jobs(cells: Iterable[Cell]) -> dict[Cell, Job]:
    """The jobs of all the cells that were ever given to SLURM, with one call of squeue. Raises ConfigError for a damaged slurm.json."""
    records = {cell: record for cell in cells if (record := _read(cell.directory / JOB))}
    if not records:
        return {}
    rows, problem = _squeue(sorted({record["name"] for record in records.values()}))
    jobs = {}
    for cell, record in records.items():
        job = record["job"] or record["name"]
        state, restarts, reason = rows.get((record["name"], record["task"]), ("", "0", ""))
        theirs = not state and record["user"] != os.getuid()
        hidden = problem or ("another user submitted it, and squeue may hide it" if theirs else "")
        if hidden:
            if not is_ok(
                read_result(cell.directory)
            ):  # else it is done, whatever the queue has of it
                jobs[cell] = Job(job, "unknown", hidden)
        elif not state:
            if record["job"]:  # else the driver ended before sbatch did
                jobs[cell] = Job(job, "ended")
        elif state in ENDED:
            jobs[cell] = Job(job, "ended", state)
        elif state in WAITING:
            jobs[cell] = Job(
                job,
                "queued" if restarts == "0" else "requeued",
                "" if reason in EXPECTED else reason,
            )
        else:
            jobs[cell] = Job(job, "running")
    return jobs


def settle(cells: Iterable[Cell]) -> dict[Cell, Job]:
    """`read_jobs`, and the cells whose job ended without a result become rows like any failure."""
    jobs = read_jobs(cells)
    for cell, job in jobs.items():
        if is_lost(cell, job):
            last = log_tail(cell.directory, 1)
            how = f"SLURM job {job.id} ended without a result" + (
                f" ({job.why})" if job.why else ""
            )
            try:
                error = ": ".join([how, *last])
                write_failure(
                    cell.directory,
                    ENDED.get(job.why, FAILED),
                    error,
                    numbers_of(cell),
                    replace=False,
                )
            except OSError:  # somebody else's study, or a full disk: the cell is shown as lost, and recorded by whoever can
                continue
    return jobs


def is_lost(cell: Cell, job: Job) -> bool:
    """Whether a job has ended without a result. Asked after the queue, for a result may come meanwhile."""
    return job.state == "ended" and read_result(cell.directory) is None


def refuse_unknown(jobs: dict[Cell, Job]) -> None:
    """A cell that may still run is not started beside itself (ConfigError)."""
    for cell, job in jobs.items():
        if job.state == "unknown":
            told = f"{cell} was given to SLURM as job {job.id}, and whether it still runs cannot be told ({job.why})"
            raise ConfigError(
                f"{told}: ask where squeue answers, or delete {cell.directory / JOB} if it does not run"
            )


def refuse_live(jobs: dict[Cell, Job], wish: str) -> None:
    """ConfigError where a job waits or runs."""
    for cell, job in jobs.items():
        if job.is_live:
            raise ConfigError(f"{cell} is {job}: wait for it, or scancel {job.id} before {wish}")


def cancel_command(jobs: dict[Cell, Job]) -> str:
    """What ends all that wait and run, whole arrays at a time."""
    return " ".join(
        ["scancel", *dict.fromkeys(job.id.split("_")[0] for job in jobs.values() if job.is_live)]
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
        return {key: found[key] for key in ("name", "task", "job", "user")}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged: delete it if squeue shows no job of that cell"
        ) from error


def _squeue(names: list[str]) -> tuple[dict[tuple[str, int | None], tuple[str, str, str]], str]:
    """(state, restarts, reason) by job name and array task, of jobs that ended in the last minutes too; and why there is no answer."""
    if shutil.which("squeue") is None:
        return {}, "there is no squeue here"
    command = [
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        f"--name={','.join(names)}",
        f"--Format={COLUMNS}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {}, " ".join(done.stderr.split()) or f"squeue ended with {done.returncode}"
    rows = {}
    for line in done.stdout.splitlines():
        name, task, *said = (word.strip() for word in line.removesuffix("|").rsplit("|", 4))
        rows[name, int(task) if task.isdecimal() else None] = (said[0], said[1], said[2])
    return rows, ""
