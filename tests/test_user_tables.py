"""A table of the user's choice, and chosen columns: `report:` with mappings."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ablations.report.interval import mean_interval
from ablations.report.report import load_report
from ablations.report.table import Table, Value
from ablations.results import load_results
from ablations.study import Study, load_study
from grid_study import grid_study
from reformer_pl.config import ConfigError
from test_speed_report import power_laws

BY_RATE = {"rows": ["model.attention", "model.residual"], "columns": "optim.lr", "value": "bits_per_dim"}  # fmt: skip
BY_SCORE = {"rows": ["optim.lr", "model.attention", "model.residual"], "columns": "evaluation", "value": "accuracy"}  # fmt: skip


def tables(study: Study) -> dict[str, Table]:
    return {table.name: table for table in load_report(study).tables}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    report = [
        {"table": BY_RATE},
        {"loss_memory": {"columns": ["memory ratio", "bits per dim"]}},
        {"table": BY_SCORE},
    ]
    return grid_study(
        tmp_path_factory.mktemp("grid"), 8, 3, report=report, evaluations=True,
        endings={(0, 0): "oom", (1, 0): "oom", (1, 1): "failed", (1, 2): "failed"},
    )  # fmt: skip


def test_a_table_of_ones_own_is_the_mean_of_the_runs_with_n_or_says_why_there_is_none(
    study: Study,
) -> None:
    made = tables(study)
    assert list(made)[:2] == ["table", "table_2"]
    table, results = made["table"], load_results(study)
    results = results[results["eval"] == "own"]
    rates = list(dict.fromkeys(cell.labels[1] for cell in study.cells))
    assert table.header == ("model.attention, model.residual", *rates)
    cells = {(row.label, rate): entry for row in table.rows for rate, entry in zip(rates, row.entries, strict=True)}  # fmt: skip
    assert len(cells) == 8
    for cell in study.cells:
        attention, rate, residual = cell.labels
        entry = cells[f"{attention} / {residual}", rate]
        values = results.loc[(results["train"] == cell.train) & (results["status"] == "ok"), "bits_per_dim"]  # fmt: skip
        if values.empty:
            assert entry.text == "2 failed, 1 oom"
            continue
        assert isinstance(entry, Value) and entry.mean == pytest.approx(values.mean())
        assert (entry.low, entry.high) == pytest.approx(mean_interval(values), nan_ok=True)
        assert entry.note == f"(n = {len(values)})"
    assert {entry.note for entry in cells.values() if isinstance(entry, Value)} == {"(n = 3)", "(n = 2)"}  # fmt: skip
    assert "bits per dim by model.attention, model.residual (rows)" in table.caption.replace("B", "b")  # fmt: skip


def test_the_evaluations_are_an_axis_and_scores_are_in_the_reports_unit(study: Study) -> None:
    table = tables(study)["table_2"]
    assert table.header[1:] == ("rounds-2", "rounds-8") and len(table.rows) == 8
    entry = table.rows[-1].entries[0]
    results = load_results(study)
    own = results[(results["train"] == table.rows[-1].variant) & (results["eval"] == "rounds-2")]
    assert entry.mean == pytest.approx(100 * own["accuracy"].mean())
    assert table.data["accuracy_mean"].max() <= 1


def test_chosen_columns_are_those_of_the_table_in_that_order(study: Study) -> None:
    assert tables(study)["loss_memory"].header == ("variant", "memory ratio", "bits per dim")


def test_a_benchmark_has_such_tables_too(tmp_path: Path) -> None:
    power_laws(tmp_path)  # writes the runs
    path = tmp_path / "speed.yaml"
    values = yaml.safe_load(path.read_text())
    chosen = {"rows": list(values["axes"])[:1], "columns": list(values["axes"])[1:]}
    values["report"] = [{"table": {**chosen, "value": "forward_seconds"}}]
    del values["paper"]
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    study = load_study(path, tmp_path / "runs")
    table = tables(study)["table"]
    results = load_results(study).set_index("train")["forward_seconds"]
    shown = [e for row in table.rows for e in row.entries]
    numbers = [entry.mean for entry in shown if isinstance(entry, Value)]
    assert sorted(numbers) == pytest.approx(sorted(results.dropna()))
    assert [entry.text for entry in shown if not isinstance(entry, Value)] == ["1 would not fit"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("table", "report: table is a mapping with the keys rows, columns, value"),
        ({"table": {**BY_RATE, "rows": "model.atention"}}, "report: table.rows: 'model.atention' is unknown: choose model.attention, optim.lr, model.residual"),
        ({"table": {**BY_RATE, "columns": "evaluation"}}, "'evaluation' is unknown: choose model.attention, optim.lr, model.residual"),
        ({"table": {**BY_RATE, "value": "bits"}}, "report: table.value: 'bits' is unknown: choose loss_nats, accuracy, bits_per_dim"),
        ({"table": {**BY_RATE, "value": "seconds"}}, "'seconds' is unknown: choose loss_nats"),
        ({"table": {**BY_RATE, "rows": "model.attention"}}, "a mean over model.residual would be of unlike runs: add it to rows or columns, as in rows: [model.attention, model.residual]"),
        ({"table": {**BY_RATE, "columns": "model.residual"}}, "model.residual is both in rows and in columns"),
        ({"table": {"rows": "optim.lr"}}, "report: table must be a mapping with the keys rows, columns, value"),
        ({"table": ["rows"]}, "report: table must be a mapping with the keys rows, columns, value"),
        ({"table": {**BY_RATE, "rows": []}}, "report: table.rows must name axes, each once"),
        ({"tabel": {}}, "report: tabel may have a list of columns alone"),
        ({"tabel": {"columns": ["x"]}}, "report: 'tabel' is unknown: choose train_eval"),
        ({"paired": {"columns": "x"}}, "report: paired may have a list of columns alone, not"),
        ({"paired": {}, "table": {}}, "is neither a word nor a mapping of one word"),
        (["paired"], "is neither a word nor a mapping of one word"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_refused_with_the_valid_words(
    tmp_path: Path, entry: Any, reason: str
) -> None:
    with pytest.raises(ConfigError) as error:
        grid_study(tmp_path, 8, 1, report=[entry], runs=False)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_column_is_refused_with_those_of_the_table(tmp_path: Path) -> None:
    entry = {"loss_memory": {"columns": ["bits per dim", "speed"]}}
    study = grid_study(tmp_path, 2, 1, report=[entry])
    with pytest.raises(ConfigError, match="loss_memory: the column 'speed' is unknown: choose bits per dim"):  # fmt: skip
        load_report(study)
