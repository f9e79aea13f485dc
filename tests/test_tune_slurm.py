"""A study that tunes on SLURM submits what is known; the same command submits the rest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.launch import run as launch_run
from ablations.study import Study, load_study
from ablations.study.tune.final_cells import stages
from test_slurm import cluster as cluster
from test_slurm import queue, submit
from test_tune_report import SCORES, finish
from test_tune_report import tuned as tuned

ASKED = {"tune_seeds": [0], "seeds": [0, 1]}


def submitted() -> list[Path]:
    """The directories of the cells that have a job."""
    return sorted(path.parent for path in Path("runs/mine").glob("*/*/slurm.json"))


def directories(study: Study) -> list[Path]:
    return sorted({cell.directory for cell in study.cells})


def test_the_same_command_submits_the_rest(
    cluster: Path, tuned: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    tuning = stages(tuned(**ASKED))[0]
    assert submit() == 0
    printed = capfd.readouterr().out
    assert "9 to submit" in printed and "6 final cells, 0 known, 6 to come" in printed
    assert "6 final cells wait for the tuning cells of Full, LSH-2, LSH-1" in printed
    assert submitted() == directories(tuning)
    queue(**{f"c{i}": (cell, "RUNNING", "None") for i, cell in enumerate(tuning.cells)})
    assert submit() == 0 and "9 with SLURM, 0 to submit" in capfd.readouterr().out
    assert submitted() == directories(tuning)

    of_full = tuple(cell for cell in tuning.cells if cell.train.startswith("Full"))
    finish(replace(tuning, cells=of_full), SCORES)
    others = [cell for cell in tuning.cells if cell not in of_full]
    queue(**{f"c{i}": (cell, "RUNNING", "None") for i, cell in enumerate(others)})
    assert submit() == 0
    printed = capfd.readouterr().out
    assert "Full: lr=0.002" in printed and "2 cells, 1 already done" in printed
    assert submitted() == sorted([*directories(tuning), Path("runs/mine/Full/seed=1")])


def test_wait_submits_the_final_cells_too(
    cluster: Path, tuned: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(**ASKED)
    rounds = []

    def sleep(seconds: float) -> None:
        """Each look at the queue finds what was submitted ended."""
        rounds.append(len(submitted()))
        for stage in stages(load_study("./mine.yaml")):
            with_jobs = (cell for cell in stage.cells if cell.directory in submitted())
            finish(replace(stage, cells=tuple(with_jobs)), SCORES)
        Path("queue").write_text("")

    monkeypatch.setattr(launch_run.time, "sleep", sleep)
    monkeypatch.setattr("ablations.launch.jobs.is_lost", lambda cell, job: False)
    real = launch_run.settle

    def settle(cells: object) -> object:
        jobs = real(cells)
        return {
            cell: job
            if (cell.directory / "result.json").exists()
            else launch_run.Job(job.id, "running", launcher=job.launcher)
            for cell, job in jobs.items()
        }

    monkeypatch.setattr(launch_run, "settle", settle)
    assert submit("--wait") == 0
    assert rounds == [9, 12], "the tuning cells, then those of the other seed"
