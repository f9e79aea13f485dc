"""How far a study is, read from the files its cells write: a live table on a terminal, plain lines elsewhere."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ablations.grid import Cell
from ablations.launch import Process, is_running, log_tail, read_result, tail
from ablations.study import Study
from reformer_pl.config import RunConfig

HEARTBEAT_SECONDS = 30
REFRESH_SECONDS = 0.5

# The columns of `status` and the numbers in them: the first is whole.
TRAINED = (
    ("steps", "steps"), ("loss", "loss_nats"), ("accuracy", "accuracy"), ("bits/dim", "bits_per_dim"), ("seconds/step", "step_seconds"),
)  # fmt: skip
MEASURED = (
    ("length", "length"), ("forward s", "forward_seconds"), ("backward s", "backward_seconds"), ("whole s", "step_seconds"),
    ("x full", "speedup"), ("GiB", "peak_memory_gib"),
)  # fmt: skip


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


def state(cell: Cell) -> str:
    """ok, oom, failed, timeout or would_not_fit; else running, unfinished (it resumes) or waiting."""
    result = read_result(cell)
    if result is not None:
        return result["status"]
    if is_running(cell):
        return "running"
    return "unfinished" if (cell.directory / "log.txt").exists() else "waiting"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """What `run` shows. Lines that matter later (start, end) are printed in both modes; the table is repainted below them."""

    def __init__(self, study: Study, configs: list[RunConfig], console: Console) -> None:
        self.study, self.console = study, console
        self.max_steps = {cell: config.trainer.max_steps for cell, config in zip(study.cells, configs, strict=True)}
        self.started = self.shown = time.monotonic()
        self.live = Live(console=console, auto_refresh=False, transient=True)  # no thread: cells are forked from this one

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def line(self, text: str) -> None:
        if self.console.is_terminal:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def show(self, running: Iterable[Process], statuses: dict[Cell, str]) -> None:
        """Repaint the table, or print a heartbeat, if it is time."""
        now = time.monotonic()
        if now - self.shown < (REFRESH_SECONDS if self.console.is_terminal else HEARTBEAT_SECONDS):
            return
        self.shown = now
        paces = [(process, pace(process.cell, self.max_steps[process.cell])) for process in running]
        if not self.console.is_terminal:
            for process, now_at in paces:
                self.line(f"  {process.cell}: {now_at} ({duration(process.seconds)})")
            return
        table = Table(box=None, pad_edge=False)
        for column in ("running", "step", "loss", "steps/s", "left", "time"):
            table.add_column(column, justify="left" if column == "running" else "right")
        for process, now_at in paces:
            blank = now_at.step is None
            table.add_row(
                str(process.cell),
                now_at.without_step if blank else f"{now_at.step}/{now_at.max_steps}",
                "" if blank else f"{now_at.loss_nats:.4f}",
                f"{now_at.steps_per_second:.2f}" if now_at.steps_per_second else "",
                duration(now_at.seconds_left) if now_at.seconds_left is not None else "",
                duration(process.seconds),
            )
        done = Counter("done" if status == "ok" else "failed" for status in statuses.values())
        waiting = len(self.study.cells) - len(statuses) - len(paces)
        counts = f"{self.study.name}: {done['done']} done, {len(paces)} running, {done['failed']} failed, {waiting} waiting"
        self.live.update(Group(Text(f"{counts}, {duration(now - self.started)}"), table), refresh=True)


def print_status(study: Study, configs: list[RunConfig], console: Console, log_lines: int = 5) -> None:
    """The same, later: one row for each cell, then why the failed ones failed."""
    table = Table(title=study.description, title_justify="left")
    whole, *fractions = MEASURED if study.is_benchmark else TRAINED
    for column in ("cell", "seed", "status", whole[0], *(title for title, _ in fractions)):
        table.add_column(column, justify="left" if column in ("cell", "status") else "right")
    failed = []
    for cell, config in zip(study.cells, configs, strict=True):
        status, result = state(cell), read_result(cell) or {}
        if status in ("running", "unfinished"):
            at = pace(cell, config.trainer.max_steps)
            result = {"steps": "" if at.step is None else f"{at.step}/{at.max_steps}", "loss_nats": at.loss_nats}
        elif result and status != "ok":
            failed.append((cell, result))
        values = [result.get(key) for _, key in fractions]
        numbers = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(cell.name, str(cell.seed), status, str(result.get(whole[1]) or ""), *numbers)
    console.print(table)
    for cell, result in failed:
        said = [f"{cell}: {result['status']}: {result.get('error')}", *(f"  | {line}" for line in log_tail(cell, log_lines))]
        log = cell.directory / "log.txt"  # a cell that was refused has none
        console.print("\n".join([*said, *([f"  {log}"] if log.exists() else [])]), markup=False, highlight=False, soft_wrap=True)
