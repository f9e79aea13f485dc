"""How far a cell is and how fast, read from the files that it writes."""

from dataclasses import dataclass
from statistics import mean

from ablations.launch.job import Job
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.files import LOG, METRICS, last_rows
from experiments.run_dir.lock import is_running
from experiments.run_dir.outcome import UNEVALUATED, is_ok, missing_evaluations, read_result
from reformer_pl.config import RunConfig
from reformer_pl.metrics import loss_name


@dataclass
class Pace:
    """Where a cell is; everything is None before its first training row."""

    step: int | None = None
    loss: float | None = None  # of the task, whatever its name
    steps_per_second: float | None = None
    max_steps: int = 0
    without_step: str = "starting"

    @property
    def seconds_left(self) -> float | None:
        return (
            (self.max_steps - self.step) / self.steps_per_second
            if self.step is not None and self.steps_per_second
            else None
        )

    def __str__(self) -> str:
        if self.step is None:
            return self.without_step
        left = (
            ""
            if self.seconds_left is None
            else f", {self.steps_per_second:.2f} steps/s, {duration(self.seconds_left)} left"
        )
        return f"step {self.step}/{self.max_steps}, loss {self.loss:.4f}{left}"


def pace(cell: Cell, config: RunConfig) -> Pace:
    """From the last 20 training rows of metrics.jsonl."""
    rows = [
        row for row in last_rows(cell.directory / METRICS, 16384) if row.get("split") == "train"
    ][-20:]
    max_steps = config.trainer.max_steps
    if not rows:
        return Pace(max_steps=max_steps, without_step="starting" if cell.trains else "measuring")
    first, last = rows[0], rows[-1]
    if len(rows) == 1:
        first = {"step": 0, "seconds": 0.0}
    seconds = last["seconds"] - first["seconds"]
    rate = (last["step"] - first["step"]) / seconds if seconds > 0 else None
    return Pace(last["step"], last[loss_name(config.task.name)], rate, max_steps)


def state(study: Study, cell: Cell, job: Job | None = None) -> str:
    """ok, oom, failed, timeout or would_not_fit; else running, unfinished (it resumes) or waiting.

    Or the state of its job. A cell that is trained, without an evaluation that its study has gained
    since or that failed, is "unevaluated": `run` makes it.
    """
    result = read_result(cell.directory)
    trained = is_ok(result)
    unevaluated = trained and bool(missing_evaluations(cell.directory, study.evaluations))
    if result is not None and not unevaluated:
        return result["status"]
    if job is not None and not (unevaluated and job.state == "ended"):
        return "lost" if job.state == "ended" else job.state
    if is_running(cell.directory):
        return "running"
    if unevaluated:
        return UNEVALUATED
    return "unfinished" if (cell.directory / LOG).exists() else "waiting"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
