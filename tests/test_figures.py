"""Figures know the axes of their study: colours in order, panels, limits, and room for every text."""

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from ablations.report.drawing.legend import wrapped
from ablations.report.drawing.looks import BEST_SHOWN, NOT_SHOWN, numbers_colours, variant_looks
from ablations.report.drawing.panels import limits
from ablations.report.figures.memory_points import against_memory
from ablations.report.parts import hash_rounds, learning_curves, train_eval
from ablations.report.parts.learning_curves import draw_curves
from ablations.report.winners import pareto_front
from ablations.results import load_cells, load_curves
from ablations.study import Study
from ablations.study.axes.figure_keys import FigureKeys
from reformer_pl.metrics import ACCURACY, BITS_PER_DIM
from test_report import _study as study_of
from test_report import memory_study, write_run
from tests.grid_study import grid_study


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return grid_study(tmp_path_factory.mktemp("grid"), evaluations=True)


def texts_of(figure: Figure) -> dict[Text, object]:
    """The texts that are drawn and their boxes, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    drawn = (text for text in figure.findobj(Text) if text.get_text().strip())
    boxes = {text: text.get_window_extent(renderer) for text in drawn if text.get_visible()}
    inside = {text: box for text, box in boxes.items() if box.width and _is_shown(text, box)}
    return inside


def _is_shown(text: Text, box: object) -> bool:
    """Whether a tick's label is within the limits of its axis: others are not drawn."""
    for axes in text.figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    low, high = sorted(axis.get_view_interval())
                    return low <= tick.get_loc() <= high
    return True


def check_texts(figure: Figure) -> None:
    """Every text within the figure, and none over another."""
    boxes = texts_of(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in boxes.items():
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, (text.get_text(), box.extents)
    for (a, one), (b, other) in itertools.combinations(boxes.items(), 2):
        assert not one.padded(-1).overlaps(other.padded(-1)), (a.get_text(), b.get_text())


def figure_4(folder: Path) -> Study:
    """Six variants of which four end within 0.013 bits, after a first point at 4.9."""
    names = {"Full": ["model.attention=shared_full"]}
    names |= {f"LSH-{n}": [f"model.lsh.n_hashes={n}"] for n in (16, 8, 4, 2, 1)}
    study = study_of(folder, "fig", {
        "base": ["experiment=enwik8", "model.attention=lsh"], "axes": {"train": names},
        "seeds": [0, 1], "report": ["learning_curves"],
    })  # fmt: skip
    above = dict(zip(names, (0, 0.004, 0.003, 0.013, 0.042, 0.094), strict=True))
    for cell in study.cells:
        bits = [4.05 + 0.85 * math.exp(-i / 1.6) + above[cell.train] for i in range(9)]
        bits = [value + 0.001 * cell.seed * (above[cell.train] > 0) for value in bits]
        curve = [{"bits_per_dim": b, "loss_nats": b * math.log(2), "accuracy": 0.2} for b in bits]
        write_run(cell.directory, curve, 50, {}, step_seconds=0.1)
        path = cell.directory / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"baseline": None}))
    return study


def curves_of(study: Study, by: str = "step") -> Figure:
    return draw_curves(study, load_cells(study), load_curves(study), by)


def heights(figure: Figure, differences: Iterable[float], axes: int = 0) -> list[float]:
    """How many pixels of the height of some axes each difference is."""
    low, high = figure.axes[axes].get_ylim()
    return [abs(d) / (high - low) * figure.axes[axes].bbox.height for d in differences]


def test_differences_of_a_hundredth_show_below_a_first_point_that_is_far_above(
    tmp_path: Path,
) -> None:
    study = figure_4(tmp_path)
    figure = curves_of(study)
    check_texts(figure)
    upper, lower = figure.axes[:2]
    assert upper.get_ylim()[1] < 4.4 and upper.get_ylim()[0] < 4.05
    assert min(heights(figure, [0.013])) > 10 and min(heights(figure, [0.003, 0.013], 1)) > 4
    drawn = {line.get_label(): line for line in upper.lines}
    assert len(drawn["Full"].get_ydata()) == 9, (
        "the whole curve is drawn; the limits are the tail's"
    )
    assert lower.get_ylabel() == "minus Full"
    ends = [line.get_ydata()[-1] for line in lower.lines if len(line.get_xdata()) == 9]
    assert ends == pytest.approx([0.0045, 0.0035, 0.0135, 0.0425, 0.0945])


@pytest.mark.parametrize("common", [0, 1])
def test_variants_are_compared_at_common_evaluations_alone(tmp_path: Path, common: int) -> None:
    names = {"A": ["optim.lr=1e-3"], "B": ["optim.lr=2e-3"], "C": ["optim.lr=3e-3"]}
    study = study_of(tmp_path, "apart", {
        "base": ["experiment=enwik8"], "axes": {"train": names}, "seeds": [0],
        "report": ["learning_curves"],
    })  # fmt: skip
    for i, cell in enumerate(study.cells):
        curve = [{"bits_per_dim": 4.0 - i, "loss_nats": 3.0, "accuracy": 0.2}] * (2 + common * i)
        write_run(cell.directory, curve, 50 + i * (1 - common), {}, step_seconds=0.1)
        path = cell.directory / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"baseline": None}))
    figure = curves_of(study)
    upper, lower = figure.axes[:2]
    assert [len(line.get_xdata()) for line in upper.lines[:3]] == [2, 2 + common, 2 + 2 * common]
    differences = [line for line in lower.lines if len(line.get_xdata()) == 2 and line.get_gid()]
    assert len(differences) == 2 * common
    check_texts(figure)


def test_the_numbers_of_names_are_the_order_of_the_colours(tmp_path: Path) -> None:
    looks = variant_looks(figure_4(tmp_path), "learning_curves")
    assert looks.entries is None and looks.bar is None, "the legend has the names"
    in_order = [looks.styles[f"LSH-{n}"]["color"] for n in (1, 2, 4, 8, 16)]
    assert in_order == numbers_colours(5)
    light = [sum(to_rgb(colour)) for colour in in_order]
    assert light == sorted(light) and looks.styles["Full"]["color"] == "#000000"
    assert [looks.styles[f"LSH-{n}"]["linestyle"] for n in (1, 2)] == ["-", "-"]
    assert looks.styles["Full"]["linestyle"] != "-"


def test_a_grid_has_panels_a_colour_bar_and_no_legend_of_every_variant(grid: Study) -> None:
    figure = curves_of(grid)
    check_texts(figure)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["full", "shared_full", "lsh", "local"]
    assert figure.axes[-1].get_title(loc="left") == "lr"
    ticks = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
    assert ticks == ["0.0003", "0.001", "0.003"]
    rows = [text.get_text() for text in figure.legends[0].get_texts()]
    assert rows == ["standard", "reversible"]
    looks = variant_looks(grid, "learning_curves")
    assert looks.names["lsh / lr=0.001 / reversible"] == "lr=0.001 / reversible"
    assert len({tuple(a.get_ylim()) for a in figure.axes[:-1:2]}) == 1, "the panels share limits"


@pytest.mark.parametrize(
    ("keys", "panels", "rows", "bar"),
    [
        ({"facet": "model.residual"}, 2, 4, True),
        ({"colour": "model.attention", "facet": "optim.lr"}, 3, 6, False),
        ({"colour": "model.residual", "marker": "optim.lr"}, 4, 5, False),
        ({"facet": "none", "marker": "model.attention"}, 1, 4, True),
        ({"colour": "none", "facet": "model.attention", "marker": "none"}, 4, 0, False),
    ],
)  # fmt: skip
def test_a_study_chooses_its_looks(
    grid: Study, keys: dict[str, str], panels: int, rows: int, bar: bool
) -> None:
    looks = variant_looks(
        replace(grid, figures={"learning_curves": FigureKeys(**keys)}), "learning_curves"
    )
    assert len(looks.panels) == panels and (looks.bar is not None) == bar
    assert len(looks.entries or ()) == rows


def test_the_limits_and_scales_are_the_studys(tmp_path: Path) -> None:
    study = figure_4(tmp_path)
    whole = replace(study, figures={"learning_curves": FigureKeys(tail=0.0)})
    assert curves_of(whole).axes[0].get_ylim()[1] > 4.9
    log = replace(study, figures={"learning_curves": FigureKeys(log="xy", x="tokens")})
    (drawing,) = learning_curves.figures(log, load_cells(log), [])
    assert drawing.name == "learning_curves_tokens" and drawing.data is not None
    axes = drawing.figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len(drawing.figure.axes) == 1, "differences stand by step alone"
    check_texts(drawing.figure)


def test_tokens_have_a_figure_only_where_they_are_not_steps(tmp_path: Path) -> None:
    study = figure_4(tmp_path)
    names = [d.name for d in learning_curves.figures(study, load_cells(study), [])]
    assert names == ["learning_curves", "learning_curves_time"]
    path = study.cells[0].directory / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(r | {'tokens': 2 * r['tokens']})}\n" for r in rows))
    names = [d.name for d in learning_curves.figures(study, load_cells(study), [])]
    assert names == ["learning_curves", "learning_curves_tokens", "learning_curves_time"]


def test_cells_without_a_good_end_are_faint_up_to_where_they_came(grid: Study) -> None:
    figure = curves_of(grid)
    faint = [line for axes in figure.axes for line in axes.lines if line.get_alpha() == 0.4]
    crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "x"]
    assert sorted(line.get_xdata()[-1] for line in faint) == [20, 60, 60, 60, 110, 160]
    assert sorted(line.get_xdata()[-1] for line in crosses) == [20, 60, 60, 60, 110, 160]
    low, high = figure.axes[0].get_ylim()
    assert all(low <= line.get_ydata()[-1] <= high for line in crosses)
    (first, *_) = learning_curves.figures(grid, load_cells(grid), [])
    assert "Faint, up to a cross: a cell that failed" in first.caption
    assert "Colour: lr; marker and dashes: residual; panels: attention." in first.caption


def test_only_the_front_of_many_points_has_labels(grid: Study) -> None:
    cells = load_cells(grid)
    figure = against_memory(grid, cells, BITS_PER_DIM)
    check_texts(figure)
    labels = {text.get_text() for axes in figure.axes for text in axes.texts} - {""}
    means = cells[cells["status"] == "ok"].groupby("train")[["peak_memory_gib", "bits_per_dim"]]
    front = pareto_front(*means.mean().T.to_numpy())
    on_front = means.mean().index[front]
    assert len(on_front) > 1
    assert labels == {" / ".join(name.split(" / ")[:2]) for name in on_front}
    rows = [text.get_text() for text in figure.legends[0].get_texts()]
    assert rows == ["Pareto front", "full", "shared_full", "lsh", "local"]


def test_few_points_all_have_labels(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0, 1, 2])
    figure = against_memory(study, load_cells(study), BITS_PER_DIM)
    check_texts(figure)
    assert len([text for text in figure.axes[0].texts if text.get_text()]) == 6


def test_heat_maps_span_their_values() -> None:
    assert train_eval._colour_range(ACCURACY, pd.Series([0.886, 0.93])) == pytest.approx((88.6, 93))
    assert train_eval._colour_range(ACCURACY, pd.Series([0.004, 0.02])) == pytest.approx((0.4, 2))
    assert train_eval._colour_range(ACCURACY, pd.Series([1.0, 1.0])) == pytest.approx((99.5, 100))
    assert train_eval._colour_range(BITS_PER_DIM, pd.Series([2.31, 2.35])) == pytest.approx(
        (2.28, 2.38)
    )


def test_a_heat_map_of_many_variants_holds_its_texts(grid: Study) -> None:
    figure = train_eval.heat_map(grid, train_eval.score_data(grid))
    check_texts(figure)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.001, 0.02], 0.0, 0.03), ([0.0, 0.0], -0.6, 0.6), ([99.0, 99.5], 98.9, 99.6)],
)
def test_no_curve_lies_on_a_border(values: list[float], low: float, high: float) -> None:
    ends = limits(pd.Series(values), (0, 100))
    assert ends[0] < min(values) and ends[1] > max(values)
    assert low - 0.2 <= ends[0] and ends[1] <= high + 0.2
    assert limits(pd.Series([0.5, 99.0]), (0, 100)) == pytest.approx((-6, 106))
    assert np.isfinite(limits(pd.Series([math.nan]))).all()


@pytest.mark.parametrize("name", ["variant", "a long name of a variant that somebody has typed"])
def test_of_too_many_names_the_best_have_a_colour(tmp_path: Path, name: str) -> None:
    names = {f"{name} {i}": [f"model.d_ff={8 * i}", f"optim.lr={i}e-4"] for i in range(1, 31)}
    study = study_of(tmp_path, "many", {"axes": {"train": names}, "base": ["experiment=enwik8"]})
    best = list(names)[10:20]
    looks = variant_looks(study, "learning_curves", "curves", best)
    coloured = [v for v, style in looks.styles.items() if style["color"] != NOT_SHOWN]
    assert set(coloured) == set(best[:BEST_SHOWN])
    assert [entry.label for entry in looks.entries] == [*best[:BEST_SHOWN], "24 others"]
    for i, cell in enumerate(study.cells):
        curve = [{"bits_per_dim": 3 + i, "loss_nats": 2.0, "accuracy": 0.1}] * 3
        write_run(cell.directory, curve, 10, {}, step_seconds=1, peak_memory_gib=1 + i / 9)
        path = cell.directory / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"baseline": None}))
    figure = curves_of(study)
    check_texts(figure)
    assert len(figure.legends[0].get_texts()) == BEST_SHOWN + 1
    check_texts(against_memory(study, load_cells(study), BITS_PER_DIM))


def test_long_labels_break_between_the_choices_of_their_axes() -> None:
    label = "shared_full / lr=0.0003 / reversible"
    assert wrapped(label, 28) == "shared_full / lr=0.0003 /\nreversible"
    assert wrapped(label, 40) == label
    assert wrapped("one name that is long", 10) == "one name\nthat is\nlong"


@pytest.mark.parametrize("length", [3, 30, 90])
def test_a_label_of_any_length_covers_nothing(tmp_path: Path, length: int) -> None:
    """Short ones stand beside their points, long ones in the legend."""
    letters = "word " * 30
    study = grid_study(
        tmp_path,
        6,
        1,
        endings={},
        labels=lambda axis, value: f"{value} {letters[: length // 2]}".strip(),
    )
    cells = load_cells(study)
    for figure in (against_memory(study, cells, BITS_PER_DIM), curves_of(study)):
        check_texts(figure)


def test_of_many_references_the_best_is_a_line(tmp_path: Path) -> None:
    study = grid_study(tmp_path, numbers="model.lsh.n_hashes", report=["hash_rounds"])
    (table,) = hash_rounds.tables(study, load_cells(study))
    (drawing,) = hash_rounds.figures(study, load_cells(study), [table])
    assert "horizontal: the best of 18 variants without LSH" in drawing.caption
    rows = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert len(rows) == 3 and rows[0].startswith("full")
    check_texts(drawing.figure)


def test_very_many_curves_have_no_bars_beside_them(tmp_path: Path) -> None:
    study = grid_study(tmp_path, 20, 2, endings={}, values=[i / 1e4 for i in range(1, 11)])
    study = replace(study, figures={"learning_curves": FigureKeys(facet="none")})
    figure = curves_of(study)
    check_texts(figure)
    assert figure.axes[0].get_xlim()[1] < 1.1 * 200
    assert figure.axes[1].get_ylabel() == "minus baseline"
