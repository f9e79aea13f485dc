"""The made-up study that reports, tables and pages are tried on."""

from collections import Counter
from pathlib import Path

import pytest

from ablations.results import load_cells, study_problems
from grid_study import grid_study, running


def test_the_grid_has_its_failures_and_is_the_same_each_time(tmp_path: Path) -> None:
    first = grid_study(tmp_path / "a", evaluations=True)
    again = grid_study(tmp_path / "b", evaluations=True)
    files = [path for path in (tmp_path / "a" / "runs").rglob("*.json*") if path.is_file()]
    assert len(files) == 66 * 4 + 5 * 2 + 1 and not study_problems(first)
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
    statuses = Counter(load_cells(again)["status"])
    assert statuses == {"ok": 66, "failed": 3, "oom": 1, "timeout": 1, "missing": 1}


@pytest.mark.parametrize(("variants", "seeds"), [(100, 1), (12, 2), (5, 3)])
def test_the_grid_has_as_many_variants_as_the_caller_wants(
    tmp_path: Path, variants: int, seeds: int
) -> None:
    study = grid_study(tmp_path, variants, seeds, runs=False, labels={"full": "50% & #_<b>"})
    assert len(study.cells) == variants * seeds
    assert len({cell.train for cell in study.cells}) == variants
    assert study.cells[0].labels[0] == "50% & #_<b>"


def test_one_cell_runs(tmp_path: Path) -> None:
    from ablations.launch.pace import state

    study = grid_study(tmp_path, numbers="model.lsh.n_hashes")
    with running(study):
        assert Counter(state(study, cell) for cell in study.cells)["running"] == 1
    assert Counter(state(study, cell) for cell in study.cells)["running"] == 0
