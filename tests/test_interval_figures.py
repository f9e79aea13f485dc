"""Bars and bands of figures are the intervals of the tables, and their captions say so."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ablations.report.drawing.figure import Drawing
from ablations.report.interval import mean_interval
from ablations.report.words import build_part
from ablations.results import load_cells, load_curves
from ablations.study import Study
from test_disturbed import change, of_label
from test_interval import VARIANTS, made_up
from test_report import duplication_study, fail, memory_study


def figures_of(study: Study, word: str) -> dict[str, Drawing]:
    return {drawn.name: drawn for drawn in build_part(word, study, load_cells(study)).figures}


def bars_of(figure: Figure) -> dict[float, tuple[float, float]]:
    """The vertical lines of two points, by their place: their ends, rounded."""
    lines = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    return {
        round(float(line[0, 0]), 3): tuple(np.round(line[:, 1], 6))
        for line in lines
        if line[0, 0] == line[1, 0]
    }


@pytest.mark.parametrize("seeds", [[0, 1], [0, 1, 2]])
def test_the_bars_of_loss_memory_are_intervals_and_n_is_in_the_caption(
    tmp_path: Path, seeds: list[int]
) -> None:
    study = made_up(tmp_path, seeds)
    drawing = figures_of(study, "loss_memory")["loss_memory"]
    bars = bars_of(drawing.figure)
    for _, bits, mebibytes, _ in VARIANTS.values():
        expected = mean_interval(bits[: len(seeds)])
        assert bars[round(mebibytes, 3)] == pytest.approx(expected, abs=1e-5)
    assert f"bar: 95 % interval of Student's t over n = {len(seeds)} seeds" in drawing.caption


def test_a_variant_of_fewer_seeds_is_named_and_one_seed_has_no_bar(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    for seed in (1, 2):
        cell = next(c for c in study.cells if (c.train, c.seed) == ("LSH-1", seed))
        fail(cell.directory, "oom", "out of memory")
    figures = figures_of(study, "loss_memory") | figures_of(study, "hash_rounds")
    for drawing in figures.values():
        assert "over n = 3 seeds (LSH-1: 1)" in drawing.caption
    bars = bars_of(figures["loss_memory"].figure)
    assert 40.0 not in bars and {60.0, 80.0} <= set(bars)


def test_times_have_bars_over_seeds_and_over_the_steps_of_one_seed(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    study = memory_study(tmp_path, [0, 1])
    for cell in study.cells:
        if cell.train == "Transformer":
            change(cell, step_seconds=0.31 + 0.01 * cell.seed)
    drawing = figures_of(study, "loss_memory")["time_memory"]
    ends = bars_of(drawing.figure)[212.4]
    assert ends == pytest.approx(mean_interval([0.31, 0.32]), abs=1e-5)
    assert "interval of Student's t over n = 2 seeds" in drawing.caption
    study = memory_study(tmp_path / "one", [0])
    change(of_label(study, "Transformer"), step_seconds_q1=0.30, step_seconds_q3=0.33)
    drawing = figures_of(study, "loss_memory")["time_memory"]
    assert bars_of(drawing.figure)[212.4] == pytest.approx((0.30, 0.33))
    assert "Bar of one seed: the quartiles of its steps." in drawing.caption
    assert "Student" not in drawing.caption


def test_the_bars_of_the_curves_are_intervals_of_the_last_differences(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0, 1, 2])
    drawing = figures_of(study, "learning_curves")["learning_curves"]
    assert "95 % interval of Student's t over n = 3 seeds" in drawing.caption
    curves = load_curves(study).query("split == 'valid' and step == 400")
    accuracy = 100 * curves.pivot(index="seed", columns="train", values="accuracy")
    expected = mean_interval(accuracy["LSH-1"] - accuracy["Full"])
    lines = [line.get_xydata() for axes in drawing.figure.axes for line in axes.lines]
    upright = [line[:, 1] for line in lines if len(line) == 2 and line[0, 0] == line[1, 0]]
    assert any(ends == pytest.approx(expected, abs=1e-5) for ends in upright)


def test_the_heat_map_says_where_its_intervals_stand(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0, 1])
    caption = figures_of(study, "train_eval")["train_eval"].caption
    assert "the table has their 95 % interval of Student's t over n = 2 seeds." in caption
