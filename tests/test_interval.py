"""Intervals over seeds: hand-computed ones, their coverage where the truth is known, and the tables
and figures that show them.
"""

import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.report.interval import mean_interval, mean_intervals, paired_difference
from ablations.report.numbers import signed
from ablations.report.parts import hash_rounds, loss_memory, paired
from ablations.report.report import load_report
from ablations.report.table import Table, Value, Words, text_of
from ablations.report.winners import pareto_front
from ablations.report.writers.latex import latex_entry
from ablations.results import load_cells
from ablations.study import Study, load_study
from reformer_pl.config import ConfigError
from test_report import _study, best_places, fail, report_page, write_run

# label: overrides, bits per dim of seeds 0, 1, 2, MiB, seconds a step
VARIANTS = {
    "Full": (["model.attention=full"], (4.20, 4.25, 4.30), 60.0, 0.10),
    "LSH-1": (["model.attention=lsh", "model.lsh.n_hashes=1"], (4.50, 4.56, 4.61), 40.0, 0.15),
    "LSH-4": (["model.attention=lsh", "model.lsh.n_hashes=4"], (4.18, 4.25, 4.27), 80.0, 0.30),
}

# A task that is judged by bits per dim.
TINY = ["experiment=enwik8", "model.d_model=32", "model.n_heads=2", "task.length=64"]


def made_up(folder: Path, seeds: list[int], **values: object) -> Study:
    study = _study(folder, "rounds", {
        "timed": True, "base": TINY, "axes": {"train": {label: changes for label, (changes,
        *_) in VARIANTS.items()}},
        "seeds": seeds, "report": ["loss_memory", "paired", "hash_rounds"], **values,
    })  # fmt: skip
    baseline = {"name": "byte frequencies", "loss_nats": 3.5, "bits_per_dim": 5.13, "accuracy": 0.1}
    for cell in study.cells:
        _, bits, mebibytes, seconds = VARIANTS[cell.train]
        row = {
            "loss_nats": bits[cell.seed] * math.log(2),
            "accuracy": 0.2,
            "bits_per_dim": bits[cell.seed],
        }
        write_run(
            cell.directory,
            [row],
            10,
            baseline,
            peak_memory_gib=mebibytes / 1024,
            step_seconds=seconds,
            parameters=1000,
        )
    return study


@pytest.mark.parametrize(
    "values, mean, reach",  # the quantiles of Student's t are those of printed tables
    [
        ([2.0, 1.0], 1.5, 12.706 * 0.5),
        ([3.0, 1.0, math.nan, 2.0], 2.0, 4.303 / math.sqrt(3)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 3.0, 2.776 * math.sqrt(2.5 / 5)),
        ([7.0, 7.0], 7.0, 0.0),
    ],
)
def test_an_interval_is_students_t(values: list[float], mean: float, reach: float) -> None:
    assert mean_interval(values) == pytest.approx((mean - reach, mean + reach), rel=1e-3)
    low, high = mean_interval(values, (0.0, 2.5))
    assert (low, high) == pytest.approx((max(mean - reach, 0), min(mean + reach, 2.5)), rel=1e-3)
    by_group = mean_intervals(pd.Series([*values, 4.0]).groupby([*map(bool, values), False]))
    assert by_group.loc[True].tolist() == pytest.approx([mean, *mean_interval(values)])
    assert by_group.loc[False].isna().tolist() == [False, True, True]


def test_one_value_has_no_interval() -> None:
    assert all(
        map(
            math.isnan, (*mean_interval([1.0]), *mean_interval([]), *mean_interval([math.nan, 1.0]))
        )
    )


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 10, 30])
def test_the_interval_covers_the_true_mean_as_often_as_it_says(n: int) -> None:
    draws = np.random.default_rng(n).normal(loc=3.0, scale=0.2, size=(3000, n))
    covered = np.mean([low <= 3.0 <= high for low, high in map(mean_interval, draws)])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_paired_interval_covers_the_true_difference(n: int) -> None:
    draw, covered = np.random.default_rng(n), []
    for _ in range(600):
        noise = draw.normal(size=n)  # of the seed: common to both
        before, after = (pd.Series(noise + draw.normal(mean, 0.1, size=n)) for mean in (1.0, 1.5))
        difference = paired_difference(before, after)
        covered.append(difference.low <= 0.5 <= difference.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_paired_difference_takes_equal_seeds_only_and_cancels_their_noise() -> None:
    before = pd.Series({0: 4.20, 1: 4.80, 2: 5.00, 3: math.nan})
    after = pd.Series({1: 4.90, 0: 4.40, 3: 1.0, 7: 1.0})
    found = paired_difference(before, after)
    assert (found.n, found.before, found.after) == (2, 4.5, pytest.approx(4.65))
    reach = 12.706 * 0.05
    expected = (0.15, 0.15 - reach, 0.15 + reach)
    assert (found.mean, found.low, found.high) == pytest.approx(expected, rel=1e-3)
    none = paired_difference(before, pd.Series({9: 1.0}))
    assert none.n == 0 and math.isnan(none.mean)


def test_the_paired_table_says_differences_words_and_n(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    rows = {
        row[0]: dict(zip(_paired(study).header, row, strict=True)) for row in _paired(study).texts()
    }
    assert rows["LSH-4"] == {
        "variant": "LSH-4", "bits per dim": "-0.017 [-0.055, +0.021]", "memory (MiB)": "+20.0",
        "s/step": "+0.200", "n": "3",
        "seeds": "3 ok",
    }  # fmt: skip
    assert (
        rows["LSH-1"]["bits per dim"] == "+0.307 [+0.292, +0.321]"
        and rows["LSH-1"]["memory (MiB)"] == "-20.0"
    )
    assert best_places(_paired(study)) == {("LSH-1", "memory (MiB)")}  # -0.017 may be chance
    cells = {(cell.train, cell.seed): cell for cell in study.cells}
    fail(cells["LSH-4", 0].directory, "oom", "out of memory")
    for seed in (0, 1, 2):
        fail(cells["LSH-1", seed].directory, "would_not_fit", "too large")
    rows = {row[0]: row for row in _paired(study).texts()}
    assert rows["LSH-4"][1:] == ("-0.015 [-0.206, +0.176]", "+20.0", "+0.200", "2", "2 ok, 1 oom")
    assert rows["LSH-1"][1:] == (*["would not fit"] * 3, "0", "3 would_not_fit")
    for seed in (1, 2):
        fail(cells["Full", seed].directory, "failed", "boom")
    assert {row[0]: row for row in _paired(study).texts()}["LSH-4"][1] == "no equal seed"
    fail(cells["Full", 0].directory, "failed", "boom")
    assert {row[0]: row for row in _paired(study).texts()}["LSH-4"][1] == "Full: failed"


def _paired(study: Study) -> Table:
    (table,) = paired.tables(study, load_cells(study))
    return table


def test_the_baseline_is_named_or_the_first_and_one_seed_has_no_interval(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0], baseline="LSH-4")
    rows = {row[0]: row for row in _paired(study).texts()}
    assert list(rows) == ["Full", "LSH-1"] and rows["Full"][1:] == (
        "+0.020",
        "-20.0",
        "-0.200",
        "1",
        "1 ok",
    )
    (tmp_path / "typo.yaml").write_text("axes: {model.attention: [full, lsh]}\nbaseline: Full\n")
    with pytest.raises(
        ConfigError, match="baseline 'Full' is no variant of the study: choose full, lsh"
    ):
        load_study(tmp_path / "typo.yaml", tmp_path / "runs")
    (tmp_path / "typo.yaml").write_text("axes: {model.attention: [full, lsh]}\n")
    assert load_study(tmp_path / "typo.yaml", tmp_path / "runs").baseline == "full"


def test_the_pareto_front_by_hand_in_the_table_and_in_the_figure(tmp_path: Path) -> None:
    assert pareto_front([1, 2, 3, 2, 1], [5, 4, 4, 6, 5]) == [True, True, False, False, True]
    assert pareto_front([1, 2, 3], [0.5, 0.4, 0.9], higher_is_better=True) == [True, False, True]
    assert pareto_front([1, math.nan, 2], [math.nan, 1, 3]) == [False, False, True]
    study = made_up(tmp_path, [0, 1, 2])
    cells = load_cells(study)
    (table,) = loss_memory.tables(study, cells)
    marked = [row[0] for row in table.texts() if row[table.header.index("Pareto front")] == "yes"]
    assert marked == ["Full", "LSH-1", "LSH-4"]
    line = next(
        line
        for line in loss_memory.figures(study, cells, [])[0].figure.axes[0].lines
        if line.get_label() == "Pareto front"
    )
    corners = set(zip(np.round(line.get_xdata(), 6), np.round(line.get_ydata(), 6), strict=True))
    assert {
        (40.0, round((4.50 + 4.56 + 4.61) / 3, 6)),
        (60.0, 4.25),
        (80.0, round((4.18 + 4.25 + 4.27) / 3, 6)),
    } <= corners


def test_hash_rounds_put_lsh_against_its_rounds_and_the_rest_beside(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    fail(study.cells[2].directory, "oom", "out of memory")  # LSH-4, seed 0
    cells = load_cells(study)
    (table,) = hash_rounds.tables(study, cells)
    rows = {row[0]: row for row in table.texts()}
    assert list(rows) == ["Full", "LSH-1", "LSH-4"] and [row[1] for row in rows.values()] == [
        "-",
        "1",
        "4",
    ]
    assert rows["LSH-4"][2:] == ("4.260 [4.133, 4.387]", "80.0", "0.300", "2", "2 ok, 1 oom")
    (drawing,) = hash_rounds.figures(study, cells, [table])
    for axes, want in zip(
        drawing.figure.axes, ([4.556667, 4.26], [40.0, 80.0], [0.15, 0.30]), strict=True
    ):
        lines = [
            line
            for line in axes.lines
            if len(line.get_xdata()) == 2 and list(line.get_xdata()) == [1.0, 4.0]
        ]
        assert lines[0].get_ydata() == pytest.approx(want, abs=1e-6)
    assert [axes.get_ylabel() for axes in drawing.figure.axes] == [
        "Held-out bits per dim",
        "Peak memory (MiB)",
        "Seconds per step",
    ]
    full = [line for line in drawing.figure.axes[0].lines if line.get_label() == "Full"]
    assert (
        full[0].get_ydata() == pytest.approx([4.25, 4.25])
        and "LSH-4 (2 ok, 1 oom)" in drawing.caption
    )


def test_two_axes_make_a_series_for_each_choice_beside_the_rounds(tmp_path: Path) -> None:
    study = _study(tmp_path, "two", {
        "base": ["experiment=smoke", "model.attention=lsh"], "report": ["hash_rounds"],
        "axes": {"model.residual": ["standard", "reversible"], "model.lsh.n_hashes": [2, 1]},
    })  # fmt: skip
    baseline = {"name": "chance", "loss_nats": 3.5, "bits_per_dim": 5.13, "accuracy": 0.1}
    for i, cell in enumerate(study.cells):
        row = {"loss_nats": 1.0 + i, "accuracy": 0.2, "bits_per_dim": 2.0 + i}
        write_run(
            cell.directory,
            [row],
            10,
            baseline,
            peak_memory_gib=0.1,
            step_seconds=0.1,
            parameters=1000,
        )
    data = hash_rounds.tables(study, load_cells(study))[0].data
    assert list(zip(data["series"], data["rounds"], strict=True)) == [
        ("standard", 1), ("standard", 2), ("reversible", 1), ("reversible", 2),
    ]  # fmt: skip


def test_two_series_of_rounds_are_two_even_where_their_labels_share_one_part(
    tmp_path: Path,
) -> None:
    sizes = {"small": "model.d_ff=64", "big": "model.d_ff=128"}
    labels = {
        f"{size}-{n}": [change, f"model.lsh.n_hashes={n}"]
        for size, change in sizes.items()
        for n in (1, 2)
    }
    study = _study(tmp_path, "two", {
        "base": ["experiment=smoke", "model.attention=lsh"], "report": ["hash_rounds"],
        "axes": {"train": labels, "optim.lr": [0.001]},
    })  # fmt: skip
    for i, cell in enumerate(study.cells):
        row = {"loss_nats": 1.0 + i, "accuracy": 0.2, "bits_per_dim": 2.0 + i}
        write_run(
            cell.directory, [row], 10, None, peak_memory_gib=0.1, step_seconds=0.1, parameters=1000
        )
    data = hash_rounds.tables(study, load_cells(study))[0].data
    assert data.groupby("series")["rounds"].apply(list).tolist() == [[1, 2], [1, 2]]


def test_hash_rounds_are_reported_while_no_cell_with_lsh_has_ended(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1], report=["hash_rounds"])
    for cell in study.cells:
        if cell.train != "Full":
            (cell.directory / "result.json").unlink()
    page = report_page(study).read_text()
    assert "Not every cell ended well: LSH-1 (2 missing), LSH-4 (2 missing)" in page


def test_every_new_part_is_written_as_files_and_shown_on_the_page(tmp_path: Path) -> None:
    study = made_up(
        tmp_path, [0, 1, 2], report=["loss_memory", "paired", "hash_rounds", "learning_curves"]
    )
    page = report_page(study)
    written = {path.name for path in page.parent.iterdir()}
    assert {
        f"{name}.{suffix}" for name in ("paired", "hash_rounds") for suffix in ("csv", "md", "tex")
    } <= written
    curves = ("learning_curves", "learning_curves_time")
    assert {
        f"{name}.{suffix}" for name in ("hash_rounds", *curves) for suffix in ("png", "pdf")
    } <= written
    text = unescape(re.sub("<[^>]+>", "", page.read_text()))
    assert "-0.017 [-0.055, +0.021]" in text and "95 % interval of Student's t" in text


def test_memory_predicted_stands_beside_measured_and_needs_no_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablations.report.parts import memory_prediction

    kinds = dict.fromkeys(memory_prediction.KINDS, 10 / 1024)
    asked = []
    monkeypatch.setattr(
        "reformer_pl.measure.predict_run",
        lambda config, device: asked.append(config) or {**kinds, "total": 50 / 1024},
    )
    study = made_up(tmp_path, [0, 1, 2], report=["memory_prediction"])
    for cell in study.cells:
        if cell.train == "LSH-1":
            fail(cell.directory, "would_not_fit", "too large")
    report = load_report(study)
    (table,), (drawing,) = report.tables, report.figures
    rows = {row[0]: row[6:] for row in table.texts()}
    assert rows["Full"] == ("50.0", "60.0", "1.200", "3", "3 ok")
    assert rows["LSH-1"] == ("50.0", "would not fit", "-", "0", "3 would_not_fit")
    assert len(asked) == len(VARIANTS)  # a prediction takes seconds: each is made once
    points = {
        (line.get_xdata()[0], round(line.get_ydata()[0], 6))
        for line in drawing.figure.axes[0].lines
        if len(line.get_xdata()) == 1
    }
    assert points == {(50.0, 60.0), (50.0, 80.0)}


def test_texts() -> None:
    assert (signed(0.0004, 3), signed(-3.44, 1), signed(1234.5, 1), signed(math.nan, 1)) == (
        "0.000",
        "-3.4",
        "+1,234.5",
        "-",
    )
    assert text_of(Value(4.2, 4.1, 4.3, 2)) == "4.20 [4.10, 4.30]"
    assert text_of(Value(4.2, places=2)) == "4.20" and text_of(Value(60.0, 60.0, 60.0, 1)) == "60.0"
    assert text_of(Value(math.nan, places=1)) == "-"
    assert text_of(Value(1, 0, 2, signed=True, note="(n = 2)")) == "+1 [0, +2] (n = 2)"
    assert latex_entry(Value(4.2, 4.1, 4.3, 2, best=True)) == (
        r"\begin{tabular}[t]{@{}r@{}}\textbf{4.20}\\[-2pt]{\scriptsize [4.10, 4.30]}\end{tabular}"
    )
    assert latex_entry(Words("5 %")) == r"5 \%"
