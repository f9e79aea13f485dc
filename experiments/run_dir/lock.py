"""A run directory has one run at a time: its log.txt is locked (flock) as long as the run lives.

Where stdout is that file, as in a cell of a study, the process that started the run holds the lock.
On SLURM nobody does: the queue shows what runs. A file beside the lock, owner.py, guards where the
kernel's lock does not reach.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from experiments.run_dir.durable import make_folder
from experiments.run_dir.files import LOG
from experiments.run_dir.owner import (
    WITHOUT_FLOCK,
    owned_by_another,
    release,
    take,
    warn_without_flock,
)
from experiments.run_dir.reading import has_file
from reformer_pl.config import ConfigError

PATIENCE_SECONDS = 1.0  # `status` holds each log for a moment, to see whether its run lives


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """A directory for this run alone, made if it is not there.

    Raises ConfigError where another run has it, and where it cannot be made.
    """
    path = directory / LOG
    has_file(path)
    try:
        make_folder(directory)
        log = path.open("a")
    except OSError as error:
        raise ConfigError(
            f"out_dir={directory} cannot be written ({error.strerror}): give another out_dir"
        ) from error
    with log:
        if is_stdout(path):
            yield
            return
        lock(log)
        try:
            take(directory)
        except OSError as error:
            raise ConfigError(
                f"out_dir={directory} cannot be written ({error.strerror}): give another out_dir"
            ) from error
        try:
            yield
        finally:
            release(directory)


def is_stdout(path: Path) -> bool:
    return os.path.samestat(os.fstat(1), path.stat())


def lock(log: IO[Any]) -> None:
    """Lock a run's log for this process, and for those that inherit the file.

    Raises ConfigError where another run has it.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise ConfigError(
                    f"another process runs in {Path(log.name).parent}: wait for it, or stop it"
                ) from None
            time.sleep(0.01)
        except OSError as error:
            if error.errno in WITHOUT_FLOCK:
                return warn_without_flock(Path(log.name))
            raise ConfigError(
                f"{log.name} cannot be locked ({error.strerror}): "
                "give an out_dir on another file system"
            ) from error


def is_running(directory: Path) -> bool:
    """Whether any process of a run lives, whoever started it.

    False where the log cannot be opened: no process starts there, either.
    """
    path = directory / LOG
    if owned_by_another(directory):
        return True
    try:
        if not has_file(path):
            return False
        with path.open("rb") as log:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ConfigError):
        return False
    return False
