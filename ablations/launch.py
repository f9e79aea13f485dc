"""One cell as one process group: started, watched, ended, and its failure written down. Nothing of it outlives the driver."""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablations.devices import PORT_IS_TAKEN, outside_of_a_job
from ablations.grid import Cell
from experiments.log import lock
from reformer_pl.config import BENCHMARK_NUMBERS, RESULT_NUMBERS, ConfigError

PR_SET_PDEATHSIG = 1
DYING_SECONDS = 10.0  # after SIGKILL; a process that left the group and still holds the log is not waited for longer
WOULD_NOT_FIT = "would_not_fit"  # the status of a cell that was refused for its predicted memory


@dataclass
class Process:
    """A running cell. Its log.txt is locked (flock) for as long as any process of the group lives."""

    cell: Cell
    popen: subprocess.Popen[bytes]
    started: float  # time.monotonic()
    log_start: int = 0  # bytes: what the log held before, of an earlier try
    gpus: tuple[int, ...] = ()  # its own until it has ended
    port: int | None = None  # MASTER_PORT of a cell of several processes
    kill_at: float | None = None  # set by interrupt(): when patience ends
    reaped_at: float | None = None
    timed_out: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def ended(self) -> bool:
        """True once the cell has exited, the rest of its group is killed, and all of them are gone, so that their GPUs are free."""
        if self.popen.returncode is None:
            if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                return False
            self.signal(signal.SIGKILL)  # not reaped yet, so the group's number cannot belong to anybody else
            self.popen.wait()
            self.reaped_at = time.monotonic()
        left = self.reaped_at is not None and time.monotonic() < self.reaped_at + DYING_SECONDS
        return not (left and is_running(self.cell))

    def interrupt(self, grace_seconds: float) -> None:
        """SIGINT: a cell saves a checkpoint and ends. `enforce` kills it when the grace is over."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace_seconds
            self.signal(signal.SIGINT)

    def enforce(self) -> None:
        if self.kill_at is not None and time.monotonic() > self.kill_at:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in the group (macOS says EPERM for a zombie)
            os.killpg(self.popen.pid, number)


def start(cell: Cell, environment: dict[str, str], gpus: tuple[int, ...] = (), port: int | None = None) -> Process:
    """Start a cell, its output appended to log.txt. `environment` is added to the driver's; the rest is what it was given of the machine.

    Call it from the main thread: Linux ends the cell when the thread that started it ends. Raises OSError, of a full disk say, and
    ConfigError where somebody else runs the cell since the study was locked.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    with (cell.directory / "log.txt").open("ab") as log:
        lock(log)
        if (read_result(cell) or {}).get("status") != "ok":
            (cell.directory / "result.json").unlink(missing_ok=True)  # of a failure that is retried
        (cell.directory / "slurm.json").unlink(missing_ok=True)  # of a job that has ended
        log_start = os.fstat(log.fileno()).st_size
        popen = subprocess.Popen(
            cell.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**outside_of_a_job(), "PYTHONUNBUFFERED": "1", "HYDRA_FULL_ERROR": "0", **environment},
            start_new_session=True,
            preexec_fn=_in_the_child(),
        )
    return Process(cell, popen, time.monotonic(), log_start, gpus, port)


def port_was_taken(process: Process) -> bool:
    """Whether a cell failed because somebody else listened on its port, as its log of this try says."""
    if process.port is None or (read_result(process.cell) or {}).get("status") == "ok":
        return False
    log = process.cell.directory / "log.txt"
    said = tail(log, min(65536, log.stat().st_size - process.log_start)).decode(errors="replace")
    return any(word in said for word in PORT_IS_TAKEN)


def _in_the_child() -> Callable[[], None]:
    """What the child does before it becomes the cell: hear SIGINT, which `&` in a script mutes, and die with the driver, even by SIGKILL.

    The latter on Linux only: elsewhere a driver that is killed with SIGKILL leaves its cells running (any other end of it ends them).
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


def is_running(cell: Cell) -> bool:
    """Whether any process of the cell's group lives, whoever started it."""
    path = cell.directory / "log.txt"
    if not path.exists():
        return False
    with path.open("rb") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def read_result(cell: Cell) -> dict[str, Any] | None:
    """result.json, or None when the cell is not done. Raises ConfigError where it is damaged."""
    path = cell.directory / "result.json"
    found = read_object(path)
    if found is not None and not isinstance(found.get("status"), str):
        raise ConfigError(f"{path} says no status: delete it and the cell runs again")
    return found


def read_evaluation(cell: Cell, name: str, overrides: list[str]) -> dict[str, Any] | None:
    """The scores of a cell under a named evaluation; None when there are none yet, or they were made under other overrides."""
    found = read_object(cell.directory / "evaluations" / f"{name}.json")
    return found if found and found.get("overrides") == overrides else None


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file. Raises ConfigError."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}): delete it and the cell runs again") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no JSON object: delete it and the cell runs again")
    return found


def record_failure(process: Process) -> dict[str, Any]:
    """The result of a cell that ended without one: its numbers are null, its error is how it ended and its log's last line."""
    code = process.popen.returncode
    if process.timed_out:
        how = f"stopped after {process.seconds:.0f} s"
    elif code < 0:
        name = signal.Signals(-code).name
        how = f"killed by {name}" + (" (perhaps for want of memory)" if code == -signal.SIGKILL else "")
    else:
        how = f"exit code {code}" + (" without a result" if code == 0 else "")
    last = log_tail(process.cell, 1)
    return _record(process.cell, "timeout" if process.timed_out else "failed", ": ".join([how, *last]))


def record_refusal(cell: Cell, error: str, predicted_memory_gib: float) -> None:
    """The result of a cell that was not started, because its prediction exceeds a limit."""
    _record(cell, WOULD_NOT_FIT, error, predicted_memory_gib=predicted_memory_gib)


def record_lost(cell: Cell, status: str, error: str) -> None:
    """The result of a cell whose job on a cluster ended without one; a result that has appeared meanwhile stays. Raises OSError."""
    _record(cell, status, error, replace=False)


def _record(cell: Cell, status: str, error: str, replace: bool = True, **known: float) -> dict[str, Any]:
    result = {
        "status": status,
        "error": error,
        **dict.fromkeys(RESULT_NUMBERS if cell.trains else BENCHMARK_NUMBERS),
        **known,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = cell.directory / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("result.json.partial")
    try:
        partial.write_text(json.dumps(result, indent=2) + "\n")
    except OSError:  # a full disk
        partial.unlink(missing_ok=True)
        raise
    if replace:
        os.replace(partial, path)
    else:
        with suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    return result


def log_tail(cell: Cell, lines: int) -> list[str]:
    """The last non-empty lines of the cell's log; of a progress bar, only its last state."""
    text = tail(cell.directory / "log.txt", 8192).decode(errors="replace")
    said = [line.rstrip().rsplit("\r", 1)[-1].strip() for line in text.splitlines(keepends=False)]
    return [line[:500] for line in said if line][-lines:]


def tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a file; nothing of one that does not exist."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - size))
        return file.read()
