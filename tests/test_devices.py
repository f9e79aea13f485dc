"""Each cell gets GPUs, threads and a port of its own; what cannot be is refused in one line before anything starts."""

import re
import socket
from collections import Counter
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.launch.local import gpus as devices
from ablations.launch.local.gpus import find_gpus
from ablations.launch.machine import environment_of, free_port, threads_per_cell
from ablations.launch.options import Options
from ablations.study import Study
from experiments.device import device_kind
from fake_cells import begun, result
from reformer_pl.config import ConfigError
from tiny import tiny

CPU_BUILD = devices.cpu_build
GPUS = tuple("01234567")
VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor is it the machine's fault: it has eight GPUs and a CUDA build of torch."""
    (tmp_path / "dev").mkdir()
    for number in range(8):
        (tmp_path / "dev" / f"nvidia{number}").touch()
    monkeypatch.setattr(devices, "DEV", tmp_path / "dev")
    monkeypatch.setattr(devices, "cpu_build", lambda: "")
    monkeypatch.setattr(devices.shutil, "which", lambda program: None)
    for name in (*VISIBLE, "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def log(cell: object) -> str:
    return (cell.directory / "log.txt").read_text()


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("0", "0"),
        ("0-7", "01234567"),
        ("0,2,5-7", "02567"),
        ("3-3", "3"),
        (" 1, 0 ", "10"),
        ("all", "01234567"),
    ],
)
def test_gpus_are_numbers_and_ranges(text: str, gpus: str) -> None:
    assert find_gpus(text) == tuple(gpus)


A, B, MIG = "GPU-8932f937-d72c", "GPU-8a56-11", "MIG-GPU-8932f937/1/0"


@pytest.mark.parametrize(
    ("visible", "text", "gpus"),
    [
        ("4,5,6,7", "4,6", ["4", "6"]),
        ("4,5,6,7", "0-1", ["4", "5"]),  # positions, for it has no 0 and no 1
        ("4, 5 ,6", "6,4", ["6", "4"]),  # with blanks
        (" 1,0", "0", ["0"]),  # a name before a position
        ("07,3", "7", ["7"]),
        (f"{A},{B}", "0-1", [A, B]),
        (f"{A}, {B}", "all", [A, B]),
        (f"{A},{B}", B, [B]),
        (f"{A},{B}", "GPU-8a", [B]),
        (MIG, "0", [MIG]),
        (f"{MIG},MIG-41b3", "MIG-41b3,MIG-GPU", ["MIG-41b3", MIG]),
        ("2,-1,3", "all", ["2"]),  # CUDA reads no further
        ("5", "all", ["5"]),
        (None, A, [A]),
    ],
)
def test_gpus_are_positions_or_names_of_the_visible_ones(
    visible: str | None, text: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list(find_gpus(text)) == gpus


@pytest.mark.parametrize(
    ("visible", "text", "reason"),
    [
        ("4,5,6,7", "0,4", "GPU 0 is not among CUDA_VISIBLE_DEVICES=4,5,6,7"),
        ("4,5", "0-2", "GPU 2 is not among CUDA_VISIBLE_DEVICES=4,5"),
        (f"{A},{B}", "2", "positions, 0 to 1"),
        (f"{A},{B}", "GPU-8", "GPU GPU-8 is not among"),  # both begin so
        (f"{A},{B}", "MIG-1", "GPU MIG-1 is not among"),
        ("", "0", "shows no GPU"),
        ("-1", "all", "shows no GPU"),
        ("NoDevFiles", "all", "shows no GPU"),
        ("1,1", "0", "shows no GPU"),
        (None, "8", "this machine has no GPU 8: it has 0, 1, 2, 3, 4, 5, 6, 7"),
        (None, "0,GPU-1,0", "names GPU 0 twice"),
        (f"{A},{B}", f"0,{A}", "twice"),
    ],
)
def test_gpus_that_cannot_be_seen_are_refused(
    visible: str | None, text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConfigError, match=re.escape(reason)):
        find_gpus(text)


def test_rocm_s_own_variable_counts_before_cuda_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,3")
    assert find_gpus("all") == ("2", "3")
    environment = environment_of(tiny(), None, ("3",), None)
    assert environment["HIP_VISIBLE_DEVICES"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in environment


NVIDIA_SMI = """#!/bin/sh
echo "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)"
echo "  MIG 3g.20gb     Device  0: (UUID: MIG-a8b4)"
echo "  MIG 1g.5gb      Device  1: (UUID: MIG-c7e1)"
echo "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)"
"""


def test_all_gpus_are_those_that_nvidia_smi_lists_with_the_parts_of_a_divided_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setattr(devices.shutil, "which", lambda name: str(program))
    assert find_gpus("all") == ("MIG-a8b4", "MIG-c7e1", "1")


def test_gpus_that_nobody_counts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for file in devices.DEV.iterdir():
        file.unlink()
    (devices.DEV / "kfd").touch()  # AMD's
    assert find_gpus("0,9") == ("0", "9")
    with pytest.raises(ConfigError, match="name them"):
        find_gpus("all")


REFUSED = {
    "twice": (["--gpus", "0,2,1-3"], "names GPU 2 twice"),
    "a range that goes down": (["--gpus", "7-0"], "no range of GPUs"),
    "negative": (["--gpus", "-1"], "not understood at '-1'"),
    "words": (["--gpus", "every"], "not understood at 'every'"),
    "nothing": (["--gpus", ""], "not understood at ''"),
    "a range without an end": (["--gpus", "0-"], "not understood at '0-'"),
    "far too many": (["--gpus", "0-99999999999"], "1023 at most"),
    "fewer than one cell's": (
        ["--gpus", "0-2", "--gpus-per-cell", "4"],
        "names 3 GPUs, fewer than --gpus-per-cell 4",
    ),
    "no GPU a cell": (
        ["--gpus", "0-2", "--gpus-per-cell", "0"],
        "--gpus-per-cell must be at least 1",
    ),
    "a share of nothing": (["--gpus-per-cell", "2"], "needs --gpus"),
    "both shares": (
        ["--gpus", "0-2", "--gpus-per-cell", "2", "--cells-per-gpu", "2"],
        "contradict each other",
    ),
    "no cell a GPU": (["--gpus", "0", "--cells-per-gpu", "0"], "--cells-per-gpu must be at least"),
    "cells on nothing": (["--cells-per-gpu", "2"], "--cells-per-gpu 2 needs --gpus"),
    "more cells than fit": (
        ["--gpus", "0-7", "--gpus-per-cell", "3", "--parallel", "3"],
        "at most 2",
    ),
    "a cell of more processes": (
        ["--gpus", "0-7"],
        "trainer.devices=2, more than --gpus-per-cell 1: give --gpus-per-cell 2",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_gpus_that_cannot_be_are_refused_in_one_line(
    what: str, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine", base=["trainer=ddp", "trainer.devices=2"])
    arguments, reason = REFUSED[what]
    assert main(["run", "./mine.yaml", *arguments]) == 2
    said = capsys.readouterr()
    assert reason in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not study.directory.exists()


def test_gpus_of_a_machine_without_any_are_refused(
    study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    """The cells would train on its CPU, two of them side by side, and say that all is well."""
    for file in devices.DEV.iterdir():
        file.unlink()
    study = study_of("fine", "fine2")
    assert main(["run", "./mine.yaml", "--gpus", "0-1"]) == 2
    said = capsys.readouterr()
    assert (
        "this machine has no GPU" in said.err
        and said.err.count("\n") == 1
        and not study.directory.exists()
    )


VERSION = """from typing import Optional
__version__ = '2.13.0{local}'
cuda: Optional[str] = {cuda}
hip: Optional[str] = {hip}
"""


@pytest.mark.parametrize(
    ("local", "cuda", "hip", "build"),
    [
        ("+cpu", None, None, "2.13.0+cpu"),
        ("", None, None, "2.13.0"),  # the wheels of some systems have no +cpu
        ("+cu126", "12.6", None, ""),
        ("", "13.0", None, ""),
        ("+rocm7.1", None, "7.1.25424", ""),
    ],
)
def test_gpus_and_a_torch_for_cpus_are_refused(
    local: str,
    cuda: str | None,
    hip: str | None,
    build: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    study_of: Callable[..., Study],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every cell would train on the CPU. The driver does not import torch to know."""
    (tmp_path / "torch").mkdir()
    version = VERSION.format(local=local, cuda=repr(cuda), hip=repr(hip))
    (tmp_path / "torch" / "version.py").write_text(version)
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "torch" / "__init__.py"))
    monkeypatch.setattr(devices, "find_spec", lambda name: spec)
    monkeypatch.setattr(devices, "cpu_build", CPU_BUILD)
    assert devices.cpu_build() == build
    study = study_of("fine")
    assert main(["run", "./mine.yaml", "--gpus", "0"]) == (2 if build else 0)
    error = capsys.readouterr().err
    if build:
        assert f"torch {build} is a build for CPUs" in error and error.count("\n") == 1
        assert not study.directory.exists()


def test_the_torch_that_is_here_is_what_it_says() -> None:
    import torch

    built = torch.version.cuda or torch.version.hip
    assert CPU_BUILD() == ("" if built else torch.__version__)


@pytest.mark.parametrize("built", [None, "13.0"])
def test_a_cell_that_was_given_a_gpu_does_not_train_on_the_cpu(
    built: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver of NVIDIA's that is too old, say: torch then finds no CUDA device."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", built)
    assert device_kind(tiny()) == "cpu"
    for name, value in environment_of(tiny(), None, ("3",), None).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="driver may be too old" if built else "CUDA build"):
        device_kind(tiny())
    assert device_kind(tiny("trainer.accelerator=cpu")) == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_kind(tiny()) == "cuda"


@pytest.mark.parametrize(
    ("base", "arguments", "visible", "line"),
    [
        ([], ["--parallel", "2"], None, "the 2 cells at a time all use GPU 0"),
        ([], ["--parallel", "9"], "GPU-8,GPU-9", "the 2 cells at a time all use GPU GPU-8"),
        (["trainer.accelerator=gpu"], ["--parallel", "2"], "3", "all use GPU 3"),
        (["trainer.accelerator=cpu"], ["--parallel", "2"], None, ""),
        ([], ["--parallel", "2"], "", ""),
        ([], [], None, ""),
        ([], ["--gpus", "all", "--parallel", "2"], None, ""),
    ],
)
def test_cells_side_by_side_on_one_gpu_are_announced(
    base: list[str],
    arguments: list[str],
    visible: str | None,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    study_of: Callable[..., Study],
    capfd: pytest.CaptureFixture[str],
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    study_of("fine", "fine2", base=base)
    assert main(["run", "./mine.yaml", *arguments]) == 0
    output = capfd.readouterr().out
    assert ("without --gpus" in output) == bool(line) and line in output


def test_parallel_is_what_fits(study_of: Callable[..., Study]) -> None:
    study, timed = study_of("fine"), study_of("fine", timed=True)
    assert Options().at_once(study) == 1 and Options(parallel=3).at_once(study) == 3
    assert Options(gpus=GPUS, gpus_per_cell=3).at_once(study) == 2
    assert Options(gpus=GPUS, parallel=4).at_once(study) == 4
    assert Options(gpus=GPUS).at_once(timed) == 1
    assert Options(gpus=GPUS, cells_per_gpu=3).at_once(study) == 24


def test_cells_are_packed_on_disjoint_gpus_which_are_given_back(
    study_of: Callable[..., Study],
) -> None:
    study = study_of(*(f"packed{i}" for i in range(5)), "fails")
    assert main(["run", "./mine.yaml", "--gpus", "0,2,5-6", "--gpus-per-cell", "2"]) == 1
    used, held = set(), set()
    for line in (study.directory / "events").read_text().splitlines():
        word, gpus = line.split()
        assert (gpus in held) == (word == "end"), "two cells at once on one GPU"
        held ^= {gpus}
        used.add(gpus)
    assert used == {"0,2", "5,6"} and not held
    assert "RuntimeError" in result(study.cells[-1])["error"]


def test_cells_that_share_a_gpu_are_spread_and_no_more_than_asked_for(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of(*(f"packed{i}" for i in range(6)))
    assert main(["run", "./mine.yaml", "--gpus", "2,0", "--cells-per-gpu", "2"]) == 0
    first = re.findall(r"started on GPU (\d)", capfd.readouterr().out)[:4]
    assert first == ["2", "0", "2", "0"]
    lines = [line.split() for line in (study.directory / "events").read_text().splitlines()]
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for word, gpu in lines:
        running[gpu] += 1 if word == "start" else -1
        most[gpu] = max(most[gpu], running[gpu])
    assert set(most) == {"0", "2"} and max(most.values()) <= 2


def test_the_emptiest_gpu_comes_first() -> None:
    free = {"0": 2, "GPU-1": 2, "3": 2}
    assert [devices.take_gpus(free, 1) for _ in range(4)] == [("0",), ("GPU-1",), ("3",), ("0",)]
    devices.give_back(free, ("3",))
    assert devices.take_gpus(free, 1) == ("3",)
    assert devices.take_gpus(free, 2) == ("GPU-1", "3")
    assert free == {"0": 0, "GPU-1": 0, "3": 0}


def test_a_timed_study_shares_no_gpu(
    study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study_of("fine", timed=True)
    assert main(["run", "./mine.yaml", "--gpus", "0", "--cells-per-gpu", "2"]) == 2
    assert "drop --cells-per-gpu 2" in capsys.readouterr().err


def test_a_cell_s_environment() -> None:
    alone, pair = tiny(), tiny("trainer.devices=2", "trainer.strategy=ddp")
    assert environment_of(alone, None, (), None) == {}
    assert environment_of(alone, 6, (), None) == {"OMP_NUM_THREADS": "6"}
    assert environment_of(pair, 6, ("3", "1"), 12345) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "3,1", "OMP_NUM_THREADS": "3", "MASTER_PORT": "12345",
        "REFORMER_PL_GPU": "1",
    }  # fmt: skip
    assert environment_of(pair, 1, (), None)["OMP_NUM_THREADS"] == "1"


def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_per_cell(1) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads_per_cell(3) == 2 and threads_per_cell(8) == 1


def test_a_free_port_is_nobody_s() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = {listener.getsockname()[1]}
        for _ in range(20):
            taken.add(port := free_port(taken))
        assert len(taken) == 21 and 1024 <= port < 65536


def test_a_port_that_was_taken_meanwhile_costs_one_more_start(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine", "clashes", "clashes-always", base=["trainer=ddp", "trainer.devices=2"])
    assert main(["run", "./mine.yaml", "--parallel", "3"]) == 1
    assert [begun(cell) for cell in study.cells] == [1, 2, 2]
    assert [result(cell)["status"] for cell in study.cells] == ["ok", "ok", "failed"]
    assert (
        "EADDRINUSE" in result(study.cells[2])["error"]
        and capfd.readouterr().out.count("was taken meanwhile") == 2
    )
    ports = [
        [line.split()[1] for line in log(cell).splitlines() if line.startswith("port")]
        for cell in study.cells
    ]
    assert [len(set(tries)) for tries in ports] == [1, 2, 2] and len(
        {tries[0] for tries in ports}
    ) == 3


def test_a_cell_of_one_process_is_not_started_again_for_a_port(
    study_of: Callable[..., Study],
) -> None:
    study = study_of("clashes")
    assert (
        main(["run", "./mine.yaml"]) == 1
        and begun(study.cells[0]) == 1
        and "port None" in log(study.cells[0])
    )
