"""Memory predicted far beyond the machine: `benchmark.predict_only`, `predict:` of a grid, and the report's word `memory_axes`."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ablations.launch.predicted_memory import too_large
from ablations.launch.views.plan import plan_end
from ablations.report.figures.memory_panels import count_text, memory_text
from ablations.report.report import Report, load_report
from ablations.report.write import write_report
from ablations.study import Study, compose_cells, load_study
from experiments import benchmark
from experiments.run_dir.outcome import BENCHMARK_NUMBERS
from reformer_pl.config import ConfigError
from reformer_pl.measure import predict_memory
from reformer_pl.model import SequenceModel
from test_benchmark import TINY
from tiny import tiny

VARIANTS = {"Full": ["model.attention=full"], "LSH": ["model.attention=lsh"]}
LENGTHS = {"task.length": [64, 128], "variant": VARIANTS}


def make_study(folder: Path, **values: Any) -> Study:
    (folder / "axes.yaml").write_text(
        yaml.safe_dump({"measure": "step", **values}, sort_keys=False)
    )
    return load_study(folder / "axes.yaml", folder / "runs")


def of_four_grids(folder: Path) -> Study:
    """Predicted are 100 MiB times the number on the axis, and measured a tenth more."""
    keys = ("task.length", "model.n_layers", "model.d_ff", "task.batch_size")
    grids = {
        key.rsplit(".", 1)[-1]: {
            "axes": {key: [16, 32], "variant": VARIANTS}, "predict": {key: [1048576]},
            "report": ["memory_axes"],
        }
        for key in keys
    }  # fmt: skip
    study = make_study(folder, base=["model.lsh.chunk_len=8"], grids=grids)
    for grid in study.grids:
        for cell in grid.cells:
            at = int(grid.place(cell)[1].rsplit("=")[-1])
            ran = at < 1000
            numbers = {
                "predicted_memory_gib": at / 10.24, "peak_memory_gib": at / 10.24 * 1.1 * ran or None,
                "parameters": 2**20 * at,
            }  # fmt: skip
            cell.directory.mkdir(parents=True)
            result = dict.fromkeys(BENCHMARK_NUMBERS) | {"status": "ok", "error": None} | numbers
            (cell.directory / "result.json").write_text(json.dumps(result))
    return study


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return load_report(of_four_grids(tmp_path_factory.mktemp("axes")))


@pytest.mark.parametrize(
    "overrides",
    [
        ["task.batch_size=65536", "model.residual=reversible", "model.attention=full"],
        ["model.d_ff=65536", "model.residual=checkpoint"],
    ],
)
def test_a_case_of_any_size_is_predicted_and_runs_nothing(
    tmp_path: Path, overrides: list[str]
) -> None:
    case = [*TINY, "benchmark.measure=step", *overrides, "benchmark.predict_only=true"]
    limit = "benchmark.memory_limit_gib=0.0001"  # of what runs
    assert benchmark.main([*case, limit, f"out_dir={tmp_path}"]) == 0
    row = json.loads((tmp_path / "result.json").read_text())
    (config,) = [benchmark.compose(case)]
    assert row["status"] == "ok" and row["peak_memory_gib"] is row["step_seconds"] is None
    assert row["predicted_memory_gib"] == predict_memory(config)["total"]
    model = SequenceModel(config.model, 128, config.task.length)
    assert row["parameters"] == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("measure", ["attention", "layer"])
def test_one_attention_is_predicted_alone_too(tmp_path: Path, measure: str) -> None:
    case = [*TINY, f"benchmark.measure={measure}", "task.length=65536", "model.attention=lsh"]
    case += ["benchmark.predict_only=true", f"out_dir={tmp_path}"]
    assert benchmark.main(case) == 0
    row = json.loads((tmp_path / "result.json").read_text())
    assert row["predicted_memory_gib"] > 0 and row["peak_memory_gib"] is row["parameters"] is None


def test_nothing_predicts_a_public_reformer() -> None:
    words = ["benchmark.measure=layer", "benchmark.peer=lucidrains", "benchmark.predict_only=true"]
    attention = ["model.attention=lsh", "model.lsh.window=wrap", "model.lsh.bucket_mask=false"]
    with pytest.raises(ConfigError, match="nothing predicts the memory of"):
        tiny(*words, *attention, "model.lsh.dedupe=false", "task.length=16")


def test_further_values_of_an_axis_are_cells_that_run_nothing(tmp_path: Path) -> None:
    further = {"task.length": [4096, 1048576]}
    study = make_study(
        tmp_path, axes=LENGTHS, predict=further, report=["memory_axes", "length_memory"]
    )
    configs = dict(zip(study.cells, compose_cells(study), strict=True))
    alone = {c.task.length for c in configs.values() if c.benchmark.predict_only}
    assert (len(study.cells), alone) == (8, {4096, 1048576})
    (grid,) = study.grids
    assert {cell.labels[0] for cell in grid.measured().cells} == {"length=64", "length=128"}
    beyond = {cell: config for cell, config in configs.items() if config.benchmark.predict_only}
    assert not too_large(beyond, 1e-9, [])  # --memory-limit is of what runs


@pytest.mark.parametrize(
    ("base", "largest"), [([], "128 GiB"), (["benchmark.predict_only=true"], "4096 GiB")]
)
def test_plan_names_the_largest_peak_of_what_runs(
    tmp_path: Path, base: list[str], largest: str
) -> None:
    further = {"task.length": [4096]}
    study = make_study(tmp_path, base=base, axes=LENGTHS, predict=further, report=["memory_axes"])
    lengths = SimpleNamespace(of=lambda config: {"total": float(config.task.length)})
    lines = plan_end(study, compose_cells(study), lengths)
    assert any(largest in line and "predicted at most" in line for line in lines), lines


LABELLED = {"length": {"a": ["task.length=64"], "b": ["task.length=128"]}, "variant": VARIANTS}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"axes": LENGTHS, "predict": {"model.d_ff": [64]}}, "model.d_ff is no axis of the grid"),
        ({"axes": LENGTHS, "predict": {"task.length": [128]}}, "length=128 stands in axes already"),
        ({"axes": LENGTHS, "predict": {"task.length": []}}, "axis task.length has no entry"),
        ({"axes": LENGTHS, "predict": {"task.length": [256]}, "measure": "none"}, "trains"),
        ({"axes": {"variant": VARIANTS}, "report": ["memory_axes"]}, "needs an axis of numbers"),
        (
            {"axes": LENGTHS, "base": ["benchmark.predict_only=true"], "report": ["cost"]},
            "shows what was measured",
        ),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_study(tmp_path, **values)


@pytest.mark.parametrize(
    ("axes", "grown"),
    [
        ({"variant": VARIANTS, "model.d_ff": [8, 16]}, "d_ff"),
        ({"model.lsh.n_hashes": [1, 2], "variant": VARIANTS}, "n_hashes"),
        ({"model.d_ff": [8, 16], "task.length": [64, 128]}, "length"),
        (LABELLED, "length"),
    ],
)
def test_what_grows_is_the_length_the_layers_or_the_first_axis_of_numbers(
    tmp_path: Path, axes: dict[str, Any], grown: str
) -> None:
    assert make_study(tmp_path, axes=axes, report=["memory_axes"]).grids[0].grown == grown


def test_all_grids_are_one_table_and_one_figure_of_a_panel_each(report: Report) -> None:
    assert [table.name for table in report.tables] == ["memory_axes"]
    (drawing,) = report.figures
    axes = drawing.figure.axes
    assert [panel.get_xlabel() for panel in axes] == ["Length", "Layers", "d_ff", "Batch"]
    assert axes[0].get_title(loc="left") == "1 layer, d_ff 256, batch 8"
    table = report.tables[0]
    assert table.header[1] == "length 1M (GiB)"
    rows = {row[0]: row[1:] for row in table.texts()}
    assert rows["LSH"] == ("102,400",) * 4 + ("1.100", "8")


def test_the_data_have_each_place_with_the_weights_and_the_scores_not_stored(
    report: Report,
) -> None:
    data = report.tables[0].data.set_index(["grid", "variant", "place"])
    row = data.loc["length", "Full", 32]
    assert row["weights_gib"] == pytest.approx(32 * 16 * 2**20 / 2**30)  # Adam's two moments
    assert row["scores_gib"] == 4 * 8 * 4 * 32**2 / 2**30  # batch 8, 4 heads
    assert data.loc["d_ff"]["scores_gib"].isna().all()
    beyond = data.loc["batch_size", "LSH", 1048576]
    assert beyond["predicted_memory_gib"] == 102400 and beyond.isna()["peak_memory_gib"]


def test_points_are_measured_and_lines_are_predicted(report: Report) -> None:
    lines = report.figures[0].figure.axes[1].lines
    ends = {line.get_xdata()[-1] for line in lines if line.get_linestyle() == "None"}
    assert ends == {32}
    assert {tuple(line.get_xdata()) for line in lines if len(line.get_xdata()) == 3} == {
        (16, 32, 1048576)
    }


def test_the_page_and_the_files_have_them(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    assert {"memory_axes.csv", "memory_axes.md", "memory_axes.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert "16 GiB" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("gib", "text"),
    [(2**-6, "16 MiB"), (1, "1 GiB"), (2.54, "2.5 GiB"), (1023, "1023 GiB"), (4096, "4 TiB"),
     (0.0004, "0.4 MiB")],
)  # fmt: skip
def test_memory_in_the_unit_that_suits_it(gib: float, text: str) -> None:
    assert memory_text(gib) == text


@pytest.mark.parametrize(
    ("number", "text"), [(512, "512"), (8192, "8K"), (1048576, "1M"), (100, "100"), (1000, "1000")]
)
def test_powers_of_two_are_short(number: int, text: str) -> None:
    assert count_text(number) == text
