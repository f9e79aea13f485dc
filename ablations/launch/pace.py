"""How far a cell is and how fast, read from the files that it writes."""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean

from ablations.launch.job import Job
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.files import LOG, METRICS, written_at
from experiments.run_dir.identity import read_sessions
from experiments.run_dir.lock import is_running
from experiments.run_dir.outcome import (
    UNEVALUATED,
    UNREADABLE,
    is_ok,
    missing_evaluations,
    result_row,
)
from experiments.run_dir.rounds import read_rounds
from experiments.run_dir.rows import read_rows
from experiments.terminal.units import duration, per_step
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.metrics import loss_name

UNTUNED = "untuned"
# A cell stands still when no row has come for so long, and for so many of its own intervals. An
# evaluation writes no row while it works.
STILL_SECONDS = 120.0
STILL_ROWS = 20


@dataclass
class Pace:
    """Where a cell is; everything is None before its first training row."""

    step: int | None = None
    loss: float | None = None  # of the task, whatever its name
    steps_per_second: float | None = None
    max_steps: int = 0
    without_step: str = "starting"
    still_seconds: float | None = None  # since its last row, where that is far beyond its pace

    @property
    def step_seconds(self) -> float | None:
        return 1 / self.steps_per_second if self.steps_per_second else None

    @property
    def seconds_left(self) -> float | None:
        """None where it has no rate, or stands still."""
        return (
            (self.max_steps - self.step) / self.steps_per_second
            if self.step is not None and self.steps_per_second and self.still_seconds is None
            else None
        )

    @property
    def left(self) -> str:
        """The time left; of a cell that stands still, for how long it does; else empty."""
        if self.still_seconds is not None:
            return f"no new row for {duration(self.still_seconds)}"
        return "" if self.seconds_left is None else f"{duration(self.seconds_left)} left"

    @property
    def loss_text(self) -> str:
        return "not finite" if self.loss is None else f"{self.loss:.4f}"

    def __str__(self) -> str:
        if self.step is None:
            return self.without_step
        seconds = self.step_seconds
        rate = "" if self.seconds_left is None or not seconds else f", {per_step(seconds)}"
        left = f", {self.left}" if self.left else ""
        return f"step {self.step}/{self.max_steps}, loss {self.loss_text}{rate}{left}"


def pace(cell: Cell, config: RunConfig) -> Pace:
    """From the last 20 training rows of metrics.jsonl."""
    path, max_steps = cell.directory / METRICS, config.trainer.max_steps
    try:
        last_rows = read_rows(path, last=16384)
    except ConfigError as error:
        return Pace(max_steps=max_steps, without_step=f"{UNREADABLE}: {error}")
    rows = [row for row in last_rows if row.get("split") == "train" and row.get("seconds")][-20:]
    if not rows:
        return Pace(max_steps=max_steps, without_step="starting" if cell.trains else "measuring")
    first, last = rows[0], rows[-1]
    if len(rows) == 1:
        first = {"step": 0, "seconds": 0.0}
    seconds = last["seconds"] - first["seconds"]
    rate = (last["step"] - first["step"]) / seconds if seconds > 0 else None
    now = Pace(last["step"], last.get(loss_name(config.task.name)), rate, max_steps)
    now.still_seconds = _still(path, now, config.trainer.log_every_steps)
    return now


def _still(path: Path, at: Pace, every: int) -> float | None:
    """Seconds since the last row, where they are far more than the cell's own pace explains.

    None of a cell that writes, and of one after its last step, whose evaluations write no row.
    """
    written = written_at(path)
    if written is None or not at.steps_per_second or at.step in (None, at.max_steps):
        return None
    still = time.time() - written / 1e9
    return still if still > max(STILL_SECONDS, STILL_ROWS * every / at.steps_per_second) else None


def state(study: Study, cell: Cell, job: Job | None = None) -> str:
    """ok, oom, failed, timeout or would_not_fit; else running, unfinished (it resumes) or waiting.

    Or the state of its job. A cell that is trained, without an evaluation that its study has gained
    since or that failed, is "unevaluated": `run` makes it. One whose files cannot be read is
    "unreadable". A study's own cell is "untuned" until its tuning cells have ended.
    """
    if study.is_open(cell):
        return UNTUNED
    result = result_row(cell.directory)
    trained = is_ok(result)
    try:
        unevaluated = trained and bool(
            missing_evaluations(cell.directory, study.evaluations_of(cell))
        )
    except ConfigError:
        return UNREADABLE
    if result is not None and not unevaluated:
        return result["status"]
    if job is not None and not (unevaluated and job.state == "ended"):
        return "lost" if job.state == "ended" else job.state
    if is_running(cell.directory):
        return "running"
    if unevaluated:
        return UNEVALUATED
    return "unfinished" if (cell.directory / LOG).exists() else "waiting"


def whole_seconds(cell: Cell) -> float | None:
    """From the start to the end of a cell that ended well; None where its files do not say.

    That of one process is its clock. One that was resumed waited in between: its parts are added.
    """
    result = result_row(cell.directory) or {}
    try:
        sessions = read_sessions(cell.directory)
        rounds = read_rounds(cell.directory, result) if is_ok(result or None) else []
    except ConfigError:
        return None
    with suppress(KeyError, TypeError, ValueError):
        if len(sessions) == 1:
            began = datetime.fromisoformat(sessions[0]["started_at"])
            return (datetime.fromisoformat(result["finished_at"]) - began).total_seconds()
    walls = [row["wall_seconds"] for row in rounds if row.get("wall_seconds")]
    if not cell.trains:
        return mean(walls) if walls else None
    parts = [result.get(name) for name in ("startup_seconds", "train_seconds", "closing_seconds")]
    return sum(part or 0.0 for part in parts) if parts[1] else None


def seconds_left(
    running: list[tuple[float, float | None]], whole: float | None, waiting: int, at_once: int
) -> float | None:
    """Of a study, as its cells go now; None where nothing is known.

    `running` holds for each running cell its seconds so far and its seconds left, which are None
    where it has no rate yet. `whole` is what a cell took so far, from start to end.
    """
    lefts = []
    for so_far, left in running:
        if left is None and whole is None:
            return None
        lefts.append(max(0.0, (whole or 0.0) - so_far) if left is None else left)
    if not lefts:
        return None
    each = (
        mean(so_far + left for (so_far, _), left in zip(running, lefts, strict=True))
        if whole is None
        else whole
    )
    return max(*lefts, (sum(lefts) + waiting * each) / at_once)
