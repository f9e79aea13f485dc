"""Commands as forks of a process that has imported torch and Lightning, which takes seconds.

Each runs what `python -m MODULE` runs, and so do the cells of a driver among them. What they have
of another start is the import of other people's packages. tests/test_wheel.py and others start the
command line itself.
"""

import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import GenericAlias
from typing import IO, Any

from processes import CONTEXT, exit_code

REAL_POPEN = subprocess.Popen
OURS = ("ablations", "experiments", "reformer_pl")  # imported anew by each command
TESTS = os.path.dirname(os.path.abspath(__file__))


def start_command(
    arguments: list[str], directory: Path, log: Path, **environment: str
) -> BaseProcess:
    """`python ARGUMENTS` in a directory, with its output in `log`: -m MODULE and what follows."""
    process = CONTEXT.Process(target=_command, args=(arguments, directory, log, environment))
    process.start()
    return process


def output_of(arguments: list[str], directory: Path, log: Path, **environment: str) -> str:
    """What such a command prints, which must end well."""
    code = exit_code(start_command(arguments, directory, log, **environment))
    printed = log.read_text()
    assert code == 0, printed
    return printed


def _command(arguments: list[str], directory: Path, log: Path, environment: dict[str, str]) -> None:
    os.chdir(directory)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    subprocess.Popen = Fork  # type: ignore[misc,assignment]
    gc.freeze()  # as in experiments/fast_imports.py
    _become_python(arguments, {**os.environ, **environment})


def _become_python(arguments: list[str], environment: dict[str, str]) -> None:
    """Run the module as a new interpreter would in this environment, and exit."""
    option, module, *rest = arguments
    assert option == "-m", arguments
    os.environ.clear()
    os.environ.update(environment)
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None) or ""
        if name.partition(".")[0] in OURS or os.path.dirname(file) == TESTS:
            del sys.modules[name]
    first = [] if environment.get("PYTHONSAFEPATH") else [os.getcwd()]
    first += [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*first, *(path for path in sys.path if path not in (*first, "", TESTS))]
    sys.argv = [module, *rest]
    code: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


class Fork:
    """What a driver uses of subprocess.Popen; a command that is no cell gets a real one."""

    __class_getitem__ = classmethod(GenericAlias)

    def __new__(cls, command: list[str], **options: Any) -> Any:
        is_cell = command[:2] == [sys.executable, "-m"] and options.get("start_new_session")
        return object.__new__(cls) if is_cell else REAL_POPEN(command, **options)

    def __init__(
        self,
        command: list[str],
        *,
        stdin: int,
        stdout: IO[bytes],
        stderr: int,
        env: dict[str, str],
        start_new_session: bool,
        preexec_fn: Callable[[], None],
    ) -> None:
        assert (stdin, stderr) == (subprocess.DEVNULL, subprocess.STDOUT) and start_new_session
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(1, 2)
            os.closerange(3, 1024)  # the driver's locks among them
            preexec_fn()
            if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # as Python does
                signal.signal(signal.SIGINT, signal.default_int_handler)
            _become_python(command[1:], env)
        finally:
            os._exit(255)

    def wait(self) -> int:
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
