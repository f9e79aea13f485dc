"""How far a study is, read from the files that its cells write.

A live table on a terminal, plain lines elsewhere.
"""

import time
from collections import Counter
from collections.abc import Iterable
from statistics import mean

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ablations.launch.local.process import Process
from ablations.launch.pace import pace, seconds_left
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.outcome import OK
from reformer_pl.config import RunConfig
from reformer_pl.metrics import STEP_SECONDS
from reformer_pl.units import duration, three_digits

HEARTBEAT_SECONDS = 30
REFRESH_SECONDS = 0.5


class Progress:
    """What `run` shows.

    Lines that matter later (start, end) are always printed. The table is repainted below them.
    """

    def __init__(
        self, study: Study, configs: list[RunConfig], at_once: int, console: Console
    ) -> None:
        self.study, self.at_once, self.console = study, at_once, console
        self.configs = dict(zip(study.cells, configs, strict=True))
        self.started = self.shown = time.monotonic()
        self.ok_seconds: list[float] = []  # of the cells that this driver ran to a good end
        self.live = Live(
            console=console, auto_refresh=False, transient=True
        )  # no thread: cells are forked from this one

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

    def ended(self, process: Process, ok: bool) -> None:
        """Learn from a cell how long the others may take."""
        if ok:
            self.ok_seconds.append(process.seconds)

    def show(self, running: Iterable[Process], statuses: dict[Cell, str]) -> None:
        """Repaint the table, or print a heartbeat, if it is time."""
        now = time.monotonic()
        if now - self.shown < (REFRESH_SECONDS if self.console.is_terminal else HEARTBEAT_SECONDS):
            return
        self.shown = now
        paces = [(process, pace(process.cell, self.configs[process.cell])) for process in running]
        done = Counter("done" if status == OK else "failed" for status in statuses.values())
        waiting = len(self.study.cells) - len(statuses) - len(paces)
        counts = (
            f"{self.study.name}: {done['done']} done, {len(paces)} running, "
            f"{done['failed']} failed, {waiting} waiting"
        )
        rest = [(process.seconds, at.seconds_left) for process, at in paces]
        left = seconds_left(
            rest, mean(self.ok_seconds) if self.ok_seconds else None, waiting, self.at_once
        )
        counts += f", {duration(now - self.started)}" + (
            "" if left is None else f", about {duration(left)} left"
        )
        if not self.console.is_terminal:
            self.line(counts)
            for process, now_at in paces:
                self.line(f"  {process.cell}: {now_at} ({duration(process.seconds)})")
            return
        table = Table(box=None, pad_edge=False)
        for column in ("running", "step", "loss", STEP_SECONDS.header, "left", "time"):
            table.add_column(column, justify="left" if column == "running" else "right")
        for process, now_at in paces:
            blank = now_at.step is None
            table.add_row(
                str(process.cell),
                now_at.without_step if blank else f"{now_at.step}/{now_at.max_steps}",
                "" if blank else now_at.loss_text,
                three_digits(now_at.step_seconds) if now_at.step_seconds else "",
                now_at.left.removesuffix(" left"),
                duration(process.seconds),
            )
        self.live.update(Group(Text(counts), table), refresh=True)
