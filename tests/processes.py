"""Runs in processes of their own, to be killed at will.

The fork server imports torch once, so that a run starts in milliseconds.
"""

import gc
import importlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["experiments.training.fit"])

PATIENCE_SECONDS = 240.0  # with what should take seconds, on a slow machine full of other work
TIMES = (
    "peak_memory_gib",
    "step_seconds",
    "tokens_per_second",
    "train_seconds",
    "finished_at",
    "seconds",
    "startup_seconds",
    "closing_seconds",
    "n_timed_steps",
    "step_seconds_q1",
    "step_seconds_q3",
    "waited_share",
    "involuntary_switches",
    "sessions",
)  # the rest of a run repeats


class Fault(NamedTuple):
    """What happens when function `path` of `module` is called for the nth time.

    `signal` is sent to the own process, or raised if it is an exception.
    """

    signal: int | Exception
    module: str
    path: str
    nth: int = 1


def start(
    module: str,
    arguments: list[str],
    log: Path,
    faults: tuple[Fault, ...] = (),
    file_bytes: int | None = None,
    **environment: str,
) -> BaseProcess:
    """`python -m MODULE ARGUMENTS`, with its output in `log`.

    The system lets no file of it grow beyond `file_bytes`, as a full disk would.
    """
    process = CONTEXT.Process(
        target=_child, args=(module, arguments, log, faults, file_bytes, environment)
    )
    process.start()
    return process


def exit_code(process: BaseProcess, seconds: float = PATIENCE_SECONDS) -> int:
    """Waits; a process that does not end fails the test."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"still running after {seconds} s")
    return process.exitcode


def wait_until(true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    patience = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < patience, f"waited for {seconds} s in vain"
        time.sleep(0.005)


def rows(directory: Path, split: str = "") -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl."""
    path = directory / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in found if not split or row["split"] == split]


def result(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


def timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMES}


def _child(
    module: str,
    arguments: list[str],
    log: Path,
    faults: tuple[Fault, ...],
    file_bytes: int | None,
    environment: dict[str, str],
) -> None:
    gc.freeze()  # as in experiments/fast_imports.py
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if file_bytes is not None:  # Python ignores SIGXFSZ, so that a write fails with an OSError
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    for fault in faults:
        inject(fault)
    code = importlib.import_module(module).main(arguments)
    sys.stdout.flush()
    sys.exit(code)


def inject(fault: Fault) -> None:
    *owners, name = fault.path.split(".")
    owner = importlib.import_module(fault.module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def faulty(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fault.nth and isinstance(fault.signal, Exception):
            raise fault.signal
        if calls == fault.nth:
            os.kill(os.getpid(), fault.signal)
            if fault.signal == signal.SIGKILL:
                time.sleep(60)
        return original(*args, **kwargs)

    setattr(owner, name, faulty)


def fail_and_resume(arguments: list[str], step: int, monkeypatch: Any) -> None:
    """Train until this step, which no checkpoint has yet, lose the machine, and train on."""
    from experiments import train
    from reformer_pl.module import LitSequenceModel

    def fail(module: LitSequenceModel, *arguments: object) -> None:
        if module.global_step == step:
            raise RuntimeError("the machine is gone")

    with monkeypatch.context() as patch:
        patch.setattr(LitSequenceModel, "on_train_batch_start", fail)
        assert train.main(arguments) == 1
    assert train.main(arguments) == 0
