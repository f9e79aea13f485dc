"""log.txt: what a run prints, kept beside its results."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from experiments.run_dir.files import LOG
from experiments.run_dir.lock import is_stdout


class Tee:
    """A stream that also writes to a log.

    Progress bars stay out of it: they redraw one line with carriage returns.
    """

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        if "\r" not in text:
            self.log.write(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def logged(directory: Path) -> Iterator[None]:
    """Append stdout and stderr to the log of a run as well, unless stdout is that file."""
    path = directory / LOG
    if path.exists() and is_stdout(path):
        yield
        return
    with (
        path.open("a", buffering=1) as log,
        redirect_stdout(Tee(sys.stdout, log)),
        redirect_stderr(Tee(sys.stderr, log)),
    ):
        yield
