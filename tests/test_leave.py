"""A rank that has failed leaves promptly, whatever keeps a process with several ranks from ending."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.training import callbacks

ROOT = Path(__file__).resolve().parent.parent
# A stand-in for NCCL, without torch: it is initialised, and the end of Python waits for it.
HANGS = """
import atexit, sys, time, types
sys.modules["torch.distributed"] = types.SimpleNamespace(is_initialized=lambda: {alive})
atexit.register(lambda: print("at the end", flush=True))
from experiments.rank import leave
print("outcome")
leave({code})
"""


@pytest.mark.parametrize(
    ("alive", "code", "waits"),
    [(True, 1, False), (True, 2, False), (True, 0, True), (True, 130, True), (False, 1, True)],
)
def test_a_rank_that_has_failed_waits_for_nobody(alive: bool, code: int, waits: bool) -> None:
    script = HANGS.format(alive=alive, code=code)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code
    assert done.stdout.split("\n")[0] == "outcome", "what was printed is not lost"
    assert ("at the end" in done.stdout) == waits


@pytest.mark.parametrize(
    ("world", "error", "ends"),
    [
        (2, RuntimeError("NCCL error"), True),
        (4, MemoryError("out of memory\nand more"), True),
        (1, RuntimeError("alone"), False),
        (2, KeyboardInterrupt(), False),
    ],
)
def test_a_rank_whose_clearing_up_hangs_is_ended_in_time(
    world: int,
    error: BaseException,
    ends: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes: list[int] = []
    timers = []

    class Timer:
        def __init__(self, seconds: float, work: object, arguments: list[object]) -> None:
            self.seconds, self.work, self.arguments, self.daemon = seconds, work, arguments, False
            timers.append(self)

        def start(self) -> None:
            assert self.daemon, "it would keep a process that ends in time"
            self.work(*self.arguments)

    monkeypatch.setattr(callbacks, "end_now", codes.append)
    monkeypatch.setattr(callbacks.threading, "Timer", Timer)
    callbacks.LeaveInTime().on_exception(SimpleNamespace(world_size=world), None, error)
    assert codes == ([1] if ends else [])
    assert [timer.seconds for timer in timers] == ([60.0] if ends else [])
    if ends:
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(type(error).__name__) and "and more" not in last
