"""More of what a driver survives: a full disk, cells out of memory, and two SIGKILLs in a study of 24 cells that train."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ablations.__main__ import main
from ablations.results import load_results
from ablations.study import Study, load_study
from fake_cells import alive, begun, driver, pids, result, until

ROUNDS = (1, 2, 4)


def test_a_cell_out_of_memory_is_a_row_that_says_so(study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]) -> None:
    study = study_of("oom", "fine")
    assert main(["run", "./mine.yaml"]) == 1
    assert [result(cell)["status"] for cell in study.cells] == ["oom", "ok"]
    assert "oom seed=0: oom in 0:0" in capfd.readouterr().out
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml", "--retry"]) == 0 and [begun(cell) for cell in study.cells] == [2, 1]


def test_a_full_disk_is_told_and_the_sweep_goes_on(study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]) -> None:
    """/dev/full refuses every write with ENOSPC: a cell's checkpoint, and of another cell what the driver writes about its failure."""
    study = study_of("disk-full", "fails", "fine")
    disk_full, fails, fine = study.cells
    fails.directory.mkdir(parents=True)
    (fails.directory / "result.json.partial").symlink_to("/dev/full")
    assert main(["run", "./mine.yaml"]) == 1
    said = capfd.readouterr().out
    assert "fails seed=0: failed, which cannot be recorded: [Errno 28] No space left on device" in said
    assert result(disk_full)["error"] == "exit code 1: OSError: [Errno 28] No space left on device"
    assert result(fine)["status"] == "ok" and not (fails.directory / "result.json").exists()
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml"]) == 1 and result(fails)["status"] == "ok", "what could not be recorded is unfinished"
    assert main(["run", "./mine.yaml", "--retry"]) == 0 and [begun(cell) for cell in study.cells] == [2, 2, 1]
    assert not list(study.directory.rglob("*.partial"))


def test_a_study_whose_lock_cannot_be_written_is_refused(study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]) -> None:
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
    assert f"is being run by process {first.pid}" in second.communicate(timeout=30)[0] and second.returncode == 2
    assert alive(cell_pid) and begun(study.cells[0]) == 1
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml"]) == 0 and [begun(cell) for cell in study.cells] == [2, 1]


def test_a_study_of_24_cells_survives_two_sigkills_of_its_driver(study_of: Callable[..., Study]) -> None:
    """4 variants x 3 rounds x 2 seeds: the same tables as of a study that nothing disturbed, and what was finished is not run again."""
    names = [f"trains-{variant}" for variant in "abcd"]
    axes = {"train": {name: [] for name in names}, "model.lsh.n_hashes": list(ROUNDS)}
    study = study_of(axes=axes, seeds=[0, 1])
    assert len(study.cells) == 24
    finished: dict[str, int] = {}
    for at_least in (6, 14):
        running = driver("run", "./mine.yaml", "--parallel", "2")
        until(lambda at_least=at_least: len(list(study.directory.rglob("result.json"))) >= at_least, 60)
        running.kill()
        running.communicate()
        for cell in study.cells:
            if (cell.directory / "result.json").exists():
                assert finished.setdefault(str(cell), begun(cell)) == begun(cell), f"{cell} was finished, and ran again"
    assert 14 <= len(finished) < 24
    assert main(["run", "./mine.yaml", "--parallel", "2"]) == 0
    assert all(begun(cell) == finished.get(str(cell), begun(cell)) for cell in study.cells)
    whole = load_study("./mine.yaml", Path("undisturbed"))
    for cell in whole.cells:  # each command once, without a driver
        cell.directory.mkdir(parents=True)
        subprocess.run(cell.command(), check=True, stdout=subprocess.DEVNULL)
    columns = ["cell", "seed", "eval", "status", "steps", "loss_nats"]
    pd.testing.assert_frame_equal(load_results(study)[columns], load_results(whole)[columns])
    assert load_results(study)["loss_nats"].nunique() == 24
