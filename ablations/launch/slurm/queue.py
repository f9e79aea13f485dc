"""Which cells were given to SLURM, and what became of them.

Each cell's directory has a slurm.json, and one squeue is called for all of them. The queue says who
waits and who runs, on whatever node; result.json says how a cell ended. Nothing is asked of sacct,
which many clusters do not have. A job that is in the queue no more and left no result is a failure
like any other.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations.launch.job import Job
from ablations.study.cell import Cell
from experiments.run_dir.durable import replace_text
from experiments.run_dir.files import JOB, json_text
from experiments.run_dir.outcome import FAILED, OOM, TIMEOUT, UNREADABLE, is_ok, result_row
from experiments.run_dir.reading import read_bytes
from reformer_pl.config import ConfigError

WORD = "slurm"  # of --launcher
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
class Row:
    """What squeue prints of a job; all is empty of one that is in the queue no more."""

    state: str = ""
    restarts: str = "0"
    reason: str = ""


def write_record(cell: Cell, name: str, task: int | None, job: str | None) -> None:
    """Before sbatch without a job, and after it with one.

    Should the driver die in between, the queue still knows the name.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    record = {"name": name, "task": task, "job": job, "user": os.getuid()}
    replace_text(cell.directory / JOB, json_text(record, indent=None))


def read_jobs(cells: Iterable[Cell]) -> dict[Cell, Job]:
    """The jobs of all the cells that were ever given to SLURM, with one call of squeue.

    A damaged slurm.json is an unreadable job.
    """
    records, jobs = {}, {}
    for cell in cells:
        try:
            record = _read(cell.directory / JOB)
        except ConfigError as error:
            jobs[cell] = Job("?", UNREADABLE, str(error), WORD, "SLURM job")
            continue
        if record:
            records[cell] = record
    if not records:
        return jobs
    rows, problem = _squeue(sorted({record["name"] for record in records.values()}))
    for cell, record in records.items():
        row = rows.get((record["name"], record["task"]), Row())
        job = _job(cell, record, row, problem or _hidden(record, row))
        if job is not None:
            jobs[cell] = job
    return jobs


def _hidden(record: dict[str, Any], row: Row) -> str:
    """Why squeue may not show a job; else empty."""
    others = not row.state and record["user"] != os.getuid()
    return "another user submitted it, and squeue may hide it" if others else ""


def _job(cell: Cell, record: dict[str, Any], row: Row, problem: str) -> Job | None:
    """None: SLURM never had it, or cannot be asked of a cell that is done."""
    job = Job(record["job"] or record["name"], "running", launcher=WORD, kind="SLURM job")
    if problem:
        done = is_ok(result_row(cell.directory))
        return None if done else replace(job, state="unknown", why=problem)
    if not row.state:
        return replace(job, state="ended") if record["job"] else None  # the driver ended before
    if row.state in ENDED:
        return replace(job, state="ended", why=row.state, status=ENDED[row.state])
    if row.state in WAITING:
        state = "queued" if row.restarts == "0" else "requeued"
        return replace(job, state=state, why="" if row.reason in EXPECTED else row.reason)
    return job


def _read(path: Path) -> dict[str, Any] | None:
    data = read_bytes(path)
    if data is None:
        return None
    try:
        record = json.loads(data.decode("utf-8"))
        record = {key: record[key] for key in ("name", "task", "job", "user")}
        types = {"name": str, "task": int | None, "job": str | None, "user": int}
        if not all(isinstance(record[key], kind) for key, kind in types.items()):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged: delete it if squeue shows no job of that cell"
        ) from error
    return record


def _squeue(names: list[str]) -> tuple[dict[tuple[str, int | None], Row], str]:
    """The rows by job name and array task, of jobs that ended in the last minutes too.

    And why there is no answer; else empty.
    """
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
        columns = (column.strip() for column in line.removesuffix("|").rsplit("|", 4))
        name, task, state, restarts, reason = columns
        rows[name, int(task) if task.isdecimal() else None] = Row(state, restarts, reason)
    return rows, ""
