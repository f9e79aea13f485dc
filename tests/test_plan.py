"""How `plan` ends: the cells, the largest prediction, the time that is left, the free disk."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.launch.pace import whole_seconds
from ablations.launch.views import plan
from ablations.launch.views.plan import free_disk, plan_end
from ablations.study import Study, compose_cells
from grid_study import STEPS, grid_study, running
from reformer_pl.config import RunConfig


class Predicted:
    """In the place of predictions, which take seconds: 0.01 GiB, and 2 GiB of full attention."""

    def of(self, config: RunConfig) -> dict[str, float]:
        return {"total": 2.0 if config.model.attention == "full" else 0.01}


def end_of(study: Study) -> list[str]:
    return plan_end(study, compose_cells(study), Predicted())  # type: ignore[arg-type]


def test_the_end_of_plan_sums_cells_memory_time_and_disk(tmp_path: Path) -> None:
    study = grid_study(tmp_path, 12, 2, endings={(1, 0): "running", (2, 1): "waiting"})
    with running(study):
        cells, memory, time, disk = end_of(study)
    assert cells == "grid: 24 cells: 22 ok, 1 running, 1 waiting"
    assert memory == f"memory: 2.00 GiB predicted at most, by {study.cells[0]}"
    seconds = {cell: whole_seconds(cell) for cell in study.cells}
    left = sum(
        share * next(seconds[other] for other in study.cells if alike(other, cell))
        for cell, share in ((study.cells[1], 0.45), (study.cells[12 + 2], 1.0))
    )
    minutes, rest = divmod(round(left), 60)
    assert time.startswith(
        f"time: about {minutes}:{rest:02d} (h:mm:ss) for what is not ok yet (2 cells)"
    )
    assert time.endswith("one cell at a time, at the pace of 22 cells that ended well")
    assert disk.startswith("disk: ") and disk.endswith(f"free at {study.directory.resolve()}")


def alike(other: object, cell: object) -> bool:
    return other != cell and other.train == cell.train  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("endings", "text"),
    [
        ({}, "time: every cell is done, in "),
        (dict.fromkeys([(i, 0) for i in range(4)], "waiting"), "time: not known, for no cell"),
        ({(0, 0): "failed"}, "for what is not ok yet (1 cell)"),
    ],
)
def test_the_time_of_a_study_that_is_done_not_begun_or_failed(
    tmp_path: Path, endings: dict[tuple[int, int], str], text: str
) -> None:
    assert text in end_of(grid_study(tmp_path, 4, 1, endings=endings))[2]


def test_a_cell_takes_what_its_clock_says_or_its_parts_where_it_was_resumed(
    tmp_path: Path,
) -> None:
    study = grid_study(tmp_path, 4, 1, endings={(1, 0): "failed"})
    directory = study.cells[0].directory
    result = json.loads((directory / "result.json").read_text())
    parts = 4.2 + 1.6 + STEPS * result["step_seconds"]
    assert whole_seconds(study.cells[0]) == pytest.approx(parts)
    session = json.dumps({"step": 1, "started_at": "2026-11-21T11:58:30+00:00"}) + "\n"
    (directory / "sessions.jsonl").write_text(session)
    assert whole_seconds(study.cells[0]) == 90
    (directory / "sessions.jsonl").write_text(2 * session)
    assert whole_seconds(study.cells[0]) == pytest.approx(parts), "it waited in between"
    (directory / "sessions.jsonl").write_text(json.dumps({"step": 1, "started_at": 3}) + "\n")
    assert whole_seconds(study.cells[0]) == pytest.approx(parts), "a damaged clock"
    assert whole_seconds(study.cells[1]) is None


def test_free_disk_of_a_folder_that_is_not_made_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    for free, text in ((2**29, "512 MiB"), (3 * 2**40, "3072 GiB")):
        monkeypatch.setattr(plan.shutil, "disk_usage", lambda place, free=free: usage(free))
        assert free_disk(tmp_path / "runs" / "x") == f"disk: {text} free at {tmp_path}"
    assert shutil is plan.shutil


def test_pasted_into_a_shell_the_end_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ablations.__main__.Predictions", lambda *options: Predicted())
    grid_study(tmp_path, 4, 1)
    assert main(["plan", str(tmp_path / "grid.yaml"), "--runs-dir", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 4 + 4 and all(line.startswith("# ") for line in lines[-4:])
