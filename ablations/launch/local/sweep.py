"""Run the cells of a study, N at a time, each in its own process group.

The driver itself never trains and never imports torch.
"""

import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from ablations.launch.decide import Plan, record_refusals
from ablations.launch.local.gpus import crowd_line, give_back, take_gpus
from ablations.launch.local.process import Process, port_was_taken, record_failure, start
from ablations.launch.local.progress import Progress
from ablations.launch.local.stop import Stop
from ablations.launch.machine import environment_of, free_port, gpus_needed, threads_per_cell
from ablations.launch.options import Options
from ablations.study.cell import Cell
from experiments.run_dir.files import LOG, log_tail
from experiments.run_dir.outcome import (
    FAILED,
    FAILURES,
    OK,
    WOULD_NOT_FIT,
    is_ok,
    missing_evaluations,
    result_row,
)
from experiments.terminal.units import duration, memory, milliseconds
from experiments.times.disturbed import disturbance
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.metrics import loss_name

GRACE_SECONDS = 30.0  # from SIGINT to SIGKILL: the time to write a checkpoint
POLL_SECONDS = 0.1


def run_cells(plan: Plan, options: Options, stop: Stop, console: Console) -> int:
    """Exit code: 0 all cells of the study are ok, 1 some are not."""
    started_at = time.monotonic()
    with Progress(plan.study, plan.configs, options.at_once(plan.study), console) as progress:
        sweep = Sweep(plan, options, stop, progress)
        sweep.print_plan()
        try:
            while sweep.is_busy():
                sweep.start_cells()
                sweep.announce_stop()
                sweep.watch_cells()
                progress.show(sweep.running, sweep.statuses)
                time.sleep(POLL_SECONDS)
        finally:
            sweep.end_cells()
        return sweep.print_end(time.monotonic() - started_at)


@dataclass
class Sweep:
    """Where a study stands: its cells that wait, run and have ended, and the GPUs that are free."""

    plan: Plan
    options: Options
    stop: Stop
    progress: Progress
    waiting: list[Cell] = field(init=False)
    running: list[Process] = field(init=False, default_factory=list)
    statuses: dict[Cell, str] = field(init=False)  # how each cell ended
    free_gpus: dict[str, int] = field(init=False)  # on each, so many more cells have room
    config_of: dict[Cell, RunConfig] = field(init=False)
    restarted: set[Cell] = field(init=False, default_factory=set)  # as their port was taken
    stop_is_announced: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        study = self.plan.study
        self.waiting = self.plan.starting
        self.statuses = self.plan.skipped
        self.free_gpus = dict.fromkeys(self.options.gpus, self.options.places)
        self.config_of = dict(zip(study.cells, self.plan.configs, strict=True))
        self.at_once = self.options.at_once(study)
        self.threads = threads_per_cell(min(self.at_once, len(study.cells)))

    def is_busy(self) -> bool:
        return bool(self.running) or (bool(self.waiting) and not self.stop.signals)

    def print_plan(self) -> None:
        study = self.plan.study
        n_done = sum(status == OK for status in self.statuses.values())
        self.progress.line(
            f"{study.name}: {len(study.cells)} cells, {n_done} already done, "
            f"{len(self.waiting)} to run"
        )
        if not self.options.gpus and any(gpus_needed(self.config_of[c]) for c in self.waiting):
            crowded = crowd_line(min(self.at_once, len(self.waiting)))
            if crowded:
                self.progress.line(f"  {crowded}")
        refused = record_refusals(self.plan, self.progress.line)
        self.statuses |= dict.fromkeys(refused, WOULD_NOT_FIT)

    def start_cells(self) -> None:
        """As many as there is room for."""
        while self.waiting and len(self.running) < self.at_once and not self.stop.signals:
            self._start_cell(self.waiting.pop(0))

    def _start_cell(self, cell: Cell) -> None:
        config, options = self.config_of[cell], self.options
        gpus = take_gpus(self.free_gpus, options.share if options.gpus else 0)
        port = None
        try:
            if config.trainer.devices > 1:
                port = free_port({process.port for process in self.running})
            environment = environment_of(config, self.threads, gpus, port)
            self.running.append(start(cell, environment, gpus, port))
        # It cannot be written or read, somebody else runs it, or no port is free.
        except (OSError, ConfigError, subprocess.SubprocessError) as error:
            give_back(self.free_gpus, gpus)
            self.statuses[cell] = FAILED
            reason = f"{error.filename}: {error.strerror}" if _names_a_file(error) else error
            self.progress.line(f"  {cell}: failed to start: {reason}")
            return
        where = f" on GPU {','.join(gpus)}" if gpus else ""
        self.progress.line(f"  {cell}: started{where}, log in {cell.directory / LOG}")

    def announce_stop(self) -> None:
        if self.stop.signals and not self.stop_is_announced:
            self.stop_is_announced = True
            self.progress.line(
                "stopping: the running cells save a checkpoint; Ctrl-C again kills them"
            )

    def watch_cells(self) -> None:
        """Take the results of those that have ended; ask those to end that have to."""
        for process in list(self.running):
            if not process.ended():
                self._press(process)
                continue
            self.running.remove(process)
            give_back(self.free_gpus, process.gpus)
            if not self._starts_again(process):
                self._take_result(process)

    def _press(self, process: Process) -> None:
        """Ask or force a cell to end that has to."""
        timeout = self.options.timeout_seconds
        if len(self.stop.signals) > 1:
            process.signal(signal.SIGKILL)
        elif self.stop.signals:
            process.interrupt(GRACE_SECONDS)
        elif timeout is not None and process.seconds > timeout:
            process.timed_out = True
            process.interrupt(GRACE_SECONDS)
        process.enforce()

    def _starts_again(self, process: Process) -> bool:
        """Once, with another port, where somebody else took its own meanwhile."""
        cell = process.cell
        if self.stop.signals or cell in self.restarted or not port_was_taken(process):
            return False
        self.progress.line(
            f"  {cell}: port {process.port} was taken meanwhile, started again with another"
        )
        self.restarted.add(cell)
        self.waiting.insert(0, cell)
        return True

    def _take_result(self, process: Process) -> None:
        """A cell that left no result gets that of a failure. An interrupted one stays as it is."""
        cell, line = process.cell, self.progress.line
        result = result_row(cell.directory)
        if result is None and self.stop.signals:
            line(f"  {cell}: interrupted after {duration(process.seconds)}")
            return
        if result is None:
            try:
                result = record_failure(process)
            except OSError as error:  # of a full disk: the same command resumes the cell
                self.statuses[cell] = FAILED
                line(f"  {cell}: failed, which cannot be recorded: {error}")
                return
        code = process.popen.returncode
        unevaluated = code != 0 and is_ok(result) and self._lacks_an_evaluation(cell)
        if unevaluated and self.stop.signals:
            line(f"  {cell}: trained, interrupted in an evaluation")
        elif unevaluated:
            self.statuses[cell] = FAILED
            reason = " ".join(log_tail(cell.directory, 1))
            line(f"  {cell}: trained, but an evaluation failed: {reason}")
        else:
            self.statuses[cell] = result["status"]
            self.progress.ended(process, is_ok(result))
            summary = result.get("error") or (
                _loss(result, loss_name(self.config_of[cell].task.name))
                if cell.trains
                else _cost(result)
            )
            # The work was done: a library that crashes while the process ends takes nothing back.
            note = f" (its process then ended with {code})" if code and is_ok(result) else ""
            line(f"  {cell}: {result['status']} in {duration(process.seconds)}, {summary}{note}")

    def _lacks_an_evaluation(self, cell: Cell) -> bool:
        """Where a file of one cannot be read, too: it is not there for a reader."""
        try:
            return bool(missing_evaluations(cell.directory, self.plan.study.evaluations_of(cell)))
        except ConfigError:
            return True

    def end_cells(self) -> None:
        """Where the driver itself fails, those that still run save a checkpoint as after Ctrl-C."""
        while self.running:
            self.running = [process for process in self.running if not process.ended()]
            for process in self.running:
                process.interrupt(GRACE_SECONDS)
                self._press(process)
            time.sleep(POLL_SECONDS)

    def print_end(self, seconds: float) -> int:
        """One line on the whole study. Exit code: 0 all cells are ok, 1 some are not."""
        study = self.plan.study
        not_ok = [cell for cell in study.cells if self.statuses.get(cell) != OK]
        n_ok = len(study.cells) - len(not_ok)
        line = f"{study.name}: {n_ok} of {len(study.cells)} cells ok in {duration(seconds)}"
        if self.stop.signals:
            without = " without --force" if self.options.force else ""
            line += f", interrupted: the same command{without} resumes"
        elif not_ok:
            listed = ", ".join(f"{cell} ({self.statuses[cell]})" for cell in not_ok)
            line += f"; not ok: {listed}"
            n_failed = sum(self.statuses[cell] in FAILURES for cell in not_ok)
            if n_failed:
                which = "them" if n_failed == len(not_ok) else "those that failed"
                line += f"; --retry runs {which} again"
        self.progress.line(line)
        return 1 if not_ok else 0


def _names_a_file(error: Exception) -> bool:
    return isinstance(error, OSError) and bool(error.filename)


def _loss(result: dict[str, Any], name: str) -> str:
    loss = result.get(name)
    return f"loss {'not finite' if loss is None else f'{loss:.4f}'}"


def _cost(result: dict[str, Any]) -> str:
    speedup, seconds, gibibytes = map(result.get, ("speedup", "step_seconds", "peak_memory_gib"))
    faster = "" if speedup is None else f", {speedup:.2f} times as fast as full attention"
    whole = "no time" if seconds is None else milliseconds(seconds)
    peak = "no memory" if gibibytes is None else memory(gibibytes)
    note = disturbance(result)
    return f"{whole}{faster}, {peak}{f'; {note}' if note else ''}"
