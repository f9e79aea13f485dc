"""Each cell gets GPUs, threads and a port of its own; what cannot be is refused in one line before anything starts."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.launch import machine as devices
from ablations.launch.machine import environment_of, free_port, read_gpus, threads_per_cell
from ablations.launch.options import Options
from ablations.study import Study
from fake_cells import begun, result
from tiny import tiny


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor is it the machine's fault: it has a GPU."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(devices, "DEV", tmp_path / "dev")
    for name in ("CUDA_VISIBLE_DEVICES", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def log(cell: object) -> str:
    return (cell.directory / "log.txt").read_text()


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("0", (0,)),
        ("0-7", tuple(range(8))),
        ("0,2,5-7", (0, 2, 5, 6, 7)),
        ("3-3", (3,)),
        (" 1, 0 ", (1, 0)),
    ],
)
def test_gpus_are_numbers_and_ranges(text: str, gpus: tuple[int, ...]) -> None:
    assert read_gpus(text) == gpus


REFUSED = {
    "twice": (["--gpus", "0,2,1-3"], "names GPU 2 twice"),
    "a range that goes down": (["--gpus", "7-0"], "no range of GPUs"),
    "negative": (["--gpus", "-1"], "not understood at '-1'"),
    "words": (["--gpus", "all"], "not understood at 'all'"),
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
    (devices.DEV / "nvidia0").unlink()
    study = study_of("fine", "fine2")
    assert main(["run", "./mine.yaml", "--gpus", "0-1"]) == 2
    said = capsys.readouterr()
    assert (
        "this machine has no GPU" in said.err
        and said.err.count("\n") == 1
        and not study.directory.exists()
    )


def test_gpus_outside_the_driver_s_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert Options(gpus=(4, 6)).share == 1
    with pytest.raises(ValueError, match="GPU 0 is not among CUDA_VISIBLE_DEVICES=4,5,6,7"):
        Options(gpus=(0, 4))


def test_parallel_is_what_fits(study_of: Callable[..., Study]) -> None:
    study, timed = study_of("fine"), study_of("fine", timed=True)
    assert Options().at_once(study) == 1 and Options(parallel=3).at_once(study) == 3
    assert Options(gpus=tuple(range(8)), gpus_per_cell=3).at_once(study) == 2
    assert Options(gpus=tuple(range(8)), parallel=4).at_once(study) == 4
    assert Options(gpus=tuple(range(8))).at_once(timed) == 1


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


def test_a_cell_s_environment() -> None:
    alone, pair = tiny(), tiny("trainer.devices=2", "trainer.strategy=ddp")
    assert environment_of(alone, None, (), None) == {}
    assert environment_of(alone, 6, (), None) == {"OMP_NUM_THREADS": "6"}
    assert environment_of(pair, 6, (3, 1), 12345) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "3,1", "OMP_NUM_THREADS": "3", "MASTER_PORT": "12345",
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
