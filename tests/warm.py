"""Commands as forks of a process that has imported torch and Lightning, which takes seconds.

Each runs what `python -m MODULE` or `python FILE` runs, and so do the cells of a driver and the
ranks of a run among them. They save the import of other people's packages, and nothing else.
tests/test_wheel.py starts the command line itself, and two ranks.
"""

import gc
import inspect
import os
import runpy
import signal
import subprocess
import sys
import traceback
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from processes import CONTEXT, exit_code

OURS = ("ablations", "experiments", "reformer_pl")  # imported anew by each command
TESTS = os.path.dirname(os.path.abspath(__file__))


def start_command(
    arguments: list[str], directory: Path, log: Path, **environment: str
) -> BaseProcess:
    """`python ARGUMENTS` in a directory, as a process group with its output in `log`."""
    process = CONTEXT.Process(target=_command, args=(arguments, directory, log, environment))
    process.start()
    return process


def output_of(arguments: list[str], directory: Path, log: Path, **environment: str) -> str:
    """What such a command prints, which must end well."""
    code = exit_code(start_command(arguments, directory, log, **environment))
    printed = log.read_text()
    assert code == 0, printed
    return printed


def _command(
    arguments: list[str], directory: Path, log: Path, environment: dict[str, str]
) -> NoReturn:
    os.setsid()
    os.chdir(directory)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    subprocess.Popen = Fork  # type: ignore[misc]
    gc.freeze()  # as in experiments/fast_imports.py
    _become_python(arguments, {**os.environ, **environment})


class Fork(subprocess.Popen[Any]):
    """Where the command is `python -m MODULE` or `python FILE`, a fork of this process runs it."""

    def _execute_child(self, *values: Any) -> None:
        start = super()._execute_child  # type: ignore[misc]
        options = dict(zip(inspect.signature(start).parameters, values, strict=True))
        command = options["args"]
        if command[0] != sys.executable or not (command[1] == "-m" or command[1].endswith(".py")):
            return start(*values)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _in_the_child(options)
                _become_python(command[1:], options["env"] or dict(os.environ))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(255)
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(options[name] for name in names))  # type: ignore[attr-defined]


def _in_the_child(options: dict[str, Any]) -> None:
    """What lies between fork and exec."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if options["start_new_session"]:
        os.setsid()
    if options["cwd"] is not None:
        os.chdir(options["cwd"])
    for name, number in {"p2cread": 0, "c2pwrite": 1, "errwrite": 2}.items():
        if options[name] != -1:
            os.dup2(options[name], number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the locks of this process among them
    if options["preexec_fn"] is not None:
        options["preexec_fn"]()
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # as Python does
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _become_python(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Run a module or a file as a new interpreter would in this environment, and exit."""
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None) or ""
        if name.partition(".")[0] in OURS or os.path.dirname(file) == TESTS:
            del sys.modules[name]
    is_module = arguments[0] == "-m"
    program, *rest = arguments[1:] if is_module else arguments
    here = os.getcwd() if is_module else os.path.dirname(os.path.abspath(program))
    first = [] if environment.get("PYTHONSAFEPATH") else [here]
    first += [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*first, *(path for path in sys.path if path not in (*first, "", TESTS))]
    sys.argv = [program, *rest]
    code: Any = 0
    try:
        if is_module:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program, run_name="__main__")
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
