"""One driver a study, and one process a cell."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.lock import is_running
from experiments.run_dir.owner import (
    WITHOUT_FLOCK,
    owned_elsewhere,
    release,
    take,
    warn_without_flock,
)
from reformer_pl.config import ConfigError

DYING_SECONDS = 2.0


@contextmanager
def locked(study: Study) -> Iterator[None]:
    """A study for this driver alone, with none of its cells running. Raises ConfigError.

    The lock is the kernel's (flock), so that it ends with the driver, however the driver ends; the
    owner's file beside it keeps drivers of other hosts out.
    """
    path = study.directory / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise _unwritable(study, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            driver = file.read(20).decode(errors="replace").strip() or "?"
            raise ConfigError(
                f"study {study.name} is being run by process {driver}: wait for it, or stop it"
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_FLOCK:
                raise _unwritable(study, error) from error
            warn_without_flock(path)
        try:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            take(study.directory)
        except OSError as error:  # a full disk
            raise _unwritable(study, error) from error
        try:
            for cell in study.all_cells:
                _check_not_running(study, cell)
            yield
        finally:
            release(study.directory)


def _unwritable(study: Study, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write below {study.directory}: {error.strerror}; "
        "give another place with --runs-dir"
    )


def _check_not_running(study: Study, cell: Cell) -> None:
    """A process that outlived its driver would write into the same files (ConfigError).

    One that is dying has two seconds for it. One of another host keeps its own cell from starting.
    """
    patience = time.monotonic() + DYING_SECONDS
    while is_running(cell.directory) and not owned_elsewhere(cell.directory):
        if time.monotonic() > patience:
            raise ConfigError(
                f"study {study.name}: {cell} is still running without its driver: "
                "stop that process first"
            )
        time.sleep(0.05)
