"""log.txt: what a run says, kept beside its results, and locked (flock) while the run lives: a directory has one run at a time.

Where stdout is that file, as in a cell of a study, who started the run holds the lock; on SLURM nobody does, and the queue tells.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any, TextIO

from reformer_pl.config import ConfigError

PATIENCE_SECONDS = 1.0  # `status` holds each log for a moment, to see whether its run lives


class Tee:
    """A stream that also writes to a log, but for progress bars, which redraw one line with carriage returns."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        if "\r" not in text:
            self.log.write(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """A directory for this run alone, made if it is not there. ConfigError where another run has it, or where it cannot be."""
    path = directory / "log.txt"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log = path.open("a")
    except OSError as error:
        raise ConfigError(f"out_dir={directory} cannot be written ({error.strerror}): give another out_dir") from error
    with log:
        if not _is_stdout(path):
            lock(log)
        yield


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append stdout and stderr to the file as well; nothing to do where stdout is that file."""
    if path.exists() and _is_stdout(path):
        yield
        return
    with path.open("a", buffering=1) as log, redirect_stdout(Tee(sys.stdout, log)), redirect_stderr(Tee(sys.stderr, log)):
        yield


def _is_stdout(path: Path) -> bool:
    return os.path.samestat(os.fstat(1), path.stat())


def lock(log: IO[Any]) -> None:
    """A run's log for this process, and for those that inherit the file. ConfigError where another run has it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise ConfigError(f"another process runs in {Path(log.name).parent}: wait for it, or stop it") from None
            time.sleep(0.01)
        except OSError as error:
            raise ConfigError(f"{log.name} cannot be locked ({error.strerror}): give an out_dir on another file system") from error
