"""Run the cells of a study, N at a time, each in its own process group. The driver itself never trains and never imports torch.

Finished cells are skipped and unfinished ones resume, so that typing the same command again is always right.
"""

import fcntl
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from ablations.grid import Cell
from ablations.launch import Process, is_running, log_tail, read_evaluation, read_result, record_failure, start
from ablations.prediction import refuse
from ablations.progress import Progress, duration
from ablations.study import Study, compose_cells
from reformer_pl.config import ConfigError, RunConfig, changes, check_installed, has_begun, load

GRACE_SECONDS = 30.0  # from SIGINT to SIGKILL: the time to write a checkpoint
POLL_SECONDS = 0.1


@dataclass
class Options:
    parallel: int = 1
    timeout_seconds: float | None = None  # of one cell
    retry: bool = False  # run failed, oom, timeout and would_not_fit cells again
    memory_limit_gib: float | None = None  # of one process of a cell, as predicted

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ConfigError(f"--parallel must be at least 1, not {self.parallel}")
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise ConfigError(f"--timeout must be a positive number of seconds, not {self.timeout_seconds}")
        if self.memory_limit_gib is not None and not 0 < self.memory_limit_gib < math.inf:
            raise ConfigError(f"--memory-limit must be a positive number of GiB, not {self.memory_limit_gib}")


@dataclass
class Stop:
    """Signals received: the first asks the cells to save and end, the second kills them."""

    signals: list[int] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [number for number in wanted if signal.getsignal(number) != signal.SIG_IGN]  # nohup's wish stands
        before = {number: signal.signal(number, lambda n, _: self.signals.append(n)) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(studies: list[Study], options: Options, console: Console) -> int:
    """Exit code: 0 all cells ok, 1 some not, 130 after Ctrl-C. Everything is checked before the first cell starts (ConfigError)."""
    grids = []
    for study in studies:
        if study.timed and options.parallel > 1:
            raise ConfigError(f"study {study.name} reports time, so its cells run one at a time: drop --parallel {options.parallel}")
        grids.append(compose_cells(study))
    stop, codes = Stop(), []
    with ExitStack() as locks:
        for study, configs in zip(studies, grids, strict=True):
            locks.enter_context(_locked(study))
            for cell, config in zip(study.cells, configs, strict=True):
                if (read_result(cell) or {}).get("status") != "ok":
                    check_installed(config)
                _check_same_config(study, cell, config)
                _check_not_running(study, cell)
        with stop.listening():
            for study, configs in zip(studies, grids, strict=True):
                codes.append(_run_study(study, configs, options, stop, console))
                if stop.signals:
                    return 128 + stop.signals[0]
    return max(codes)


def threads_per_cell(parallel: int) -> int | None:
    """CPU threads divided among the cells; a cell alone takes what the environment gives (None)."""
    if parallel == 1:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(given) if given.isdecimal() else cores) // parallel)


def _run_study(study: Study, configs: list[RunConfig], options: Options, stop: Stop, console: Console) -> int:
    results = {cell: result for cell in study.cells if (result := read_result(cell)) is not None}
    statuses = {cell: result["status"] for cell, result in results.items() if result["status"] == "ok" or not options.retry}
    unscored = [cell for cell, status in statuses.items() if status == "ok" and not _is_scored(cell, study)]
    for cell in unscored:  # the study gained evaluations since
        del statuses[cell]
    refused = refuse(study, configs, statuses, options.memory_limit_gib, stop.signals)
    waiting = [cell for cell in study.cells if cell not in statuses]
    running: list[Process] = []
    threads, began = threads_per_cell(min(options.parallel, len(waiting) or 1)), time.monotonic()
    with Progress(study, configs, console) as progress:
        progress.line(f"{study.name}: {len(study.cells)} cells, {len(statuses) - len(refused)} already done, {len(waiting)} to run")
        for cell, error in refused.items():
            progress.line(f"  {cell}: would_not_fit, {error}")
        asked = False
        try:
            while running or (waiting and not stop.signals):
                while waiting and len(running) < options.parallel and not stop.signals:
                    cell = waiting.pop(0)
                    try:
                        running.append(start(cell, threads))
                        progress.line(f"  {cell}: started, log in {cell.directory / 'log.txt'}")
                    except OSError as error:  # its directory cannot be written
                        statuses[cell] = "failed"
                        progress.line(f"  {cell}: failed to start: {error}")
                if stop.signals and not asked:
                    progress.line("stopping: the running cells save a checkpoint; Ctrl-C again kills them")
                    asked = True
                for process in list(running):
                    if process.ended():
                        running.remove(process)
                        _settle(process, statuses, stop, progress)
                    else:
                        _press(process, options, stop)
                progress.show(running, statuses)
                time.sleep(POLL_SECONDS)
        finally:
            for process in running:
                process.signal(signal.SIGKILL)
                process.popen.wait()
        not_ok = [cell for cell in study.cells if statuses.get(cell) != "ok"]
        told = f"{study.name}: {len(study.cells) - len(not_ok)} of {len(study.cells)} cells ok in {duration(time.monotonic() - began)}"
        if stop.signals:
            told += ", interrupted: the same command resumes"
        elif not_ok:
            told += f"; not ok: {', '.join(f'{cell} ({statuses[cell]})' for cell in not_ok)}; --retry runs them again"
        progress.line(told)
    return 1 if not_ok else 0


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
    result = read_result(process.cell)
    if result is None:
        if stop.signals:
            progress.line(f"  {process.cell}: interrupted after {duration(process.seconds)}")
            return
        result = record_failure(process)
    statuses[process.cell] = result["status"]
    if process.popen.returncode and result["status"] == "ok":
        statuses[process.cell] = "failed"
        progress.line(f"  {process.cell}: trained, but an evaluation failed: {' '.join(log_tail(process.cell, 1))}")
        return
    said = result["error"] or (_loss(result) if process.cell.trains else _cost(result))
    progress.line(f"  {process.cell}: {result['status']} in {duration(process.seconds)}, {said}")


def _loss(result: dict[str, Any]) -> str:
    loss = result["loss_nats"]
    return f"loss {'not finite' if loss is None else f'{loss:.4f}'}"


def _cost(result: dict[str, Any]) -> str:
    speedup = "" if result["speedup"] is None else f", {result['speedup']:.2f} times as fast as full attention"
    return f"{1e3 * result['step_seconds']:.4g} ms{speedup}, {1024 * result['peak_memory_gib']:.4g} MiB"


def _is_scored(cell: Cell, study: Study) -> bool:
    return all(read_evaluation(cell, name, overrides) for name, overrides in study.evaluations.items())


@contextmanager
def _locked(study: Study) -> Iterator[None]:
    """One driver a study. The lock is the kernel's (flock), so that it ends with the driver, however the driver ends."""
    path = study.directory / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise ConfigError(f"cannot write below {study.directory}: {error.strerror}; give another place with --runs-dir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(f"study {study.name} is being run by process {file.read().strip() or '?'}: wait for it, or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _check_not_running(study: Study, cell: Cell) -> None:
    """A process that outlived its driver would write into the same files. One that is dying has two seconds for it."""
    patience = time.monotonic() + 2
    while is_running(cell):
        if time.monotonic() > patience:
            raise ConfigError(f"study {study.name}: {cell} is still running without its driver: stop that process first")
        time.sleep(POLL_SECONDS)


def _check_same_config(study: Study, cell: Cell, config: RunConfig) -> None:
    """A finished or half-trained cell is never taken for one of another config. One that never began to train holds nothing to lose."""
    path = cell.directory / "config.yaml"
    if not path.exists() or not has_begun(cell.directory):
        return
    try:
        before = load(OmegaConf.to_container(OmegaConf.load(path)))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ConfigError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"study {study.name}: {path} cannot be read ({reason}): move {cell.directory} away") from error
    said = changes(before, config)
    if said:
        raise ConfigError(f"study {study.name}: {cell.directory} holds a run of another config ({said}): rename the study, or move it away")
