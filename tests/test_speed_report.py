"""The report of benchmark studies, made from result files as `experiments.benchmark` leaves them:
made-up power laws, and failures.
"""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ablations.report.benchmark_rows import exponent, grid_rows, slope
from ablations.report.figures.growth import growth
from ablations.report.report import load_report
from ablations.report.table import Table
from ablations.results import load_cells
from ablations.study import Study, load_study
from ablations.study.cell import Cell
from experiments.run_dir.outcome import BENCHMARK_NUMBERS
from reformer_pl.config import ConfigError
from test_report import best_places, report_page

LENGTHS = (1024, 2048, 4096, 8192)
POWERS = {
    "Full": (2.0, 1.0),
    "LSH-4": (1.0, 1.0),
    "Naive": (2.0, 2.0),
}  # of the length: seconds, memory
VARIANTS = {
    "Full": ["model.attention=full"],
    "LSH-4": ["model.attention=lsh"],
    "Naive": ["model.attention=full", "benchmark.peer=naive"],
}
FORMULAE = {"LSH-4": {"memory": "b n_h l n_r c", "time": "b n_h n_r l²"}}
AXES = {"length": {length: [f"task.length={length}"] for length in LENGTHS}, "variant": VARIANTS}


def write_result(cell: Cell, measure: str, **numbers: float) -> None:
    cell.directory.mkdir(parents=True)
    values = {
        "status": "ok", "error": None, "measure": measure, "peer": "none",
        **dict.fromkeys(BENCHMARK_NUMBERS), "batch_size": 1,
        "n_layers": 1, "n_repeats": 3, **numbers, "device": "CPU, 2 cores", "threads": 1,
        "versions": {"torch": "2.13.0"},
        "git_commit": "0123abc", "finished_at": "2026-11-21T12:00:00+00:00",
    }  # fmt: skip
    (cell.directory / "result.json").write_text(json.dumps(values))


def spoil(cell: Cell, status: str, error: str) -> None:
    path = cell.directory / "result.json"
    kept = {
        "status": status,
        "error": error,
        "measure": "attention",
        "peer": "none",
        "predicted_memory_gib": 17.0,
    }
    path.write_text(json.dumps({**dict.fromkeys(json.loads(path.read_text())), **kept}))


def make_study(folder: Path, values: dict[str, object]) -> Study:
    (folder / "speed.yaml").write_text(
        yaml.safe_dump({"timed": True, **values}, sort_keys=False, allow_unicode=True)
    )
    return load_study(folder / "speed.yaml", folder / "runs")


def power_laws(folder: Path, paired: bool = False) -> Study:
    """seconds = (length / 1024)^a, MiB = 8 (length / 1024)^b; the longest naive case fails."""
    study = make_study(folder, {
        "measure": "attention", "axes": AXES, "report": ["speedup", "complexity", "length_memory",
        "length_time", "cost"],
        "paper": {"complexity": FORMULAE, "length_time": {"Full": {1024: 0.5, 4096: 8.0},
        "LSH-4": {1024: 2.0}}},
    })  # fmt: skip
    for cell in study.cells:
        variant, at = study.grids[0].place(cell)
        times = int(at) / 1024
        seconds, memory = (times**power for power in POWERS[variant])
        full = times ** POWERS["Full"][0]
        numbers = (
            {"full_seconds": full, "speedup": 0.9 * full / seconds}
            if paired and variant != "Full"
            else {}
        )
        write_result(
            cell, "attention", length=int(at), forward_seconds=seconds / 4,
            backward_seconds=3 * seconds / 4, step_seconds=seconds,
            step_seconds_iqr=0.01 * seconds, peak_memory_gib=8 * memory / 1024,
            tokens_per_second=int(at) / seconds, **numbers,
        )  # fmt: skip
    spoil(study.cells[-1], "would_not_fit", "17.0 GiB are predicted, and 16 GiB are the limit")
    return study


def tables_of(study: Study) -> dict[str, Table]:
    return {table.name: table for table in load_report(study).tables}


def by_row(table: Table) -> dict[str, dict[str, str]]:
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.texts()}


def test_seconds_and_memory_by_length_with_their_ratios_and_the_papers_row(tmp_path: Path) -> None:
    tables = tables_of(power_laws(tmp_path))
    seconds = by_row(tables["length_time"])
    assert seconds["Full"] == {
        "variant": "Full",
        "1024": "1.00",
        "2048": "4.00",
        "4096": "16.0",
        "8192": "64.0",
    }
    assert seconds["Full, paper"] == {
        "variant": "Full, paper",
        "1024": "0.500",
        "2048": "-",
        "4096": "8.00",
        "8192": "-",
    }
    assert (
        seconds["Naive"]["8192"]
        == by_row(tables["length_memory"])["Naive"]["8192"]
        == "would not fit"
    )
    assert (
        by_row(tables["length_memory"])["Naive"]["4096"] == "128"
        and by_row(tables["length_memory_ratio"])["Naive"]["4096"] == "4.00"
    )
    assert by_row(tables["length_memory_ratio"])["LSH-4"]["8192"] == "1.00"
    best = best_places(tables["length_time"])
    assert (
        ("LSH-4", "8192") in best
        and ("Full", "8192") not in best
        and not any("paper" in name for name, _ in best)
    )
    data = tables["length_memory"].data.set_index(["variant", "at"])
    assert data.loc[("Naive", "8192"), "status"] == "would_not_fit" and math.isnan(
        data.loc[("Naive", "8192"), "value"]
    )


@pytest.mark.parametrize("paired", [False, True])
def test_speedup_is_of_pairs_where_there_are_pairs(tmp_path: Path, paired: bool) -> None:
    table = tables_of(power_laws(tmp_path, paired))["speedup"]
    rows = by_row(table)
    assert (
        rows["LSH-4"]["8192"] == ("7.20" if paired else "8.00") and rows["Full"]["8192"] == "1.00"
    )
    assert (
        rows["Naive"]["2048"] == ("0.90" if paired else "1.00")
        and rows["Naive"]["8192"] == "would not fit"
    )
    assert rows["LSH-4, paper"]["1024"] == "0.25" and ("timed in turn" in table.caption) == paired


def test_exponents_of_a_power_law_are_exact(tmp_path: Path) -> None:
    study = power_laws(tmp_path)
    found = tables_of(study)["complexity"]
    data = found.data.set_index("variant")
    for variant, (seconds, memory) in POWERS.items():
        assert data.loc[variant, ["time_exponent", "memory_exponent"]].tolist() == pytest.approx(
            [seconds, memory], abs=1e-12
        )
    rows = by_row(found)
    assert (
        rows["Full"]["time 8192 / 4096"] == "4.00" and rows["LSH-4"]["time 8192 / 4096"] == "2.00"
    )
    assert (
        rows["Naive"]["time 8192 / 4096"] == "would not fit"
        and rows["Naive"]["lengths"] == "1024-4096 (3)"
    )
    assert (rows["LSH-4"]["memory, paper"], rows["Full"]["time, paper"]) == ("b n_h l n_r c", "-")
    for cell in study.cells[3:]:  # one length is left
        spoil(cell, "oom", "out of memory")
    row = by_row(tables_of(study)["complexity"])["LSH-4"]
    assert (row["time exponent"], row["lengths"], row["time 8192 / 4096"]) == (
        "-",
        "1024 (1)",
        "oom",
    )


def test_cost_compares_with_the_first_variant_at_the_same_length(tmp_path: Path) -> None:
    table = tables_of(power_laws(tmp_path))["cost"]
    rows = {row[:2]: row for row in table.texts()}
    assert (
        table.header[:3] == ("variant", "length", "forward (s)")
        and table.header[6] == table.header[8] == "x Full"
    )
    assert rows[("LSH-4", "4096")][2:9] == (
        "1.00",
        "3.00",
        "4.00",
        "0.0400",
        "0.25",
        "32.0",
        "1.00",
    )
    assert rows[("Naive", "8192")] == (
        "Naive",
        "8192",
        "-",
        "-",
        "would not fit",
        "-",
        "-",
        "would not fit",
        "-",
        "-",
        "-",
        "-",
    )
    assert all(words in table.caption for words in ("CPU, 2 cores", "1 thread;", "fp32", "batch 1"))


SORTED = [
    "model.attention=lsh",
    "model.n_heads=2",
    "model.lsh.n_hashes=4",
    "model.lsh.chunk_len=48",
    "task.batch_size=16",
]
SORTED_MIB = 8 * 16 * 2 * 4 * 96 / 2**20  # 8 bytes, batch, heads, rounds, two chunks for 64 tokens


def layers_study(folder: Path) -> Study:
    """Two grids: 3 MiB a layer of which a third is parameters, or parameters and a sort order; and
    a grid without a growing axis.
    """
    study = make_study(folder, {
        "measure": "step", "base": ["task.length=64"], "grids": {
            "depths": {
                "axes": {"model.n_layers": [2, 4, 8], "train": {"A": ["model.attention=full"],
                "B": SORTED}}, "report": ["per_layer"],
            },
            "widths": {"base": ["model.d_ff=64"], "axes": {"model.d_model": [64, 128]}},
        },
    })  # fmt: skip
    for cell in study.cells:
        layers = int(cell.labels[0].removeprefix("n_layers=")) if len(cell.labels) == 2 else 1
        each = 3 if cell.labels[-1] == "A" else 1 + SORTED_MIB
        numbers = {
            "length": 64,
            "n_layers": layers,
            "step_seconds": 0.5 + 0.25 * layers,
            "peak_memory_gib": (10 + each * layers) / 1024,
        }
        write_result(cell, "step", **numbers, parameters=1000 + 65536 * layers)
    return study


def test_a_layer_costs_its_slope_and_its_parameters_are_told_apart(tmp_path: Path) -> None:
    study = layers_study(tmp_path)
    assert [cell.name for cell in study.cells][::5] == [
        "depths_n_layers=2_A",
        "depths_n_layers=8_B",
    ]
    assert study.cells[6].overrides[:4] == (
        "benchmark.measure=step",
        "task.length=64",
        "model.d_ff=64",
        "model.d_model=64",
    )
    assert study.cells[6].command()[2] == "experiments.benchmark"
    tables = tables_of(study)
    assert list(tables) == ["per_layer_depths", "cost_widths"]
    rows = by_row(tables["per_layer_depths"])
    assert rows["A"] == {
        "variant": "A", "MiB at 2": "16.0", "MiB at 4": "22.0", "MiB at 8": "34.0",
        "MiB a layer": "3.00",
        "parameters' MiB": "1.00", "sort order": "0.00", "the rest": "2.00", "s a layer": "0.250",
        "n": "3",
    }  # fmt: skip
    assert (rows["B"]["MiB a layer"], rows["B"]["sort order"], rows["B"]["the rest"]) == (
        "1.09",
        "0.09",
        "0.00",
    )
    assert (
        tables["cost_widths"].header[:2] == ("variant", "forward (s)")
        and len(tables["cost_widths"].rows) == 2
    )


def test_pages_are_written(tmp_path: Path) -> None:
    study = power_laws(tmp_path)
    page = report_page(study)
    text = page.read_text()
    assert (
        "would not fit" in text
        and "1 would_not_fit" in text
        and "17.0 GiB are predicted" in text
        and "LSH-4, paper" in text
    )
    assert {path.stem for path in page.parent.glob("*.png")} == {"length_time", "length_memory"}
    assert "Naive at 8192 (would not fit)" in text
    assert {path.stem for path in page.parent.glob("*.tex")} == set(tables_of(study))
    assert r"\,l^2$" in (page.parent / "complexity.tex").read_text()
    (tmp_path / "layers").mkdir()
    page = report_page(layers_study(tmp_path / "layers"))
    assert (page.parent / "per_layer_depths.pdf").exists() and (
        page.parent / "cost_widths.csv"
    ).exists()


def test_a_figure_draws_the_table(tmp_path: Path) -> None:
    study = power_laws(tmp_path)
    rows = grid_rows(study.grids[0], load_cells(study))
    axes = growth(rows, "step_seconds", "Seconds", "Length", study.paper["length_time"]).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn["Naive"].get_xdata()) == [1024, 2048, 4096] and list(
        drawn["Naive"].get_ydata()
    ) == [1, 4, 16]
    dotted = [line for line in axes.lines if list(line.get_ydata()) == [0.5, 8.0]]
    assert [line.get_color() for line in dotted] == [drawn["Full"].get_color()]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        str(length) for length in LENGTHS
    ]


def test_slopes_ignore_what_is_missing() -> None:
    x, y = pd.Series([1.0, 2.0, 3.0, 4.0]), pd.Series([2.0, math.nan, 6.0, 8.0])
    assert (
        slope(x, y) == pytest.approx(2.0)
        and math.isnan(slope(x, y.where(y > 6)))
        and exponent(x, x**1.5) == pytest.approx(1.5)
    )


REFUSED = {
    "a part that needs another axis": ({"axes": {"model.attention": ["full"]},
    "report": ["complexity"]}, "needs an axis named length"),
    "a part of training": ({"axes": AXES, "report": ["train_eval"]},
    "'train_eval' is unknown in a study with a measure: choose cost"),
    "axes beside grids": ({"axes": AXES, "grids": {"a": {"axes": AXES}}},
    "axes stands in each of the grids"),
    "a grid's unknown key": ({"grids": {"a": {"axes": AXES, "seeds": [0]}}},
    "grids.a must be a mapping with the keys measure"),
    "a grid without axes": ({"grids": {"a": {}}}, "the grid is empty: axes"),
    "a grid that is no file name": ({"grids": {"a/b": {"axes": AXES}}},
    "the grid name 'a/b' must be a word"),
    "grids that train": ({"measure": "none", "grids": {"a": {"axes": AXES}}},
    "grids.a has no measure"),
    "the paper's unknown part": ({"axes": AXES, "paper": {"table9": {}}},
    "paper.table9 is unknown: choose train_eval"),
    "the paper's unknown length": ({"axes": AXES,
    "paper": {"length_time": {"Full": {"77": 1.0}}}}, "paper.length_time.Full must map"),
    "the paper's unknown variant": ({"axes": AXES, "paper": {"complexity": {"Fll": {}}}},
    "paper.complexity.Fll is no variant"),
    "seconds in words": ({"axes": AXES, "paper": {"length_time": {"Full": {"1024": "fast"}}}},
    "to positive seconds"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_report_can_show_is_refused(what: str, tmp_path: Path) -> None:
    values, reason = REFUSED[what]
    with pytest.raises(ConfigError, match=reason):
        make_study(tmp_path, {"measure": "attention", **values})
