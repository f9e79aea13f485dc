"""How far a cell is and how fast, read from the files that it writes."""

import json
from dataclasses import dataclass
from statistics import mean
from typing import Any

from ablations.grid import Cell
from ablations.launch import is_running, read_evaluation, read_result, tail
from ablations.slurm_queue import Job
from ablations.study import Study


@dataclass
class Pace:
    """Where a cell is; everything is None before its first training row."""

    step: int | None = None
    loss_nats: float | None = None
    steps_per_second: float | None = None
    max_steps: int = 0
    without_step: str = "starting"

    @property
    def seconds_left(self) -> float | None:
        return (self.max_steps - self.step) / self.steps_per_second if self.step is not None and self.steps_per_second else None

    def __str__(self) -> str:
        if self.step is None:
            return self.without_step
        left = "" if self.seconds_left is None else f", {self.steps_per_second:.2f} steps/s, {duration(self.seconds_left)} left"
        return f"step {self.step}/{self.max_steps}, loss {self.loss_nats:.4f}{left}"


def pace(cell: Cell, max_steps: int) -> Pace:
    """From the last 20 training rows of metrics.jsonl."""
    rows = [row for row in map(_row, tail(cell.directory / "metrics.jsonl", 16384).splitlines()) if row.get("split") == "train"][-20:]
    if not rows:
        return Pace(max_steps=max_steps, without_step="starting" if cell.trains else "measuring")
    first, last = rows[0], rows[-1]
    if len(rows) == 1:
        first = {"step": 0, "seconds": 0.0}
    seconds = last["seconds"] - first["seconds"]
    rate = (last["step"] - first["step"]) / seconds if seconds > 0 else None
    return Pace(last["step"], last["loss_nats"], rate, max_steps)


def _row(line: bytes) -> dict[str, Any]:
    """One line of metrics.jsonl; empty for one that is cut, by the window we read or because it is being written."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def state(study: Study, cell: Cell, job: Job | None = None) -> str:
    """ok, oom, failed, timeout or would_not_fit; else running, unfinished (it resumes) or waiting, or what SLURM has of it.

    A cell that is trained, without an evaluation that its study has gained since or that failed, is "unevaluated": `run` makes it.
    """
    result = read_result(cell)
    trained = result is not None and result["status"] == "ok"
    unevaluated = trained and bool(missing_evaluations(study, cell))
    if result is not None and not unevaluated:
        return result["status"]
    if job is not None and not (unevaluated and job.state == "ended"):
        return "lost" if job.state == "ended" else job.state
    if is_running(cell):
        return "running"
    if unevaluated:
        return "unevaluated"
    return "unfinished" if (cell.directory / "log.txt").exists() else "waiting"


def missing_evaluations(study: Study, cell: Cell) -> list[str]:
    """The names of the study's evaluations that a cell does not have, under the overrides that the study says now."""
    return [name for name, overrides in study.evaluations.items() if not read_evaluation(cell, name, overrides)]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def seconds_left(running: list[tuple[float, float | None]], whole: float | None, waiting: int, at_once: int) -> float | None:
    """Of a study, as its cells go now. `running` holds the seconds so far and the seconds left of each running cell, the latter None where
    it has no rate yet; `whole` is what a cell took so far, from start to end. None where nothing is known.
    """
    lefts = []
    for so_far, left in running:
        if left is None and whole is None:
            return None
        lefts.append(max(0.0, (whole or 0.0) - so_far) if left is None else left)
    if not lefts:
        return None
    each = mean(so_far + left for (so_far, _), left in zip(running, lefts, strict=True)) if whole is None else whole
    return max(*lefts, (sum(lefts) + waiting * each) / at_once)
