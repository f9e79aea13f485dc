"""Who has a directory: a file with host, process and its start, beside the kernel's lock.

On some network file systems the lock (flock) is each host's own, and on some there is none. A name
that must be new (link, O_EXCL) is the same to all hosts. The file is removed at the end. One that a
process of this host left behind is taken over; of another host nobody can tell: a person decides.
"""

import errno
import json
import os
import socket
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from experiments.run_dir.files import OWNER
from reformer_pl.config import ConfigError

WITHOUT_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def take(directory: Path) -> None:
    """Make this process the owner. Raises OSError, and ConfigError where another one is it."""
    path, own = directory / OWNER, identity(os.getpid())
    for _ in range(3):
        try:
            _make(path, json.dumps(own))
        except FileExistsError:
            if path.is_dir():
                raise ConfigError(
                    f"{path} is a folder, where a file should be: move it away"
                ) from None
            reason = owned_by_another(directory)
            if reason:
                raise ConfigError(reason) from None
            with suppress(FileNotFoundError):  # another process took it over meanwhile
                os.unlink(path)
            continue
        return
    raise ConfigError(f"another process takes {directory} at this moment: try again")


def _make(path: Path, text: str) -> None:
    """A new file that has its text from the first moment. Raises FileExistsError.

    An empty one would be taken for what a crash left. Where a file system has no hard links, the
    text comes a moment after the name.
    """
    own = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
    own.write_text(text, encoding="utf-8")
    try:
        os.link(own, path)
    except FileExistsError:
        raise
    except OSError:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as file:
            file.write(text)
    finally:
        own.unlink(missing_ok=True)


def release(directory: Path) -> None:
    """Remove the file, if it is this process's."""
    if _read(directory) == identity(os.getpid()):
        with suppress(OSError):  # a directory that was removed meanwhile, or cannot be written
            (directory / OWNER).unlink()


def owned_by_another(directory: Path) -> str:
    """A sentence on the living owner of a directory, or one of another host; else empty."""
    owner = _read(directory)
    if not owner or owner == identity(os.getpid()):
        return ""
    host, pid = owner.get("host"), owner.get("pid")
    if host != socket.gethostname():
        return (
            f"process {pid} on the host {host} has {directory}: wait for it, or stop it there; "
            f"if it is gone, delete {directory / OWNER}"
        )
    alive = isinstance(pid, int) and owner == identity(pid)
    return f"process {pid} has {directory}: wait for it, or stop it" if alive else ""


def owned_elsewhere(directory: Path) -> str:
    """A sentence on an owner of another host, of whom nobody here can tell whether it lives."""
    owner = _read(directory)
    return (
        owned_by_another(directory) if owner and owner.get("host") != socket.gethostname() else ""
    )


def identity(pid: int) -> dict[str, Any] | None:
    """Host, number and start of a process of this host; None of one that is gone.

    A number is given anew: the start, where the system tells it, says whose it is.
    """
    started = ""
    if sys.platform.startswith("linux"):
        try:
            words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
        except OSError:
            return None
        if words[0] == "Z":
            return None
        started = f"{words[19]} {_boot()}"
    else:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # of another user, and alive
    return {"host": socket.gethostname(), "pid": pid, "started": started}


@cache
def _boot() -> str:
    """Start times count from the boot of the machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


@cache
def warn_without_flock(path: Path) -> None:
    """One sentence for a file system that knows no locks."""
    print(
        f"{path.parent} is on a file system without locks: the file {OWNER} alone keeps a second "
        "process out",
        file=sys.stderr,
        flush=True,
    )


def _read(directory: Path) -> dict[str, Any] | None:
    """What the file says; None where there is none, and for one that a crash cut."""
    try:
        owner = json.loads((directory / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None
