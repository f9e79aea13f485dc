"""Cells of equal config within a study are one run on disk, and a row each in its tables."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ablations.__main__ import main
from ablations.results import load_results
from ablations.study import Study, compose_cells, load_study
from ablations.study.runs.shared import one_cell_a_run, shared_variants
from fake_cells import begun

FULL, LSH = "model.attention=full", "model.attention=lsh"


def written(path: Path, **values: object) -> Study:
    (path / "mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return load_study("./mine.yaml")


@pytest.mark.parametrize(
    ("axes", "shared"),
    [
        ({"group": {"A": [FULL], "B": [FULL], "C": [LSH]}}, {"B": "A"}),
        # The same config in other words: a default that is written out, and another order.
        ({"group": {"A": [LSH], "B": ["model.lsh.n_hashes=1", LSH]}}, {"B": "A"}),
        ({"group": {"A": [LSH, FULL], "B": [FULL], "C": [FULL]}}, {"B": "A", "C": "A"}),
        # The baseline of each group, which another axis changes in all others.
        (
            {
                "group": {"rounds": [], "depth": ["model.n_layers=3"]},
                "change": {"none": [LSH], "change": ["model.n_layers=3", LSH]},
            },
            {"depth / none": "rounds / change", "depth / change": "rounds / change"},
        ),
        ({"optim.lr": [0.001, 0.002]}, {}),
        # Two spellings of one number.
        (
            {"optim.lr": ["0.001", "1e-3"], "train": {"A": [], "B": [FULL]}},
            {"lr=1e-3 / A": "0.001 / A", "lr=1e-3 / B": "0.001 / B"},
        ),
    ],
)
def test_variants_of_equal_config_share_their_runs(
    study_of: Callable[..., Study],
    tmp_path: Path,
    axes: dict[str, object],
    shared: dict[str, str],
) -> None:
    study_of("none")
    base = ["experiment=duplication", "model.lsh.n_hashes=1", "model.n_layers=1"]
    study = written(tmp_path, base=base, axes=axes, seeds=[0, 1])
    assert shared_variants(study) == shared
    configs = compose_cells(study)  # which compares each directory with that of the config
    runs = {(config.seed, str(config.model), str(config.optim)) for config in configs}
    assert len({cell.directory for cell in study.cells}) == len(runs)
    assert len(one_cell_a_run(study).cells) == len(runs)


def test_a_shared_cell_starts_once_and_has_a_row_of_each(
    study_of: Callable[..., Study], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study_of("none")
    axes = {"group": {"first": [FULL], "second": [FULL], "third": [LSH]}}
    study = written(tmp_path, base=["experiment=duplication"], axes=axes)
    first, second, third = study.cells
    assert main(["run", "./mine.yaml", "--dry-run"]) == 0
    printed = capfd.readouterr().out
    assert "2 cells, 2 would start" in printed and "second is the run of first" in printed
    assert main(["run", "./mine.yaml", "--parallel", "2"]) == 0
    assert "2 of 2 cells ok" in capfd.readouterr().out
    assert begun(first) == begun(third) == 1
    assert second.directory == first.directory and not (tmp_path / "runs/mine/second").exists()
    assert main(["run", "./mine.yaml"]) == 0 and begun(first) == 1
    assert main(["run", "./mine.yaml", "--force"]) == 0 and begun(first) == 1
    assert len(list((tmp_path / "runs/mine/first").iterdir())) == 2, "set aside once"
    capfd.readouterr()
    assert main(["status", "./mine.yaml"]) == 0
    printed = capfd.readouterr().out
    assert "3 cells: 3 ok" in printed and "second is the run of first: their configs" in printed


def test_a_label_that_comes_later_takes_the_run_that_is_there(
    study_of: Callable[..., Study], tmp_path: Path
) -> None:
    study_of("none")
    base = ["experiment=duplication"]
    study = written(tmp_path, base=base, axes={"group": {"old": [FULL]}})
    assert main(["run", "./mine.yaml"]) == 0
    study = written(tmp_path, base=base, axes={"group": {"new": [FULL], "old": [FULL]}})
    assert [str(cell.directory) for cell in study.cells] == ["runs/mine/old/seed=0"] * 2
    assert main(["run", "./mine.yaml"]) == 0 and begun(study.cells[0]) == 1


def test_the_rows_of_a_shared_run(
    study_of: Callable[..., Study], tmp_path: Path, stub_configs: None
) -> None:
    study_of("none")
    axes = {"group": {"first": [FULL], "second": [FULL]}}
    written(tmp_path, base=["experiment=duplication"], axes=axes)
    assert main(["run", "./mine.yaml"]) == 0
    rows = load_results(load_study("./mine.yaml"))
    assert list(rows["variant"]) == ["first", "second"] and set(rows["status"]) == {"ok"}
    assert rows["loss_nats"].nunique() == 1 and rows["directory"].nunique() == 1


def test_measured_cells_and_their_grids_share_runs(
    study_of: Callable[..., Study], tmp_path: Path
) -> None:
    study_of("none")
    lengths = {"train": {"Full": [FULL]}, "task.length": [64, 128]}
    grids = {
        "lengths": {"axes": lengths, "report": ["cost"]},
        "again": {"axes": {"train": {"Full": [FULL]}, "task.length": [128]}, "report": ["cost"]},
        "other": {"axes": lengths, "report": ["cost"], "measure": "attention"},
    }
    study = written(tmp_path, measure="step", base=["experiment=duplication"], grids=grids)
    assert shared_variants(study) == {"again / Full / length=128": "lengths / Full / length=128"}
    assert [len(grid.cells) for grid in study.grids] == [2, 1, 2]
    assert len(one_cell_a_run(study).cells) == 4


def test_tuning_cells_of_equal_config_are_one_run(
    study_of: Callable[..., Study], tmp_path: Path
) -> None:
    study_of("none")
    axes = {"group": {"first": [FULL], "second": [FULL]}}
    tune = {"optim.lr": [0.001, 0.002]}
    study = written(tmp_path, base=["experiment=duplication"], axes=axes, tune=tune, seeds=[0, 1])
    assert len({cell.directory for cell in study.tuning.grid.cells}) == 2
    assert len({cell.directory for cell in study.cells}) == 2
    assert len({cell.directory for cell in study.all_cells}) == 4
