"""Files that a power cut leaves whole: each step is on the disk before the next one counts on it.

os.replace orders names and not data. So a new file is flushed before its rename, and the folder
after it. A file that is empty, or all zeros, is what a cut leaves of a file that was not flushed.
"""

import glob
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PARTIAL = ".partial"  # ends the name of a file that is still being written


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises OSError, for a full disk say, and leaves no rest."""
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """`write` makes a file beside `path`, which then takes its place, on the disk too.

    A link stays one, and what is no file, such as /dev/stdout, is written to as it is.
    """
    if path.exists() and not path.is_file():
        write(path)
        return
    path = path.resolve()
    put_in_place(write_partial(path, write), path)


def write_partial(path: Path, write: Callable[[Path], object]) -> Path:
    """Make a file that is then to take the place of `path`, and flush it to the disk.

    Raises what `write` raises, and leaves nothing then.
    """
    make_folder(path.parent)
    for rest in path.parent.glob(f"{glob.escape(_stem(path.name))}.*{PARTIAL}"):
        if not _is_alive(rest.name.split(".")[-2]):
            rest.unlink(missing_ok=True)
    partial = path.with_name(f"{_stem(path.name)}.{os.getpid()}{PARTIAL}")
    try:
        write(partial)
        with suppress(FileNotFoundError):  # a group that shares the folder keeps its permission
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        sync(partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _stem(name: str) -> str:
    """A name, or as much of it as leaves room for the ending of a partial file."""
    return name.encode(errors="surrogateescape")[:220].decode(errors="ignore")


def _is_alive(pid: str) -> bool:
    """Whether a process has this number; what is no number is somebody else's."""
    if not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def put_in_place(partial: Path, path: Path) -> None:
    """A file that is on the disk takes the place of another one, on the disk too."""
    os.replace(partial, path)
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """The folder and those above it, where they are missing, with their names on the disk."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync(place.parent)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk; nothing where there is none.

    Some network file systems cannot flush a folder, and say so: there it is their own affair.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def is_blank(content: bytes) -> bool:
    """Whether a file's content is what a power cut leaves: nothing, or zeros."""
    return not content.strip(b"\0 \t\r\n")
