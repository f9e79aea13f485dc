"""More of what a driver survives: a full disk, cells out of memory, and a second driver. For SIGKILL see tests/test_kill.py."""

import os
import signal
from collections.abc import Callable

import pytest

from ablations.__main__ import main
from ablations.study import Study
from fake_cells import alive, begun, driver, pids, result


def test_a_cell_out_of_memory_is_a_row_that_says_so(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("oom", "fine", "aborts")
    assert main(["run", "./mine.yaml"]) == 1
    assert [result(cell)["status"] for cell in study.cells] == ["oom", "ok", "oom"]
    assert "oom seed=0: oom in 0:0" in capfd.readouterr().out
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml", "--retry"]) == 0 and [
        begun(cell) for cell in study.cells
    ] == [2, 1, 2]


def test_a_full_disk_is_told_and_the_sweep_goes_on(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    """/dev/full refuses every write with ENOSPC: a cell's checkpoint, and of another cell what the driver writes about its failure."""
    study = study_of("disk-full", "fails", "fine")
    disk_full, fails, fine = study.cells
    fails.directory.mkdir(parents=True)
    (fails.directory / f"result.json.{os.getpid()}.partial").symlink_to("/dev/full")
    assert main(["run", "./mine.yaml"]) == 1
    said = capfd.readouterr().out
    assert (
        "fails seed=0: failed, which cannot be recorded: [Errno 28] No space left on device" in said
    )
    assert result(disk_full)["error"] == "exit code 1: OSError: [Errno 28] No space left on device"
    assert result(fine)["status"] == "ok" and not (fails.directory / "result.json").exists()
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml"]) == 1 and result(fails)["status"] == "ok", (
        "what could not be recorded is unfinished"
    )
    assert main(["run", "./mine.yaml", "--retry"]) == 0 and [
        begun(cell) for cell in study.cells
    ] == [2, 2, 1]
    assert not list(study.directory.rglob("*.partial"))


def test_a_study_whose_lock_cannot_be_written_is_refused(
    study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine")
    study.directory.mkdir(parents=True)
    (study.directory / ".lock").symlink_to("/dev/full")
    assert main(["run", "./mine.yaml"]) == 2
    said = capsys.readouterr().err
    assert "cannot write below runs/mine" in said and "--runs-dir" in said and said.count("\n") == 1


def test_two_drivers_share_no_cell(study_of: Callable[..., Study]) -> None:
    study = study_of("hangs", "fine")
    first = driver("run", "./mine.yaml")
    cell_pid, _ = pids(study.cells[0])
    second = driver("run", "./mine.yaml")
    assert (
        f"is being run by process {first.pid}" in second.communicate(timeout=120)[0]
        and second.returncode == 2
    )
    assert alive(cell_pid) and begun(study.cells[0]) == 1
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml"]) == 0 and [begun(cell) for cell in study.cells] == [2, 1]
