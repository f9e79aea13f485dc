"""What a command prints: to its streams, for as long as somebody reads them, and to log.txt."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from experiments.run_dir.files import LOG
from experiments.run_dir.lock import is_stdout

READER_IS_GONE = 141  # 128 + SIGPIPE, the exit code of other programs before `| head`
# A closed terminal, a full disk; a closed file; a signal handler that prints while a print runs.
UNWRITABLE = (OSError, ValueError, RuntimeError)


class Output:
    """A stream that raises no error: a character that its encoding lacks is escaped.

    `is_all` is true of the stdout of a command that only shows something. Where its reader is gone,
    the command ends without a word, and where the disk is full, with one line (SystemExit). A
    command with other work goes on, and what cannot be written is lost.
    """

    def __init__(self, stream: TextIO, is_all: bool = False) -> None:
        self.stream, self.is_all = stream, is_all
        self.errors = getattr(stream, "errors", None)
        self._escape("backslashreplace")

    def _escape(self, errors: str | None) -> None:
        with suppress(AttributeError, *UNWRITABLE):
            self.stream.reconfigure(errors=errors)  # type: ignore[union-attr]

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except UNWRITABLE as error:
            self._lost(error)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except UNWRITABLE as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        if not self.is_all or not isinstance(error, OSError):
            return
        self.is_all = False
        if isinstance(error, BrokenPipeError):
            raise SystemExit(READER_IS_GONE)
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(2)

    def end(self) -> None:
        """Leave nothing in the buffer, at which Python itself would fail when it ends."""
        try:
            self.stream.flush()
        except UNWRITABLE:
            with suppress(*UNWRITABLE):
                number, nothing = self.stream.fileno(), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, number)
                os.close(nothing)
                self.stream.flush()
        self._escape(self.errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printing() -> Iterator[Output]:
    """stdout and stderr of a command, each an `Output`; stdout is all of it until it says so."""
    _open_closed_streams()
    out, err = Output(sys.stdout, is_all=True), Output(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield out
            out.flush()
        except SystemExit:
            out.flush()
            raise
        finally:
            out.end()
            err.end()


def _open_closed_streams() -> None:
    """`>&-` leaves a number free, and the next file that is opened would be stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the smallest free number
        if number and getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


class Tee:
    """A stream that also writes to a log.

    Progress bars stay out of it: they redraw one line with carriage returns.
    """

    def __init__(self, stream: TextIO, log: Output) -> None:
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
    with path.open("a", buffering=1, encoding="utf-8") as file:
        log = Output(file)
        try:
            with redirect_stdout(Tee(sys.stdout, log)), redirect_stderr(Tee(sys.stderr, log)):
                yield
        finally:
            log.end()
