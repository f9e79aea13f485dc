"""What a report, load_results and export show of a study that tunes."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ablations.__main__ import main
from ablations.report.report import load_report
from ablations.report.table import text_of
from ablations.results import load_results
from ablations.study import Study, compose_cells, load_study
from ablations.study.tune.final_cells import stages
from experiments.run_dir.files import CONFIG, RESULT, config_text, json_text
from experiments.run_dir.outcome import FAILED, OK, RESULT_NUMBERS
from reformer_pl.config import ConfigError

# By variant, then by learning rate and tuning seed; None: it failed.
SCORES: dict[str, dict[float, tuple[float | None, ...]]] = {
    "Full": {0.001: (0.5, 0.6), 0.002: (0.7, 0.8), 0.004: (0.6, 0.6)},
    "LSH-2": {0.001: (0.1, 0.2), 0.002: (0.2, 0.3), 0.004: (0.5, 0.4)},
    "LSH-1": {0.001: (0.3, 0.3), 0.002: (0.9, None), 0.004: (None, None)},
}
VALUES = {
    "base": ["experiment=duplication"],
    "axes": {
        "train": {
            "Full": ["model.attention=shared_full"],
            "LSH-2": ["model.attention=lsh", "model.lsh.n_hashes=2"],
            "LSH-1": ["model.attention=lsh", "model.lsh.n_hashes=1"],
        }
    },
    "tune": {"optim.lr": [0.001, 0.002, 0.004]},
    "tune_seeds": [0, 5],
    "seeds": [0, 1],
    "report": ["loss_memory", "paired"],
}


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    monkeypatch.chdir(tmp_path)

    def study(**values: object) -> Study:
        written = {key: value for key, value in (VALUES | values).items() if value is not None}
        Path("mine.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
        return load_study("./mine.yaml")

    return study


def finish(study: Study, scores: Mapping[str, Mapping[float, tuple[float | None, ...]]]) -> None:
    """Results in the place of runs; a final cell scores 0.001 more than its value's first seed."""
    for cell, config in zip(study.cells, compose_cells(study), strict=True):
        if study.is_open(cell) or (cell.directory / RESULT).exists():
            continue
        of_seeds = scores[cell.train.split(" / ")[0]][config.optim.lr]
        tried = {0: 0, 5: 1}.get(cell.seed)
        score = of_seeds[0] + 0.001 if tried is None else of_seeds[tried]
        result = dict.fromkeys(RESULT_NUMBERS) | {"status": OK, "error": None}
        result |= {"accuracy": score, "loss_nats": 1.0, "steps": 1, "peak_memory_gib": 0.5}
        if score is None:
            result |= {"status": FAILED, "error": "diverged", "accuracy": None, "loss_nats": None}
        cell.directory.mkdir(parents=True, exist_ok=True)
        (cell.directory / CONFIG).write_text(config_text(config))
        (cell.directory / RESULT).write_text(json_text(result))


def finish_all(study: Callable[..., Study]) -> Study:
    finish(stages(study())[0], SCORES)
    finish(study(), SCORES)
    return study()


def test_the_choice_is_a_table_and_a_column(tuned: Callable[..., Study]) -> None:
    study = finish_all(tuned)
    report = load_report(study)
    tables = {table.name: table for table in report.tables}
    choice = tables["tuning"]
    assert choice.header == ("variant", "tuned lr", "lr=0.001", "lr=0.002", "lr=0.004")
    assert [tuple(map(text_of, row.entries)) for row in choice.rows] == [
        ("0.002", "55.0", "75.0", "60.0"),
        ("0.004 (edge)", "15.0", "25.0", "45.0"),
        ("0.001 (edge)", "30.0", "90.0 (1 failed)", "failed"),
    ]
    assert [[e.best for e in row.entries[1:] if hasattr(e, "best")] for row in choice.rows] == [
        [False, True, False], [False, False, True], [True, False],
    ]  # fmt: skip
    for name in ("loss_memory", "paired"):
        table = tables[name]
        assert table.header[-1] == "tuned lr"
        column = {row.variant: text_of(row.entries[-1]) for row in table.rows if row.variant}
        expected = {"Full": "0.002", "LSH-2": "0.004 (edge)", "LSH-1": "0.001 (edge)"}
        assert column == {variant: expected[variant] for variant in column} and len(column) >= 2
        assert {len(row.entries) for row in table.rows} == {len(table.header) - 1}
    assert "(edge): it is at the edge of its list" in tables["loss_memory"].caption
    data = tables["loss_memory"].data.set_index("train")["tuned.optim.lr"]
    assert dict(data) == {"Full": "0.002", "LSH-2": "0.004", "LSH-1": "0.001"}
    assert set(report.cells["train"]) == {"Full", "LSH-2", "LSH-1"}, "a row of a tuning cell"
    assert list(report.cells["seed"]) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("word", ["train_eval", "learning_curves", "table"])
def test_other_words_have_the_column_or_stay(tuned: Callable[..., Study], word: str) -> None:
    entry = {"table": {"rows": "train", "columns": "evaluation", "value": "accuracy"}}
    report = [entry] if word == "table" else [word]
    evaluations = {"Full": ["model.attention=shared_full"]}
    tuned(report=report, evaluations=evaluations)
    study = finish_all(lambda: load_study("./mine.yaml"))
    names = [table.name for table in load_report(study).tables]
    assert names[-1] == "tuning" and names.count("tuning") == 1


def test_a_word_places_the_table(tuned: Callable[..., Study]) -> None:
    assert tuned(report=["tuning", "loss_memory"]).report == ("tuning", "loss_memory")
    assert tuned(report=["loss_memory"]).report == ("loss_memory", "tuning")
    with pytest.raises(ConfigError, match="report: tuning shows what tune chooses: add tune"):
        tuned(report=["tuning"], tune=None, tune_seeds=None)


def test_rounds_are_one_series_though_each_has_its_own_learning_rate(
    tuned: Callable[..., Study],
) -> None:
    study = tuned(report=["hash_rounds"])
    finish(stages(study)[0], SCORES)
    study = load_study("./mine.yaml")
    finish(study, SCORES)
    lrs = {config.optim.lr for config in compose_cells(study) if config.model.attention == "lsh"}
    assert lrs == {0.004, 0.001}
    (table, _) = load_report(study).tables
    assert [row.label for row in table.rows] == ["Full", "LSH-1", "LSH-2"]
    assert list(table.data["series"]) == ["Full", "LSH", "LSH"]


def test_a_report_while_tuning_goes_on(
    tuned: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = tuned()
    assert main(["report", "./mine.yaml"]) == 2
    assert "no finished cell" in capsys.readouterr().err
    tuning = stages(study)[0]
    kept = tuple(cell for cell in tuning.cells if cell.train != "LSH-1 / lr=0.004")
    finish(replace(tuning, cells=kept), SCORES)
    finish(tuned(), SCORES)
    study = tuned()
    assert {cell.train for cell in study.cells if study.is_open(cell)} == {"LSH-1"}
    rows = {row.variant: row for table in load_report(study).tables for row in table.rows}
    assert text_of(rows["LSH-1"].entries[0]) == "-"
    assert text_of(rows["LSH-1"].entries[-1]) == "0 of 2 ended"
    assert main(["report", "./mine.yaml", "--format", "csv,md"]) == 0


def test_rows_tell_tuning_from_final_cells(tuned: Callable[..., Study]) -> None:
    study = finish_all(tuned)
    rows = load_results(study)
    assert dict(rows.groupby("stage")["cell"].count()) == {"tuning": 18, "final": 6}
    assert set(rows["study"]) == {"mine"}
    final = rows[rows["stage"] == "final"]
    assert list(final["variant"]) == ["Full", "LSH-2", "LSH-1"] * 2
    assert list(final["config.optim.lr"]) == [0.002, 0.004, 0.001] * 2
    both = set(rows[rows["stage"] == "tuning"]["directory"]) & set(final["directory"])
    assert both == {str(cell.directory) for cell in study.cells if cell.seed == 0}
    assert set(rows[rows["stage"] == "tuning"]["status"]) == {OK, FAILED}
    assert "stage" not in load_results(Path("runs/mine"))


def test_export_and_compare(
    tuned: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    finish_all(tuned)
    assert main(["export", "./mine.yaml", "--out", "all.csv"]) == 0
    with open("all.csv") as file:
        stages_of = [row["stage"] for row in csv.DictReader(file)]
    assert stages_of == ["tuning"] * 18 + ["final"] * 6
    assert main(["compare", "./mine.yaml", "./mine.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "Full" in printed and "lr=0.001" not in printed
