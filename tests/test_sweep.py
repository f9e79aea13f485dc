"""The sweep under real faults: cells that fail, are killed or hang, drivers that are killed or interrupted. Then the real smoke study.

The cells of most tests are a small script in the place of `experiments.train`, so that a fault costs milliseconds.
"""

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console

from ablations.__main__ import main
from ablations.launch.local import progress, sweep
from ablations.launch.local.launcher import Local
from ablations.launch.options import Options
from ablations.launch.run import run
from ablations.study import Study, compose_cells, load_study
from experiments.run_dir.lock import is_running
from fake_cells import ROOT, alive, begun, driver, pids, result, until
from reformer_pl.config import to_dict
from warm import output_of


def test_failures_are_data_and_the_sweep_goes_on(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("hangs", "fails", "killed", "fine")
    hangs, fails, killed, fine = study.cells
    assert main(["run", "./mine.yaml", "--parallel", "2", "--timeout", "4"]) == 1
    assert "1 of 4 cells ok" in capfd.readouterr().out
    assert {cell.name: result(cell)["status"] for cell in study.cells} == {
        "hangs": "timeout", "fails": "failed", "killed": "failed", "fine": "ok",
    }  # fmt: skip
    assert result(fails)["error"] == "exit code 1: RuntimeError: shapes do not fit"
    assert result(killed)["error"].startswith("killed by SIGKILL") and result(hangs)[
        "error"
    ].startswith("stopped after ")
    assert result(fails)["loss_nats"] is None and (hangs.directory / "saved").exists()
    until(lambda: not any(alive(pid) for pid in pids(hangs)))  # its child had ignored SIGINT

    assert main(["status", "./mine.yaml"]) == 0
    assert "| RuntimeError: shapes do not fit" in capfd.readouterr().out

    (study.directory / "go").touch()  # the cause of the failures is mended
    assert main(["run", "./mine.yaml"]) == 1, "without --retry a failure stays"
    assert [begun(cell) for cell in study.cells] == [1, 1, 1, 1]
    assert main(["run", "./mine.yaml", "--retry"]) == 0
    assert [begun(cell) for cell in study.cells] == [2, 2, 2, 1], "the finished cell was run again"
    assert "begun again" in (hangs.directory / "log.txt").read_text()
    assert all(result(cell)["status"] == "ok" for cell in study.cells)
    assert begun(fine) == 1 and main(["run", "./mine.yaml"]) == 0 and begun(fine) == 1


def test_a_killed_driver_takes_its_cells_along(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("hangs", "fine")
    hangs = study.cells[0]
    first = driver("run", "./mine.yaml")
    cell_pid, child_pid = pids(hangs)
    assert main(["run", "./mine.yaml"]) == 2
    said = capfd.readouterr().err
    assert f"study mine is being run by process {first.pid}" in said and said.count("\n") == 1
    assert main(["status", "./mine.yaml"]) == 0
    assert "running" in capfd.readouterr().out

    first.kill()
    first.communicate()
    until(lambda: not alive(cell_pid))
    # A process of the group that neither died nor noticed still writes into the run: nobody starts a second one beside it.
    assert alive(child_pid) and is_running(hangs.directory)
    assert main(["run", "./mine.yaml"]) == 2
    assert "still running without its driver" in capfd.readouterr().err
    os.kill(child_pid, signal.SIGKILL)
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml"]) == 0


def test_ctrl_c_leaves_cells_that_resume(study_of: Callable[..., Study]) -> None:
    study = study_of("hangs", "hangs2", "fine")
    running = driver("run", "./mine.yaml", "--parallel", "2")
    processes = pids(study.cells[0]) + pids(study.cells[1])
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=120)[0]
    assert (
        running.returncode == 130 and "the same command resumes" in said and "Traceback" not in said
    )
    assert not any(alive(pid) for pid in processes)
    assert all((cell.directory / "saved").exists() for cell in study.cells[:2])
    assert not any((cell.directory / "result.json").exists() for cell in study.cells)
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml", "--parallel", "2"]) == 0
    assert [begun(cell) for cell in study.cells] == [2, 2, 1]


def test_a_second_ctrl_c_kills_at_once(study_of: Callable[..., Study]) -> None:
    study = study_of("stubborn")
    running = driver("run", "./mine.yaml")
    processes = pids(study.cells[0])
    running.send_signal(signal.SIGINT)
    assert running.stdout is not None
    while "Ctrl-C again" not in running.stdout.readline():
        assert running.poll() is None
    assert all(alive(pid) for pid in processes)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130 and not any(alive(pid) for pid in processes)


def test_a_cell_that_ignores_the_timeout_is_killed(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "GRACE_SECONDS", 0.3)
    study = study_of("stubborn")
    assert main(["run", "./mine.yaml", "--timeout", "2"]) == 1
    assert result(study.cells[0])["status"] == "timeout" and not any(
        alive(pid) for pid in pids(study.cells[0])
    )


def test_a_cell_of_another_config_is_not_taken_for_this_one(
    study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine")
    config = compose_cells(study)[0]
    (place := study.cells[0].directory).mkdir(parents=True)
    (place / "config.yaml").write_text(
        yaml.safe_dump({**json.loads(json.dumps(to_dict(config))), "out_dir": "moved"})
    )
    assert main(["run", "./mine.yaml"]) == 0
    config.optim.lr, config.model.d_ff = 0.5, 512
    (place / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    assert main(["run", "./mine.yaml"]) == 2
    said = capsys.readouterr().err
    assert "model.d_ff 512 -> 256, optim.lr 0.5 -> 0.001)" in said and said.count("\n") == 1
    assert result(study.cells[0])["status"] == "ok"


def test_threads_are_divided_and_a_cell_that_cannot_start_is_told(
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    study = study_of("fine", "barred")
    (study.directory / "barred").parent.mkdir(parents=True)
    (study.directory / "barred").write_text("a file where the cell's directory should be")
    assert main(["run", "./mine.yaml", "--parallel", "3"]) == 1
    assert (
        "threads 3" in (study.cells[0].directory / "log.txt").read_text()
    )  # 6 among the two cells there are
    assert "barred seed=0: failed to start" in capfd.readouterr().out


def test_a_cell_that_resumes_alone_keeps_its_number_of_threads(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another number its sums would be rounded otherwise, and the table would not be that of an undisturbed sweep."""
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    study = study_of("fine", "fails")
    assert main(["run", "./mine.yaml", "--parallel", "2"]) == 1
    assert main(["run", "./mine.yaml", "--parallel", "2", "--retry"]) == 1
    said = (study.cells[1].directory / "log.txt").read_text()
    assert begun(study.cells[1]) == 2 and said.count("threads 3") == 2


def test_progress_on_a_terminal_and_off_it(
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0)
    study = study_of("hangs")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    run([study], Options(timeout_seconds=2), Local(console))
    assert "mine: 0 done, 1 running, 0 failed, 0 waiting" in screen.getvalue()
    assert (
        "20/1000" in screen.getvalue()
        and "0.100" in screen.getvalue()
        and "1:38" in screen.getvalue()
    )
    run([study], Options(timeout_seconds=2, retry=True), Local())
    said = capfd.readouterr().out
    assert "hangs seed=0: step 20/1000, loss 1.5000, 0.100 s/step, 1:38 left" in said
    assert "mine: 0 done, 1 running, 0 failed, 0 waiting, 0:0" in said and "about 1:38 left" in said


def test_the_smoke_study_from_grid_to_report(tmp_path: Path) -> None:
    """The real cells: four kinds of attention train, and every one is a row of results.csv."""
    runs = ["--runs-dir", str(tmp_path)]
    output_of(["-m", "ablations", "run", "smoke", "--parallel", "2", *runs], ROOT, tmp_path / "log")
    assert main(["report", "smoke", *runs]) == 0
    study = load_study("smoke", tmp_path)
    table = pd.read_csv(study.directory / "report" / "results.csv")
    assert list(table["cell"]) == ["full", "shared_full", "lsh", "local"] and set(
        table["status"]
    ) == {"ok"}
    assert (
        table[["steps", "loss_nats", "accuracy", "peak_memory_gib", "step_seconds", "parameters"]]
        .notna()
        .all(axis=None)
    )
    for cell in study.cells:
        rows = [
            json.loads(line) for line in (cell.directory / "metrics.jsonl").read_text().splitlines()
        ]
        assert rows and {row["split"] for row in rows} == {"train", "valid"}


def test_folders_of_the_user_that_are_named_as_the_project_s_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Real cells, started where the user has packages `experiments` and `ablations` of their own."""
    monkeypatch.chdir(tmp_path)
    for name in ("experiments", "ablations", "reformer_pl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong folder')")
    values = {
        "base": ["experiment=smoke", "trainer.max_steps=2", "trainer.eval_every_steps=2"],
        "axes": {"model.attention": ["local"]},
    }
    Path("mine.yaml").write_text(json.dumps(values))
    assert main(["run", "./mine.yaml"]) == 0, capfd.readouterr().out


def test_a_finished_study_gains_an_evaluation_without_training(tmp_path: Path) -> None:
    """The real cell again: a column added to the study is scored from the checkpoint, and the trained numbers stay as they are."""
    values = {
        "base": ["experiment=smoke"],
        "axes": {"model.attention": ["lsh"]},
        "evaluations": {"LSH-1": ["model.lsh.n_hashes=1"]},
    }
    path, runs = tmp_path / "mine.yaml", ["--runs-dir", str(tmp_path)]
    command = ["-m", "ablations", "run", str(path), *runs]
    before = b""
    for name in ("LSH-1", "LSH-8"):
        values["evaluations"][name] = [f"model.lsh.n_hashes={name[-1]}"]
        path.write_text(json.dumps(values))
        output_of(command, ROOT, tmp_path / f"log of {name}")
        (cell,) = load_study(path, tmp_path).cells
        result = (cell.directory / "result.json").read_bytes()
        assert before in (b"", result)
        before = result
        assert main(["report", str(path), *runs]) == 0
        table = pd.read_csv(tmp_path / "mine" / "report" / "results.csv")
        assert list(table["eval"]) == list(values["evaluations"]) and set(table["status"]) == {"ok"}
    printed = output_of(command, ROOT, tmp_path / "log of nothing")
    assert "1 cells, 1 already done, 0 to run" in printed
