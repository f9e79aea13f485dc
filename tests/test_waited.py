"""What disturbed a measurement: the run delay of its threads, the waited share, and the two limits."""

import json
import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from experiments import benchmark
from experiments.device import is_shared
from experiments.times import waited
from experiments.times.disturbed import MARK_MEANS, disturbance, is_disturbed
from experiments.times.waited import Counters, TimedSteps, read_counters, run_delays, waited_between
from experiments.training.callbacks import Cost

LINUX = pytest.mark.skipif(run_delays() is None, reason="this system counts no run delay")


def schedstat(folder: Path, **threads: str) -> Path:
    for name, text in threads.items():
        (folder / name.removeprefix("t")).mkdir(parents=True)
        (folder / name.removeprefix("t") / "schedstat").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("threads", "delays"),
    [
        ({"t7": "900 40 3\n"}, {"7": 40}),
        ({"t7": "900 40 3\n", "t8": "5 0 1\n"}, {"7": 40, "8": 0}),
        ({"t7": "900 40 3\n", "t8": ""}, {"7": 40}),  # the thread ended while it was read
        ({"t7": "900 40 3\n", "t8": "a b c\n"}, {"7": 40}),
        ({"t7": "0 0 0\n", "t8": "0 0 0\n"}, None),  # a kernel that counts nothing
        ({"t7": "900 40\n"}, None),
        ({}, None),  # no such files: another system
    ],
)
def test_run_delays_of_made_up_threads(
    tmp_path: Path, threads: dict[str, str], delays: dict[str, int] | None
) -> None:
    assert run_delays(schedstat(tmp_path, **threads)) == delays


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        ({"1": 5e9}, {"1": 7e9}, 2.0),
        ({"1": 5e9}, {"1": 7e9, "2": 1e9}, 3.0),  # a thread that started meanwhile counts whole
        ({"1": 5e9, "2": 9e9}, {"1": 7e9}, 2.0),  # one that ended takes nothing away
        ({"1": 5e9}, {"1": 4e9}, 0.0),  # a number that another thread has now
        (None, {"1": 4e9}, None),
        ({"1": 5e9}, None, None),
    ],
)
def test_seconds_waited_between_two_readings(
    before: dict[str, int] | None, after: dict[str, int] | None, seconds: float | None
) -> None:
    assert waited_between(Counters(0, before, 0), Counters(1, after, 0)) == seconds


def test_a_share_is_of_the_seconds_in_which_threads_waited_or_ran() -> None:
    steps = TimedSteps()
    for step, seconds in enumerate((1.0, 2.0, 3.0, 4.0, 5.0)):
        early = Counters(2.0 * step, {"1": int(1e9) * step}, 3 * step)
        late = Counters(2.0 * (step + 1), {"1": int(1e9) * (step + 1)}, 3 * (step + 1))
        steps.add([seconds], early, late)
    assert steps.numbers() == {
        "step_seconds": 3.0, "step_seconds_q1": 2.0, "step_seconds_q3": 4.0, "n_timed_steps": 5,
        "waited_share": 5 / 15, "involuntary_switches": 15, "device_is_shared": None,
    }  # fmt: skip


@pytest.mark.parametrize("unknown", ["first", "last", "both"])
def test_what_a_system_does_not_count_is_null_and_never_0(unknown: str) -> None:
    steps = TimedSteps()
    for place in ("first", "last"):
        delays = None if unknown in (place, "both") else {"1": 0}
        steps.add([0.5], Counters(0, delays, 0), Counters(1, delays, 0))
    assert steps.numbers()["waited_share"] is None and steps.numbers()["step_seconds"] == 0.5
    assert set(TimedSteps().numbers().values()) == {None, 0}
    assert TimedSteps().numbers()["n_timed_steps"] == 0


QUIET = {
    "step_seconds": 1.0, "step_seconds_q1": 0.97, "step_seconds_q3": 1.03, "waited_share": 0.01,
}  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "disturbed"),
    [
        (QUIET, False),
        (QUIET | {"waited_share": 0.02}, False),
        (QUIET | {"waited_share": 0.021}, True),
        (QUIET | {"waited_share": None}, False),
        (QUIET | {"step_seconds_q3": 1.08}, True),
        (QUIET | {"step_seconds_q1": None, "step_seconds_q3": None}, False),
        (QUIET | {"waited_share": None, "step_seconds_q1": 0.8}, True),
        (QUIET | {"device_is_shared": True}, True),
        (QUIET | {"device_is_shared": False}, False),
        ({"step_seconds": 1.0, "step_seconds_iqr": 0.2}, True),  # a benchmark of version 0.1.0
        ({"step_seconds": 1.0, "step_seconds_iqr": 0.05}, False),
        ({"step_seconds": None, "waited_share": None}, False),
        ({}, False),
    ],
)
def test_the_two_limits(numbers: dict[str, float], disturbed: bool) -> None:
    assert is_disturbed(numbers) == disturbed == disturbance(numbers).startswith("disturbed: ")


def test_the_sentence_says_the_limits() -> None:
    assert (
        "more than 2 % of its time" in MARK_MEANS and "more than 10 % of the median" in MARK_MEANS
    )


def test_a_resumed_run_keeps_what_was_counted_and_knows_when_it_was_not() -> None:
    first, second, old = Cost(), Cost(), Cost()
    first.steps.add([0.5], Counters(0, {"1": 0}, 0), Counters(3, {"1": 10**9}, 7))
    second.load_state_dict(first.state_dict())
    second.steps.add([0.7], Counters(3, {"1": 10**9}, 7), Counters(6, {"1": 2 * 10**9}, 8))
    numbers = second.steps.numbers()
    assert (numbers["n_timed_steps"], numbers["waited_share"]) == (2, 2 / 8)
    old.load_state_dict({"step_seconds": [0.5], "train_seconds": 1.0, "peak_bytes": 3})  # 0.1.0
    old.steps.add([0.7], Counters(3, {"1": 10**9}, 7), Counters(6, {"1": 2 * 10**9}, 8))
    assert old.steps.numbers()["waited_share"] is None
    assert old.steps.numbers()["n_timed_steps"] == 2


TINY = (
    "benchmark.measure=attention", "model.attention=full", "model.d_model=16", "model.n_heads=2",
    "task.length=64", "task.batch_size=1", "trainer.threads=1", "benchmark.seconds=0.3",
)  # fmt: skip


@pytest.mark.parametrize("counted", [True, False])
def test_a_benchmark_has_quartiles_and_what_the_system_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    if not counted:
        monkeypatch.setattr(waited, "run_delays", lambda tasks: None)
    assert benchmark.main([*TINY, f"out_dir={tmp_path}"]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    low, high = result["step_seconds_q1"], result["step_seconds_q3"]
    assert 0 < low <= result["step_seconds"] <= high
    assert result["step_seconds_iqr"] == high - low
    if counted and run_delays() is not None:
        assert 0 <= result["waited_share"] < 1
    else:
        assert result["waited_share"] is None


@pytest.mark.parametrize(
    ("answer", "code", "shared"),
    [("123\n", 0, False), ("123\n456\n", 0, True), ("", 0, None), ("No devices", 6, None)],
)
def test_another_process_on_a_gpu_by_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, shared: bool | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked\nprintf '{answer}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    properties = SimpleNamespace(uuid="01ab-cd")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert is_shared(torch.device("cuda")) is shared
    assert "--id=GPU-01ab-cd" in (tmp_path / "asked").read_text()
    assert is_shared(torch.device("cpu")) is None
    monkeypatch.setenv("PATH", "")
    assert is_shared(torch.device("cuda")) is None


def burn(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        pass


@LINUX
def test_beside_two_others_on_its_core_a_process_waits_for_two_thirds_of_its_time() -> None:
    context = multiprocessing.get_context("fork")
    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    burners = [context.Process(target=burn, args=(core,), daemon=True) for _ in range(2)]
    try:
        os.sched_setaffinity(0, {core})
        for burner in burners:
            burner.start()
        time.sleep(0.1)
        steps, before, end = TimedSteps(), read_counters(), time.perf_counter() + 1.5
        while time.perf_counter() < end:
            pass
        steps.add([1.5], before, read_counters())
    finally:
        os.sched_setaffinity(0, allowed)
        for burner in burners:
            burner.kill()
            burner.join()
    share = steps.numbers()["waited_share"]
    assert share is not None and share > 0.5
