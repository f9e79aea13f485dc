"""What is bold, and the n beside every number: a table says no more than its seeds have shown."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from ablations.report.compare import comparison
from ablations.report.table import Row, Table, Value, is_best, mark_best, with_mark_explained
from ablations.report.winners import winners
from ablations.report.words import build_part
from ablations.results import load_cells
from ablations.study import Study
from test_disturbed import WAITED, change, of_label, power_laws
from test_interval import made_up
from test_report import best_places, duplication_study, fail, memory_study

SERIES = {
    # Apart by far more than they scatter: one wins.
    "clear": ({"A": [1.00, 1.02, 0.98], "B": [2.00, 2.02, 1.99]}, {"A"}),
    # B is 0.02 better on average, which its seeds do not show.
    "noise": ({"A": [1.00, 1.30, 0.70], "B": [1.10, 1.00, 0.84]}, {"A", "B"}),
    # Their seeds scatter alike: paired, the difference of 0.1 is clear.
    "paired": ({"A": [1.00, 1.30, 0.70], "B": [1.10, 1.41, 0.80]}, {"A"}),
    # The best has fewer seeds than its rival, so it cannot win. The rival is worse where both are.
    "fewer": ({"A": [1.00, 1.01, math.nan], "B": [1.50, 1.51, 1.50]}, set()),
    "fewer, one": ({"A": [0.90, math.nan, math.nan], "B": [1.50, 1.51, 1.50]}, set()),
    # Nor may a rival with fewer seeds be marked beside the best, however near.
    "near, fewer": ({"A": [1.0, 1.3, 0.7], "B": [1.01, 1.3, math.nan], "C": [9, 9.1, 9]}, {"A"}),
    # It is not shown to be worse than the best, which has too few seeds to win.
    "rival": ({"A": [1.00, 1.40, math.nan], "B": [1.30, 1.20, 1.25]}, {"B"}),
    "one seed": ({"A": [1.0], "B": [1.1], "C": [1.0004]}, {"A", "C"}),
    "counts": ({"A": [60.0, 60.0], "B": [60.0, 60.0], "C": [61.0, 61.0]}, {"A", "B"}),
    "alone": ({"A": [1.0, 2.0, 3.0], "B": [math.nan] * 3}, set()),
    "nothing": ({}, set()),
}


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize("name", SERIES)
def test_bold_is_what_can_win(name: str, higher_is_better: bool) -> None:
    values, expected = SERIES[name]
    sign = -1 if higher_is_better else 1
    series = {label: sign * pd.Series(numbers) for label, numbers in values.items()}
    assert winners(series, max if higher_is_better else min, 3) == expected


def table_of(study: Study, word: str, name: str = "") -> Table:
    tables = build_part(word, study, load_cells(study), drawn=False).tables
    return next(table for table in tables if table.name == (name or word))


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def column(table: Table, header: str) -> dict[str, str]:
    place = table.header.index(header)
    return {texts[0]: texts[place] for texts in table.texts()}


@pytest.mark.parametrize("word", ["loss_memory", "hash_rounds"])
def test_of_three_seeds_those_not_shown_to_be_worse_are_bold(tmp_path: Path, word: str) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    table = table_of(study, word)
    bits = {label for label, name in best_places(table) if name == "bits per dim"}
    assert bits == {"Full", "LSH-4"}  # 4.250 and 4.233; LSH-1 has 4.557
    assert "paired difference from it has an interval that holds 0" in table.caption
    cells = {(cell.train, cell.seed): cell for cell in study.cells}
    fail(cells["LSH-4", 2].directory, "oom", "out of memory")  # 4.215 of two seeds: the best mean
    table = table_of(study, word)
    bits = {label for label, name in best_places(table) if name == "bits per dim"}
    assert bits == {"Full"}


@pytest.mark.parametrize("word", ["loss_memory", "hash_rounds", "paired"])
def test_no_time_is_bold_where_cells_ran_side_by_side(tmp_path: Path, word: str) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    alone = {name for _, name in best_places(table_of(study, word))}
    assert ("s/step" in alone) == (word != "paired")  # no variant is faster than the baseline
    study = made_up(folder(tmp_path, "side"), [0, 1, 2], timed=False, baseline="LSH-4")
    assert "s/step" not in {name for _, name in best_places(table_of(study, word))}
    assert "memory (MiB)" in {name for _, name in best_places(table_of(study, word))}


def test_a_difference_is_bold_where_its_interval_does_not_hold_0(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2], baseline="LSH-1")
    table = table_of(study, "paired")
    assert {place for place in best_places(table) if place[1] == "bits per dim"} == {
        ("Full", "bits per dim"),
        ("LSH-4", "bits per dim"),
    }
    one = made_up(folder(tmp_path, "one"), [0], baseline="LSH-1")
    assert best_places(table_of(one, "paired")) == set()


def test_each_evaluation_has_its_own_winners_and_its_own_n(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0, 1, 2])
    for cell in study.cells:
        path = cell.directory / "evaluations" / "LSH-1.json"
        better = 0.9 if cell.train == "LSH-1" else 0.5
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"accuracy": better + 0.001 * cell.seed})
        )
    of_lsh_4 = next(cell for cell in study.cells if cell.train == "LSH-4")
    (of_lsh_4.directory / "evaluations" / "LSH-2.json").unlink()
    table = table_of(study, "train_eval")
    assert {label for label, name in best_places(table) if name == "LSH-1"} == {"LSH-1"}
    assert column(table, "LSH-2")["LSH-4"].endswith("] (n = 2)")
    assert not column(table, "LSH-4")["LSH-4"].endswith(")")
    assert column(table, "n") | {"LSH-4": "3"} == column(table, "n")


TABLES = (
    ("loss_memory", ""), ("hash_rounds", ""), ("paired", ""), ("train_eval", ""),
    ("train_eval", "train_cost"),
)  # fmt: skip


@pytest.mark.parametrize("word, name", TABLES)
def test_every_table_of_seeds_has_n_and_one_seed_has_no_interval(
    tmp_path: Path, word: str, name: str
) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    cells = {(cell.train, cell.seed): cell for cell in study.cells}
    for seed in (1, 2):
        fail(cells["LSH-4", seed].directory, "oom", "out of memory")
    table = table_of(study, word, name)
    assert column(table, "n")["LSH-4"] == "1" and column(table, "n")["LSH-1"] == "3"
    row = next(texts for texts in table.texts() if texts[0] == "LSH-4")
    assert any(text.endswith("(n = 1)") for text in row) and "[" not in "".join(row)
    assert ("95 % interval of Student's t" in table.caption and "n seeds" in table.caption) or (
        word == "paired" and "on the n equal seeds" in table.caption
    )
    one = table_of(made_up(folder(tmp_path, "one"), [0]), word, name)
    assert all("[" not in text and "(n" not in text for row in one.texts() for text in row)
    assert set(column(one, "n").values()) <= {"1", ""} and "n = 1" in one.caption


def test_the_seconds_of_one_seed_have_the_quartiles_of_their_steps(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    for label, low, seconds, high in (
        ("Transformer", 0.30, 0.31, 0.33),
        ("Transformer + checkpoint", 0.32, 0.33, 0.34),  # not shown to be slower
        ("Reversible", 0.42, 0.43, 0.44),
    ):
        times = {"step_seconds": seconds, "step_seconds_q1": low, "step_seconds_q3": high}
        change(of_label(study, label), **times)
    table = table_of(study, "loss_memory")
    assert column(table, "s/step")["Transformer"] == "0.310 (0.300-0.330)"
    assert column(table, "s/step")["LSH"] == "0.520"
    assert "s/step has the quartiles of its steps in parentheses" in table.caption
    bold = {label for label, name in best_places(table) if name == "s/step"}
    assert bold == {"Transformer", "Transformer + checkpoint"}
    change(of_label(study, "Transformer"), **WAITED)
    assert "s/step" not in {name for _, name in best_places(table_of(study, "loss_memory"))}
    two = table_of(memory_study(folder(tmp_path, "two"), [0, 1]), "loss_memory")
    assert "quartiles" not in two.caption


@pytest.mark.parametrize("word", ["length_time", "speedup", "length_memory"])
def test_a_benchmark_marks_those_whose_quartiles_overlap(tmp_path: Path, word: str) -> None:
    study = power_laws(tmp_path)
    table = table_of(study, word)
    assert "Bold: " in table.caption
    rows = [
        Row("a", (Value(1.00, 0.98, 1.03, 2, is_range=True),), "a"),
        Row("b", (Value(1.01, 1.00, 1.02, 2, is_range=True),), "b"),
        Row("c", (Value(1.05, 1.04, 1.06, 2, is_range=True),), "c"),
        Row("d", (Value(1.10, places=2),), "d"),
        Row("e", (Value(1.02, 1.01, 1.03, 2, is_range=True, disturbed=True),), "e"),
    ]
    assert [is_best(row.entries[0]) for row in mark_best(rows, 0, min)] == [
        True,
        True,
        *[False] * 3,
    ]
    assert not any(is_best(row.entries[0]) for row in mark_best(rows[4:], 0, min))


def test_compare_names_its_interval_and_n(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0, 1])
    table = with_mark_explained(comparison(study, study))
    assert "95 % interval of Student's t of the paired differences" in table.caption
    assert set(column(table, "n").values()) == {"2"}
