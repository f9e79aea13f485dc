"""`report: [slices]`: accuracy of recall by distance and by pairs, with its part of the data and its spread over draws."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from ablations.report.figures import slice_panels
from ablations.report.interval import mean_interval
from ablations.report.parts import loss_memory, slices, train_eval
from ablations.report.table import Value
from ablations.results import load_cells, load_results, score_rows
from ablations.study import Study, compose_cells, load_study
from recall_study import TRAIN, recall_study
from reformer_pl.config import ConfigError
from reformer_pl.metrics import RECALL_SLICES

TWO = {name: TRAIN[name] for name in ("Full", "LSH-1")}
EVALUATIONS = {
    "LSH-1": ["model.attention=lsh", "model.lsh.n_hashes=1", "model.lsh.eval_draws=8"],
    "Full": ["model.attention=shared_full"],
    "Test": ["task.split=test"],
    "P1": ["task.pairs=1"],
    "P4": ["task.pairs=4"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("slices")
    return recall_study(
        folder, 3, axes={"train": TWO}, evaluations=EVALUATIONS, failed=(("LSH-1", 2),)
    )


def curves(axes: Axes) -> list[list[float]]:
    """The heights of each curve with points."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    return [list(line.get_ydata()) for line in lines if len(line.get_ydata())]


def test_the_table_is_the_mean_of_the_seeds_for_each_evaluation_and_slice(study: Study) -> None:
    (table,) = slices.tables(study, load_cells(study))
    heads = ["LSH-1", "Full", "Test (test part)", "P1", "P4"]
    assert [row.entries[0].text for row in table.rows] == [head for head in heads for _ in TWO]
    assert table.header[1:3] == ("evaluated with", "pairs")
    results = score_rows(study)
    for row, data in zip(table.rows, table.data.to_dict("records"), strict=True):
        own = results[(results["train"] == row.variant) & (results["eval"] == data["eval"])]
        own = own[own["status"] == "ok"]
        assert row.entries[1].mean == {"P1": 1, "P4": 4}.get(data["eval"], 16)
        for entry, name in zip(row.entries[2:7], ("accuracy", *(m.name for m in RECALL_SLICES)), strict=True):  # fmt: skip
            assert entry.mean == pytest.approx(100 * own[name].mean(), nan_ok=True)
            ends = [100 * end for end in mean_interval(own[name], (0, 1))]
            assert [entry.low, entry.high] == pytest.approx(ends, nan_ok=True)
        assert row.entries[7].mean == len(own) == (2 if row.variant == "LSH-1" else 3)
        assert table.header[7] == "to 100 % of the length (%)"
        assert (row.entries[6].mean != row.entries[6].mean) == (data["eval"] == "P1"), "no query"
    assert table.caption.startswith("Accuracy of recall")
    assert "Evaluations marked (test part) are scored on the test part" in table.caption
    assert "task.pairs=1: P1; task.pairs=4: P4" in table.caption


def test_a_panel_for_each_evaluation_has_a_curve_for_each_variant(study: Study) -> None:
    cells = load_cells(study)
    tables = slices.tables(study, cells)
    by_distance, by_pairs = slices.figures(study, cells, tables)
    assert by_distance.name == "slices" and by_pairs.name == "slices_pairs"
    panels = {axes.get_title(): axes for axes in by_distance.figure.axes}
    assert list(panels) == ["LSH-1", "Full", "Test (test part)", "P1", "P4"]
    data = tables[0].data.set_index(["eval", "train"])
    for title, axes in panels.items():
        name = title.removesuffix(" (test part)")
        expected = [
            [100 * data.loc[(name, variant), f"{metric.name}_mean"] for metric in RECALL_SLICES]
            for variant in TWO
        ]
        for curve, right in zip(curves(axes), expected, strict=True):
            assert curve == pytest.approx(right, nan_ok=True)
        (chance,) = [line for line in axes.lines if set(line.get_ydata()) == {100 / 64}]
        assert chance.get_linestyle() == ":" or chance._unscaled_dash_pattern[1] == (1, 2)  # fmt: skip
        assert len(axes.collections) == 2, "bars of two variants"
    assert "interval of Student's t over n = 3 seeds (LSH-1: 2)" in by_distance.caption
    assert "Dotted: chance" in by_distance.caption and "(test part)" in by_distance.caption
    (axes,) = by_pairs.figure.axes
    assert axes.get_title() == "P1, P4" and [len(curve) for curve in curves(axes)] == [2, 2]
    assert curves(axes)[0][1] == pytest.approx(100 * data.loc[("P4", "Full"), "accuracy_mean"])


@pytest.mark.parametrize(
    ("axes", "titles", "series"),
    [
        ({"train": TWO, "task.pairs": [4, 8, 16]}, ["pairs=4", "pairs=8", "pairs=16"], 2),
        ({"task.pairs": [2, 12]}, ["pairs=2", "pairs=12"], 1),
        (
            {"train": TWO, "size": {"small": ["task.pairs=4", "task.length=32"], "large": []}},
            ["pairs=4", "pairs=16"], 2,
        ),
        ({"train": TWO}, [""], 0),
    ],
)  # fmt: skip
def test_the_number_of_pairs_is_panels_and_an_axis(
    tmp_path: Path, axes: dict[str, Any], titles: list[str], series: int
) -> None:
    study = recall_study(tmp_path, 2, axes=axes)
    cells = load_cells(study)
    tables = slices.tables(study, cells)
    assert ("pairs" in tables[0].header) == (series > 0)
    assert "evaluated with" not in tables[0].header
    by_distance, *others = slices.figures(study, cells, tables)
    assert [axes.get_title() for axes in by_distance.figure.axes] == titles
    assert by_distance.figure.axes[0].get_ylabel() == "Held-out accuracy (%)"
    assert len(others) == (series > 0)
    for drawing in others:
        (panel,) = drawing.figure.axes
        assert [len(curve) for curve in curves(panel)] == [len(titles)] * series
        assert [text.get_text() for text in panel.get_xticklabels()] == [t.partition("=")[2] for t in titles]  # fmt: skip


def test_the_study_may_choose_the_looks_and_a_study_without_a_result_says_why(
    tmp_path: Path,
) -> None:
    keys = {"figures": {"slices": {"colour": "task.pairs", "facet": "none"}}}
    failed = tuple((f"Full / pairs={pairs}", 0) for pairs in (4, 8))
    axes = {"train": TWO, "task.pairs": [4, 8]}
    study = recall_study(tmp_path, 1, axes=axes, failed=failed, **keys)
    cells = load_cells(study)
    tables = slices.tables(study, cells)
    assert tables[0].texts()[0][2] == "failed"
    drawing = slices.figures(study, cells, tables)[0]
    assert drawing.figure.axes[0].get_title() == ""
    assert "Not every cell ended well: Full / pairs=4 (1 failed)" in drawing.caption


@pytest.mark.parametrize("task", ["duplication", "enwik8"])
def test_slices_are_of_recall_alone(task: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        f"base: [experiment={task}]\naxes: {{model.attention: [full]}}\nreport: [slices]\n"
    )
    with pytest.raises(ConfigError, match=r"slices is of task.name=recall, which no cell has"):
        compose_cells(load_study(path, tmp_path))


def test_the_spread_over_draws_is_a_column_of_its_own_where_there_are_draws(study: Study) -> None:
    (table, _) = train_eval.tables(study, load_cells(study))
    assert table.header == (
        "trained with", "LSH-1", "Full", "Test (test part)", "P1", "P4", "LSH-1, over draws", "n", "seeds",
    )  # fmt: skip
    results = load_results(study)
    assert results.loc[results["eval"] != "LSH-1", "eval_draws_std"].isna().all()
    for row in table.rows:
        own = results[(results["train"] == row.variant) & (results["eval"] == "LSH-1")]
        assert (own["eval_draws"].dropna() == 8).all()
        spread = 100 * (own["eval_draws_std"] ** 2).mean() ** 0.5
        assert isinstance(row.entries[5], Value)
        assert row.entries[5].mean == pytest.approx(100 * own["accuracy"].mean())
        assert row.entries[5].note == f"± {spread:.1f} over 8 draws"
    assert "± its standard deviation over the draws" in table.caption


@pytest.mark.parametrize("draws", [1, 4])
def test_the_models_own_scores_have_the_column_too(tmp_path: Path, draws: int) -> None:
    axes = {
        "train": {
            "Full": TRAIN["Full"],
            "LSH-1": [*TRAIN["LSH-1"], f"model.lsh.eval_draws={draws}"],
        }
    }
    study = recall_study(tmp_path, 1, axes=axes, report=["loss_memory"])
    (table,) = loss_memory.tables(study, load_cells(study))
    assert ("accuracy (%) over draws" in table.header) == (draws > 1)
    assert all(len(row.entries) == len(table.header) - 1 for row in table.rows)
    assert ("eval_draws_std" in load_results(study)) == (draws > 1)
    assert ("eval_draws" in score_rows(study)) == (draws > 1)
    if draws > 1:
        column = table.header.index("accuracy (%) over draws")
        texts = [row[column] for row in table.texts()]
        assert texts[0] == "-" and texts[1].endswith("over 4 draws") and "±" in texts[1]


def test_an_evaluation_as_trained_is_a_point_beside_those_that_set_the_pairs(
    tmp_path: Path,
) -> None:
    """Of evaluations alone: those of another setting are other curves."""
    lsh = ["model.attention=lsh", "model.lsh.n_hashes=2"]
    evaluations = {
        "P16": ["task.split=held_out"], "P4": ["task.pairs=4", "task.split=held_out"],
        "LSH-P4": [*lsh, "task.pairs=4"], "LSH-P8": ["task.pairs=8", *lsh], "Alone": ["task.pairs=2", "task.length=48"],
    }  # fmt: skip
    study = recall_study(tmp_path, 1, axes={"train": TWO}, evaluations=evaluations)
    data = slices.tables(study, load_cells(study))[0].data
    labels = slice_panels._series(study, data)
    by_evaluation = dict(zip(data["eval"], labels["panel"], strict=True))
    assert by_evaluation == {
        "P16": "split=held_out", "P4": "split=held_out", "Alone": "Alone",
        "LSH-P4": "attention=lsh, n_hashes=2", "LSH-P8": "attention=lsh, n_hashes=2",
    }  # fmt: skip
    assert labels["series"] == list(data["train"])
