"""What `make gpu` does, played on the CPU: fake nvidia-smi, fake tests, studies of two small cases."""

import itertools
import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend

import gpu_report
import test_gpu
from experiments.benchmarking import gpu_times
from experiments.benchmarking.gpu_times import (
    KERNELS,
    fastest_kernel,
    l2_cleaner,
    overwriting,
    preferring,
)
from experiments.benchmarking.timing import time_in_turn
from experiments.benchmarking.work import build_work
from experiments.compose import compose
from reformer_pl.config import BenchmarkConfig
from tiny import tiny

ROOT = Path(__file__).resolve().parent.parent
STUDY = """
timed: true
measure: attention
base: [model.d_model=16, model.n_heads=2, trainer.threads=1, benchmark.seconds=7]
axes:
  length: {64/2: [task.length=64, task.batch_size=2], 128/1: [task.length=128, task.batch_size=1]}
  variant:
    Full: [model.attention=full]
    LSH-2: [model.attention=lsh, model.lsh.n_hashes=2, model.lsh.chunk_len=16]
report: [length_time, speedup]
"""
STEPS = """
timed: true
measure: step
base: [model.d_model=16, model.n_heads=2, model.d_ff=16, trainer.threads=1]
grids:
  lengths:
    base: [model.n_layers=1, benchmark.repeats=9]
    axes:
      length: {64: [task.length=64, benchmark.repeats=8]}
      variant: {Full: [model.attention=full], Reversible: [model.residual=reversible]}
    report: [cost]
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of small studies and tests, on a machine whose nvidia-smi answers."""
    (tmp_path / "configs" / "study").mkdir(parents=True)
    (tmp_path / "configs" / "study" / "fig5_speed.yaml").write_text(STUDY)
    (tmp_path / "configs" / "study" / "table3_variants.yaml").write_text(STEPS)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_gpu.py").write_text(
        "import pytest\npytestmark = pytest.mark.gpu\ndef test_it(): pass\n"
    )
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI 580.65'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(gpu_report, "ROOT", tmp_path)
    base = [
        word.replace("=gpu", "=cpu").replace("bf16-mixed", "32-true") for word in gpu_report.BASE
    ]
    monkeypatch.setattr(gpu_report, "BASE", [*base[:3], "benchmark.seconds=0.001", *base[4:]])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_leaves_one_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (machine / "gpu_report").mkdir()
    assert gpu_report.main([]) == 0
    folder = machine / "gpu_report"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"report.md", "versions.txt", "nvidia_smi.txt", "test_gpu.log"} <= files
    assert {"logs/fig5_speed.txt", "runs/fig5_speed/report/index.html"} <= files
    assert (folder / "nvidia_smi.txt").read_text().count("NVIDIA-SMI 580.65") == 2
    assert f"torch: {torch.__version__}\n" in (folder / "versions.txt").read_text()
    text = (folder / "report.md").read_text()
    for line in ("| test_gpu | 1 passed", "| fig5_speed | 4 of 4 cases |", "2 of 2 cases"):
        assert line in text
    assert "| 64-2_Full | - | " in text  # a CPU has no choice of kernels
    for name in ("fig5_speed", "table3_variants"):
        yaml = (folder / f"{name}.yaml").read_text()
        assert "benchmark.repeats=3" in yaml and "=9" not in yaml and "=8" not in yaml
    assert list(machine.glob("gpu_report.before-*"))


def test_a_study_ends_with_its_time_and_a_failed_case_fails(machine: Path) -> None:
    folder = machine / "out"
    folder.mkdir()
    clock = itertools.count()
    study = gpu_report.gpu_study("fig5_speed", folder)
    step = gpu_report.run_study(study, 1.0, folder, lambda: float(next(clock)))
    assert step.outcome == "1 of 4 cases, cut off after 1 s" and step.is_good
    study = gpu_report.gpu_study("table3_variants", folder, ["trainer.accelerator=gpu"])
    step = gpu_report.run_study(study, 60.0, folder)
    assert step.outcome == "0 of 2 cases: trainer.accelerator=gpu cannot be had here: " + (
        "torch finds no CUDA device"
    )
    assert not step.is_good


@pytest.mark.parametrize(
    ("body", "outcome", "is_good"),
    [
        ("assert False", "1 failed", False),
        ("pytest.skip('no')", "1 skipped", True),
        ("import time; time.sleep(60)", "cut off after 3 s", False),
    ],
)
def test_the_outcome_of_the_tests_is_told(
    body: str, outcome: str, is_good: bool, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = machine / "tests" / "test_gpu.py"
    test.write_text(f"import pytest\npytestmark = pytest.mark.gpu\ndef test_it():\n    {body}\n")
    if "sleep" in body:
        monkeypatch.setitem(gpu_report.SECONDS, "tests", 3.0)
    step = gpu_report.run_tests(machine)
    assert outcome in step.outcome and step.is_good == is_good


def test_without_a_gpu_it_says_so_in_one_line(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert gpu_report.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: make gpu needs a CUDA device, and torch 2.")
    assert not (machine / "gpu_report").exists()


def test_make_asks_before_it_installs(tmp_path: Path) -> None:
    """On a machine without nvidia-smi, and with no Python at all."""
    make = subprocess.run(
        ["/usr/bin/env", "make", "-s", "-f", str(ROOT / "Makefile"), "gpu", "PYTHON=no-such-python"],
        cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "MAKEFLAGS": ""},
    )  # fmt: skip
    assert make.returncode == 2
    assert "make gpu needs a CUDA device, and this machine has no nvidia-smi" in make.stdout
    assert not (tmp_path / ".venv").exists()


def test_the_whole_takes_less_than_ten_minutes() -> None:
    assert sum(gpu_report.SECONDS.values()) <= 9 * 60


# the cache of a GPU, and its kernels


def test_the_cache_is_overwritten_before_each_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = torch.ones(1000, dtype=torch.uint8)
    overwriting(buffer)()
    assert not buffer.any()
    l2_cleaner(torch.device("cpu"))()
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=40 << 20)
    )
    sizes: list[Any] = []
    monkeypatch.setattr(torch, "empty", lambda size, **_: sizes.append(size) or buffer)
    l2_cleaner(torch.device("cuda"))
    assert sizes == [80 << 20]


@pytest.mark.parametrize("paired", [False, True])
def test_each_timed_repetition_starts_with_a_clean_cache(
    paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    work = build_work(tiny("benchmark.measure=attention"), torch.device("cpu"))
    monkeypatch.setattr(
        "experiments.benchmarking.timing.repeat", lambda work: events.append("work")
    )
    benchmark = BenchmarkConfig(repeats=3, seconds=1e-9)
    time_in_turn(work, work if paired else None, benchmark, lambda: events.append("clean"))
    assert events == ["clean", "work"] * (6 if paired else 3)


class OnCPU:
    """A device that says cuda, and whose tensors are a CPU's."""

    type = "cuda"


@pytest.mark.parametrize(
    ("overrides", "kernels", "expected"),
    [
        (["model.attention=full"], {"flash": SDPBackend.FLASH_ATTENTION}, "flash"),
        (["model.attention=shared_full"], {"math": SDPBackend.MATH}, "math"),
        (["model.attention=local full", "model.n_layers=2"], {"math": SDPBackend.MATH}, "math"),
        (["model.attention=full"], {"cudnn": SDPBackend.CUDNN_ATTENTION}, None),
        (["model.attention=lsh"], {"math": SDPBackend.MATH}, None),
        (
            ["model.attention=lsh", "benchmark.paired=true", "benchmark.measure=layer"],
            {"math": SDPBackend.MATH},
            "math",
        ),
    ],
)
def test_full_attention_takes_the_fastest_kernel_that_runs(
    overrides: list[str],
    kernels: dict[str, SDPBackend],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose(["model.d_model=16", "model.n_heads=2", "task.length=32", *overrides])
    call = gpu_times.attention_call
    monkeypatch.setattr(
        gpu_times, "attention_call", lambda c, kind, _: call(c, kind, torch.device("cpu"))
    )
    monkeypatch.setattr(gpu_times, "autocast", lambda *_: preferring(None))
    kernels = {"efficient": SDPBackend.EFFICIENT_ATTENTION, **kernels}  # a CPU has none of it
    assert fastest_kernel(config, OnCPU(), kernels) == expected
    assert fastest_kernel(config, torch.device("cpu"), kernels) is None


@pytest.mark.parametrize("name", [*KERNELS, None])
def test_a_kernel_is_preferred_and_others_are_left(name: str | None) -> None:
    q = torch.randn(1, 2, 8, 16)
    mask = torch.ones(8, 8, dtype=torch.bool).tril()
    with preferring(name):
        out = torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)
    assert out.shape == q.shape


def test_every_gpu_test_skips_with_its_reason_where_there_is_no_gpu() -> None:
    marker, skips = test_gpu.pytestmark
    assert marker.name == "gpu"
    assert (skips.name, skips.kwargs["reason"]) == ("skipif", "needs a CUDA device")
    assert skips.args == (not torch.cuda.is_available(),)
    names = [name for name in vars(test_gpu) if name.startswith("test_")]
    for word in ("definition", "cpu", "predicted", "ddp", "share_a_gpu", "out_of_memory", "killed"):
        assert any(word in name for name in names), word


def test_the_runs_of_the_gpu_tests_compose() -> None:
    config = compose(test_gpu.RUN)
    assert (config.trainer.accelerator, config.trainer.max_steps) == ("gpu", 4)
