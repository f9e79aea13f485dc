"""Run the cells of a study, N at a time, each in its own process group. The driver itself never trains and never imports torch.

Finished cells are skipped and unfinished ones resume, so that typing the same command again is always right.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from ablations.launch.decide import Decision, decide, print_decisions, set_aside
from ablations.launch.local.process import (
    Process,
    port_was_taken,
    record_failure,
    record_refusal,
    start,
)
from ablations.launch.local.progress import Progress
from ablations.launch.machine import environment_of, free_port, gpus_needed, threads_per_cell
from ablations.launch.options import Options
from ablations.launch.pace import duration
from ablations.launch.slurm.queue import read_jobs, refuse_live, refuse_unknown, settle
from ablations.launch.study_lock import locked
from ablations.study import Study, compose_cells
from ablations.study.grid import Cell
from experiments.run_dir.files import LOG, log_tail
from experiments.run_dir.outcome import FAILED, OK, WOULD_NOT_FIT, is_ok, read_result
from reformer_pl.config import ConfigError, RunConfig, check_installed

GRACE_SECONDS = 30.0  # from SIGINT to SIGKILL: the time to write a checkpoint
POLL_SECONDS = 0.1


@dataclass
class Stop:
    """Signals received: the first asks the cells to save and end, the second kills them."""

    signals: list[int] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [
            number for number in wanted if signal.getsignal(number) != signal.SIG_IGN
        ]  # nohup's wish stands
        before = {
            number: signal.signal(number, lambda n, _: self.signals.append(n)) for number in heard
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(studies: list[Study], options: Options, console: Console) -> int:
    """Exit code: 0 all cells ok, 1 some not, 130 after Ctrl-C. Everything is checked before the first cell starts (ConfigError)."""
    grids = [_composed(study, options) for study in studies]
    stop, codes = Stop(), []
    with ExitStack() as stack:
        for study in studies:
            stack.enter_context(locked(study))
        jobs = settle(cell for study in studies for cell in study.cells)
        refuse_unknown(jobs)
        refuse_live(jobs, "it runs here")
        stack.enter_context(stop.listening())
        plans = [
            decide(study, configs, options, jobs, stop.signals)
            for study, configs in zip(studies, grids, strict=True)
        ]
        for study, configs, decisions in zip(studies, grids, plans, strict=True):
            check_decisions(study, configs, decisions)
        if options.force and not stop.signals:
            set_aside(
                [cell for study in studies for cell in study.cells if cell.directory.exists()]
            )
        for study, configs, decisions in zip(studies, grids, plans, strict=True):
            codes.append(_run_study(study, configs, decisions, options, stop, console))
            if stop.signals:
                return 128 + stop.signals[0]
    return max(codes)


def dry_run(studies: list[Study], options: Options, on_slurm: bool = False) -> int:
    """Print what `run` would do with each cell, and start, lock and write nothing. Exit code: 0, or 2 where a config has changed.

    Raises ConfigError where `run` would, for what SLURM has of the cells.
    """
    grids = [_composed(study, options) for study in studies]
    jobs = read_jobs(cell for study in studies for cell in study.cells)
    refuse_unknown(jobs)
    if options.force or not on_slurm:
        refuse_live(jobs, "starting over" if on_slurm else "it runs here")
    decided = [
        (study, configs, decide(study, configs, options, jobs, []))
        for study, configs in zip(studies, grids, strict=True)
    ]
    return max(print_decisions(*each) for each in decided)


def _composed(study: Study, options: Options) -> list[RunConfig]:
    """The configs of a study's cells, refused where the options cannot be (ConfigError)."""
    if study.timed and options.at_once(study) > 1:
        raise ConfigError(
            f"study {study.name} reports time, so its cells run one at a time: drop --parallel {options.parallel}"
        )
    configs = compose_cells(study)
    for cell, config in zip(study.cells, configs, strict=True):
        if options.gpus and gpus_needed(config) > options.share:
            asked = f"{cell} has trainer.devices={config.trainer.devices}, more than --gpus-per-cell {options.share}"
            raise ConfigError(
                f"study {study.name}: {asked}: give --gpus-per-cell {config.trainer.devices}"
            )
    return configs


def check_decisions(
    study: Study, configs: list[RunConfig], decisions: dict[Cell, Decision]
) -> None:
    """A finished or half-trained cell is never taken for one of another config; and what a cell needs is installed."""
    for cell, config in zip(study.cells, configs, strict=True):
        if decisions[cell].word == "changed":
            held = f"{cell.directory} holds a run of another config ({decisions[cell].why})"
            raise ConfigError(
                f"study {study.name}: {held}: rename the study, move it away, or start all cells over with --force"
            )
        if decisions[cell].starts:
            check_installed(config)


def _run_study(
    study: Study,
    configs: list[RunConfig],
    decisions: dict[Cell, Decision],
    options: Options,
    stop: Stop,
    console: Console,
) -> int:
    statuses = {
        cell: decision.status for cell, decision in decisions.items() if decision.word == "skip"
    }
    waiting = [cell for cell in study.cells if decisions[cell].starts]
    running: list[Process] = []
    started_again: set[Cell] = set()  # for their port
    config_of, free_gpus = dict(zip(study.cells, configs, strict=True)), list(options.gpus)
    at_once = options.at_once(study)
    threads, began = threads_per_cell(min(at_once, len(study.cells))), time.monotonic()
    with Progress(study, configs, at_once, console) as progress:
        done = sum(status == OK for status in statuses.values())
        progress.line(
            f"{study.name}: {len(study.cells)} cells, {done} already done, {len(waiting)} to run"
        )
        statuses |= dict.fromkeys(record_refusals(decisions, progress.line), WOULD_NOT_FIT)
        asked = False
        try:
            while running or (waiting and not stop.signals):
                while waiting and len(running) < at_once and not stop.signals:
                    cell = waiting.pop(0)
                    gpus = (
                        tuple(free_gpus.pop(0) for _ in range(options.share))
                        if options.gpus
                        else ()
                    )
                    port = (
                        free_port({process.port for process in running})
                        if config_of[cell].trainer.devices > 1
                        else None
                    )
                    try:
                        running.append(
                            start(
                                cell,
                                environment_of(config_of[cell], threads, gpus, port),
                                gpus,
                                port,
                            )
                        )
                        where = f" on GPU {','.join(map(str, gpus))}" if gpus else ""
                        progress.line(f"  {cell}: started{where}, log in {cell.directory / LOG}")
                    except (
                        OSError,
                        ConfigError,
                    ) as error:  # its directory cannot be written, or somebody else runs it
                        free_gpus = sorted([*free_gpus, *gpus])
                        statuses[cell] = FAILED
                        progress.line(f"  {cell}: failed to start: {error}")
                if stop.signals and not asked:
                    progress.line(
                        "stopping: the running cells save a checkpoint; Ctrl-C again kills them"
                    )
                    asked = True
                for process in list(running):
                    if not process.ended():
                        _press(process, options, stop)
                        continue
                    running.remove(process)
                    free_gpus = sorted([*free_gpus, *process.gpus])
                    if (
                        not stop.signals
                        and process.cell not in started_again
                        and port_was_taken(process)
                    ):
                        progress.line(
                            f"  {process.cell}: port {process.port} was taken meanwhile, started again with another"
                        )
                        started_again.add(process.cell)
                        waiting.insert(0, process.cell)
                    else:
                        _settle(process, statuses, stop, progress)
                progress.show(running, statuses)
                time.sleep(POLL_SECONDS)
        finally:
            for process in running:
                process.signal(signal.SIGKILL)
                process.popen.wait()
        not_ok = [cell for cell in study.cells if statuses.get(cell) != OK]
        told = f"{study.name}: {len(study.cells) - len(not_ok)} of {len(study.cells)} cells ok in {duration(time.monotonic() - began)}"
        if stop.signals:
            told += f", interrupted: the same command{' without --force' if options.force else ''} resumes"
        elif not_ok:
            told += f"; not ok: {', '.join(f'{cell} ({statuses[cell]})' for cell in not_ok)}; --retry runs them again"
        progress.line(told)
    return 1 if not_ok else 0


def record_refusals(decisions: dict[Cell, Decision], say: Callable[[str], None]) -> list[Cell]:
    """The cells that would not fit, recorded as rows like any failure, with a line each."""
    refused = []
    for cell, decision in decisions.items():
        if decision.word != "refuse" or decision.predicted_gib is None:
            continue
        refused.append(cell)
        unrecorded = ""
        try:
            record_refusal(cell, decision.why, decision.predicted_gib)
        except OSError as error:  # its directory cannot be written
            unrecorded = f", which cannot be recorded: {error}"
        say(f"  {cell}: {WOULD_NOT_FIT}, {decision.why}{unrecorded}")
    return refused


def _press(process: Process, options: Options, stop: Stop) -> None:
    """Ask or force a cell to end that has to."""
    if len(stop.signals) > 1:
        process.signal(signal.SIGKILL)
    elif stop.signals:
        process.interrupt(GRACE_SECONDS)
    elif options.timeout_seconds is not None and process.seconds > options.timeout_seconds:
        process.timed_out = True
        process.interrupt(GRACE_SECONDS)
    process.enforce()


def _settle(process: Process, statuses: dict[Cell, str], stop: Stop, progress: Progress) -> None:
    """A cell has ended: take its result, or write down that it left none. An interrupted cell stays unfinished."""
    cell, result = process.cell, read_result(process.cell.directory)
    if result is None:
        if stop.signals:
            progress.line(f"  {cell}: interrupted after {duration(process.seconds)}")
            return
        try:
            result = record_failure(process)
        except (
            OSError
        ) as error:  # the disk is full: it stays unfinished, so that the same command resumes it
            statuses[cell] = FAILED
            progress.line(f"  {cell}: failed, which cannot be recorded: {error}")
            return
    unevaluated = process.popen.returncode and is_ok(result)
    if unevaluated and stop.signals:
        progress.line(f"  {cell}: trained, interrupted in an evaluation")
        return
    statuses[cell] = result["status"]
    if unevaluated:
        statuses[cell] = FAILED
        progress.line(
            f"  {cell}: trained, but an evaluation failed: {' '.join(log_tail(cell.directory, 1))}"
        )
        return
    progress.ended(process, is_ok(result))
    said = result["error"] or (_loss(result) if cell.trains else _cost(result))
    progress.line(f"  {cell}: {result['status']} in {duration(process.seconds)}, {said}")


def _loss(result: dict[str, Any]) -> str:
    loss = result["loss_nats"]
    return f"loss {'not finite' if loss is None else f'{loss:.4f}'}"


def _cost(result: dict[str, Any]) -> str:
    speedup = (
        ""
        if result["speedup"] is None
        else f", {result['speedup']:.2f} times as fast as full attention"
    )
    return f"{1e3 * result['step_seconds']:.4g} ms{speedup}, {1024 * result['peak_memory_gib']:.4g} MiB"
