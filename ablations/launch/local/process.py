"""One cell as one process group: started, watched, ended, and its failure written down.

Nothing of it outlives the driver.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ablations.launch.cell_environment import CELL_ENVIRONMENT
from ablations.launch.machine import PORT_IS_TAKEN
from ablations.launch.slurm.environment import outside_of_a_job
from ablations.study.cell import Cell, numbers_of
from experiments.run_dir.files import LOG, log_tail
from experiments.run_dir.lock import is_running, lock
from experiments.run_dir.outcome import (
    FAILED,
    OOM,
    TIMEOUT,
    Result,
    forget_result,
    is_ok,
    read_result,
    result_row,
    write_failure,
)
from experiments.run_dir.owner import release, take
from experiments.run_dir.reading import has_file, read_bytes
from experiments.safe_path import safe_path
from reformer_pl.config import ConfigError
from reformer_pl.out_of_memory import names_out_of_memory

PR_SET_PDEATHSIG = 1
# After SIGKILL. A process that left the group may hold the log for longer: it is not waited for.
DYING_SECONDS = 10.0


@dataclass
class Process:
    """A running cell. Its log.txt is locked (flock) while any process of the group lives."""

    cell: Cell
    popen: subprocess.Popen[bytes]
    started: float  # time.monotonic()
    log_start: int = 0  # bytes: the size of the log before, of an earlier try
    gpus: tuple[str, ...] = ()  # its own until it has ended
    port: int | None = None  # MASTER_PORT of a cell of several processes
    kill_at: float | None = None  # set by interrupt(): when patience ends
    reaped_at: float | None = None
    timed_out: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def ended(self) -> bool:
        """True once the cell has exited, the rest of its group is killed, and all of them are gone.

        Their GPUs are free then.
        """
        if self.popen.returncode is None:
            if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                return False
            # It is not reaped yet, so the group's number cannot belong to anybody else.
            self.signal(signal.SIGKILL)
            self.popen.wait()
            self.reaped_at = time.monotonic()
        left = self.reaped_at is not None and time.monotonic() < self.reaped_at + DYING_SECONDS
        if left and is_running(self.cell.directory):
            return False
        release(self.cell.directory)
        return True

    def interrupt(self, grace_seconds: float) -> None:
        """SIGINT: a cell saves a checkpoint and ends. `enforce` kills it when the grace is over."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace_seconds
            self.signal(signal.SIGINT)

    def enforce(self) -> None:
        if self.kill_at is not None and time.monotonic() > self.kill_at:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        # Nobody may be left in the group; macOS says EPERM for a zombie.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, number)


def start(
    cell: Cell, environment: dict[str, str], gpus: tuple[str, ...] = (), port: int | None = None
) -> Process:
    """Start a cell, its output appended to log.txt.

    `environment` is added to the driver's; `gpus` and `port` are the cell's part of the machine.
    Call it from the main thread: Linux ends the cell when the thread that started it ends.
    Raises OSError, of a full disk say, and ConfigError where somebody else runs the cell since the
    study was locked.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    has_file(cell.directory / LOG)
    with (cell.directory / LOG).open("ab") as log:
        lock(log)
        take(cell.directory)
        if not is_ok(read_result(cell.directory)):
            forget_result(cell.directory)
        log_start = os.fstat(log.fileno()).st_size
        try:
            popen = subprocess.Popen(
                cell.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**outside_of_a_job(), **CELL_ENVIRONMENT, **safe_path(), **environment},
                start_new_session=True,
                preexec_fn=_in_the_child(),
            )
        except OSError:  # no process could be started
            release(cell.directory)
            raise
    return Process(cell, popen, time.monotonic(), log_start, gpus, port)


def port_was_taken(process: Process) -> bool:
    """Whether a cell failed because somebody else had its port, by its log of this try."""
    if process.port is None or is_ok(result_row(process.cell.directory)):
        return False
    try:
        data = read_bytes(process.cell.directory / LOG) or b""
    except ConfigError:  # its failure says so
        return False
    text = data[process.log_start :][-65536:].decode(errors="replace")
    return any(error in text for error in PORT_IS_TAKEN)


def _in_the_child() -> Callable[[], None]:
    """What the child does before it becomes the cell.

    It hears SIGINT, which `&` in a script mutes. It dies with the driver, even by SIGKILL; that is
    so on Linux only: elsewhere a driver that is killed with SIGKILL leaves its cells running, while
    any other end of it ends them.
    """
    libc, driver = ctypes.CDLL(None), os.getpid()

    def child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not sys.platform.startswith("linux"):
            return
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != driver:  # it died before the call
            os._exit(1)

    return child


def record_failure(process: Process) -> Result:
    """The result of a cell that ended without one: its numbers are null.

    Its error is how it ended and the last line of its log, which may say that memory ran out: C++
    ends the process so where nothing can catch the error.
    """
    code = process.popen.returncode
    if process.timed_out:
        how = f"stopped after {process.seconds:.0f} s"
    elif code < 0:
        name = signal.Signals(-code).name
        how = f"killed by {name}" + (
            " (perhaps for want of memory)" if code == -signal.SIGKILL else ""
        )
    else:
        how = f"exit code {code}" + (" without a result" if code == 0 else "")
    last = log_tail(process.cell.directory, 1)
    if process.timed_out:
        status = TIMEOUT
    else:
        status = OOM if names_out_of_memory(" ".join(last)) else FAILED
    error = ": ".join([how, *last])
    return write_failure(process.cell.directory, status, error, numbers_of(process.cell))
