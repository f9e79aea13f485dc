"""A disturbed time is marked in every table and figure and in status, never bold, and marks the ratios that stand on it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ablations.__main__ import main
from ablations.launch.local.quiet import MOST_BUSY_SHARE, STAT, busy_share
from ablations.report.compare import comparison
from ablations.report.drawing.figure import Drawing
from ablations.report.report import Report
from ablations.report.table import Table, is_best, with_mark_explained
from ablations.report.words import build_part
from ablations.report.write import write_report
from ablations.report.writers.terminal import print_tables
from ablations.results import load_cells, load_results
from ablations.study import Study, load_study
from ablations.study.cell import Cell
from experiments import benchmark
from experiments.benchmarking import timing  # noqa: F401  before the cores burn: it takes seconds
from experiments.run_dir.rounds import append_round
from experiments.times.disturbed import MARK, MARK_MEANS
from experiments.times.waited import run_delays
from test_interval import made_up
from test_report import memory_study
from test_rounds import row
from test_speed_report import POWERS, power_laws

QUIET, WAITED = {"waited_share": 0.001}, {"waited_share": 0.4}


def change(cell: Cell, **numbers: Any) -> None:
    path = cell.directory / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | numbers))


def of_label(study: Study, label: str) -> Cell:
    return next(cell for cell in study.cells if cell.train == label)


def table_of(study: Study, word: str, name: str = "") -> Table:
    """As the report has it, without drawing a figure."""
    part = build_part(word, study, load_cells(study), drawn=False)
    return with_mark_explained(next(t for t in part.tables if t.name == (name or word)))


BENCHMARK_WORDS = ("speedup", "length_time", "length_memory", "complexity", "cost")


def benchmark_tables(study: Study) -> dict[str, Table]:
    return {word: table_of(study, word) for word in BENCHMARK_WORDS}


def figures_of(study: Study, word: str) -> dict[str, Drawing]:
    return {drawn.name: drawn for drawn in build_part(word, study, load_cells(study)).figures}


def marked_places(table: Table) -> set[tuple[str, str]]:
    """(label, header) of the numbers that carry the mark; two columns may share a header."""
    return {
        (texts[0], name)
        for texts in table.texts()
        for name, text in zip(table.header, texts, strict=True)
        if MARK in text
    }


TIMES = ("s/step", "time ratio", "tokens/s")


def test_a_disturbed_variant_is_marked_and_the_quiet_best_stays_bold(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        change(cell, **(WAITED if cell.train == "Reformer" else QUIET))
    table = table_of(study, "loss_memory")
    assert marked_places(table) == {("Reformer", name) for name in TIMES}
    assert table.caption.endswith(MARK_MEANS)
    best = [
        row.label for row in table.rows if is_best(row.entries[table.header.index("s/step") - 1])
    ]
    assert best == ["Transformer"]
    flags = table.data.set_index("train")["disturbed"]
    assert flags["Reformer"] and not flags["Transformer"]


def test_a_disturbed_base_marks_every_ratio_and_is_not_bold(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    change(of_label(study, "Transformer"), step_seconds_q1=0.2, step_seconds_q3=0.4)
    table = table_of(study, "loss_memory")
    ratios = {(row.label, "time ratio") for row in table.rows if row.kind == "ours"}
    others = {("Transformer", name) for name in TIMES}
    assert marked_places(table) == ratios | others
    column = table.header.index("s/step") - 1
    assert not any(is_best(row.entries[column]) for row in table.rows)


def test_a_quiet_study_has_no_mark_anywhere(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        change(cell, **QUIET)
    table = table_of(study, "loss_memory")
    assert marked_places(table) == set()
    drawings = figures_of(study, "loss_memory").values()
    assert not any(MARK in shown.caption for shown in (table, *drawings))


def test_every_writer_has_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        change(cell, **(WAITED if cell.train == "Transformer" else QUIET))
    drawn = figures_of(study, "loss_memory")["time_memory"]
    table = table_of(study, "loss_memory")
    report = Report(study, load_cells(study), (table,), (drawn,))
    page = write_report(report)
    seconds = "0.310" if "0.310" in (page.parent / "loss_memory.md").read_text() else "0.31"
    assert f"| {seconds}{MARK} | 1.00{MARK} |" in (page.parent / "loss_memory.md").read_text()
    latex = (page.parent / "loss_memory.tex").read_text()
    assert rf"{seconds}$^\dagger$ & 1.00$^\dagger$" in latex and latex.isascii()
    html = page.read_text(encoding="utf-8")
    assert f"<td>{seconds}{MARK}</td><td>1.00{MARK}</td>" in html
    assert "disturbed: the process waited for a core" in html
    assert f"{MARK} hollow: Transformer." in html.split('id="figure-time_memory"')[1]
    results = pd.read_csv(page.parent / "results.csv").set_index("train")
    assert results["disturbed"].to_dict() == {
        cell.train: cell.train == "Transformer" for cell in study.cells
    }
    assert results.loc["Transformer", "waited_share"] == 0.4
    assert results["step_seconds_q1"].isna().all(), "null, never 0"
    print_tables(report)
    printed = capsys.readouterr().out
    assert f"{seconds}{MARK}" in printed and f"1.00{MARK}" in printed
    yaml_path = str(tmp_path / "lm.yaml")
    assert main(["status", yaml_path, "--runs-dir", str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr().out
    assert f"0.310{MARK}" in printed and MARK_MEANS in printed


def test_training_seconds_and_paired_differences_carry_the_mark(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0, 1])
    values = yaml.safe_load((tmp_path / "lm.yaml").read_text())
    (tmp_path / "lm.yaml").write_text(
        yaml.safe_dump(
            values | {"report": ["paired", "train_eval", "learning_curves"]}, sort_keys=False
        )
    )
    study = load_study(tmp_path / "lm.yaml", tmp_path / "runs")
    change(of_label(study, "Reformer"), **WAITED)
    cost, paired = table_of(study, "train_eval", "train_cost"), table_of(study, "paired")
    assert marked_places(cost) == {("Reformer", "s/step"), ("Reformer", "training (s)")}
    assert marked_places(paired) == {("Reformer", "s/step")}
    figures = figures_of(study, "learning_curves")
    assert f"{MARK} hollow: Reformer." in figures["learning_curves_time"].caption
    assert MARK not in figures["learning_curves"].caption
    change(of_label(study, "Transformer"), **WAITED)
    paired = table_of(study, "paired")
    assert {name for name, _ in marked_places(paired)} == {row.label for row in paired.rows}
    assert f"s/step 0.31{MARK}" in paired.caption
    assert MARK_MEANS in comparison(study, study).caption


def test_hash_rounds_carry_the_mark(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0], report=["hash_rounds"])
    change(of_label(study, "LSH-1"), **WAITED)
    assert marked_places(table_of(study, "hash_rounds")) == {("LSH-1", "s/step")}
    figure = figures_of(study, "hash_rounds")["hash_rounds"]
    assert f"{MARK} hollow: LSH-1." in figure.caption
    panels = figure.figure.axes
    hollow = [[line for line in p.lines if line.get_markerfacecolor() == "white"] for p in panels]
    assert [len(lines) for lines in hollow] == [0, 0, 1]
    assert list(hollow[2][0].get_xdata()) == [1.0]


def test_over_rounds_ratios_are_medians_with_their_quartiles(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        change(cell, **WAITED)  # while it trained
        for number, drift in enumerate((1.0, 1.2, 1.1, 3.0), 1):
            factor = 2.0 + number / 10 if cell.train == "Reformer" else 1.0
            waited = 0.5 if number == 4 else 0.0
            append_round(cell.directory, row(number, drift * factor, waited))
    table = table_of(study, "loss_memory")
    data, rows = table.data.set_index("train"), {texts[0]: texts for texts in table.texts()}
    assert data.loc["Reformer", "step_seconds_ratio"] == pytest.approx(2.2)
    assert data.loc["Reformer", "step_seconds_mean"] == pytest.approx(1.1 * 2.3)
    assert data.loc["Reformer", "n_rounds"] == 3
    assert rows["Reformer"][table.header.index("time ratio")] == "2.20 (2.15-2.25)"
    assert "the median and, in parentheses, the quartiles of 3 rounds." in table.caption
    assert marked_places(table) == set()


def test_rounds_that_were_all_disturbed_are_marked(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        change(cell, **QUIET)
        for number in (1, 2, 3):
            append_round(cell.directory, row(number, 1.0, 0.5 if cell.train == "LSH" else 0.0))
    assert marked_places(table_of(study, "loss_memory")) == {("LSH", name) for name in TIMES}
    assert bool(load_results(study).set_index("train").loc["LSH", "disturbed"])


@pytest.mark.parametrize("paired", [False, True])
def test_benchmark_tables_and_figures_carry_the_mark(tmp_path: Path, paired: bool) -> None:
    study = power_laws(tmp_path, paired)
    grid = study.grids[0]
    disturbed = next(cell for cell in study.cells if grid.place(cell) == ("LSH-4", "2048"))
    change(disturbed, **WAITED)
    tables = benchmark_tables(study)
    assert marked_places(tables["length_time"]) == {("LSH-4", "2048")}
    assert marked_places(tables["speedup"]) == {("LSH-4", "2048")}
    assert marked_places(tables["complexity"]) == {("LSH-4", "time exponent")}
    assert {label for label, _ in marked_places(tables["cost"])} == {"LSH-4"}
    assert marked_places(tables["length_memory"]) == set()
    for name in ("length_time", "speedup", "cost", "complexity"):
        assert tables[name].caption.endswith(MARK_MEANS)
    figures = figures_of(study, "length_time")
    assert f"{MARK} hollow: LSH-4 at 2048." in figures["length_time"].caption
    labels = [text.get_text() for text in figures["length_time"].figure.legends[0].get_texts()]
    assert f"LSH-4{MARK}" in labels and "Full" in labels
    assert MARK not in figures_of(study, "length_memory")["length_memory"].caption


def test_a_disturbed_full_attention_marks_the_speedups_over_it(tmp_path: Path) -> None:
    study = power_laws(tmp_path)
    base = next(cell for cell in study.cells if study.grids[0].place(cell) == ("Full", "1024"))
    change(base, **WAITED)
    tables = benchmark_tables(study)
    variants = {row.label for row in tables["speedup"].rows if row.kind == "ours"}
    assert marked_places(tables["speedup"]) == {(variant, "1024") for variant in variants}
    entries = [row.entries[0] for row in tables["length_time"].rows if row.label == "Full"]
    assert not is_best(entries[0])


def test_the_rounds_of_a_benchmark_begin_with_its_result(tmp_path: Path) -> None:
    study = power_laws(tmp_path)
    for cell in study.cells[:-1]:
        seconds = json.loads((cell.directory / "result.json").read_text())["step_seconds"]
        slower = 0.1 if study.grids[0].place(cell)[0] == "LSH-4" else 0.0
        for number in (2, 3):
            append_round(cell.directory, row(number, seconds * (1 + slower * (number - 1))))
    tables = benchmark_tables(study)
    cost = tables["cost"].data.set_index(["variant", "at"]).loc[("LSH-4", "4096")]
    seconds = {"Full": 16.0, "LSH-4": by_power("LSH-4", 4096)}
    assert cost["n_rounds"] == 3 and cost["step_seconds"] == pytest.approx(1.1 * seconds["LSH-4"])
    ratio = seconds["LSH-4"] / seconds["Full"]
    assert cost["step_seconds_ratio"] == pytest.approx(1.1 * ratio)
    assert cost["step_seconds_ratio_low"] == pytest.approx(1.05 * ratio)
    speedup = tables["speedup"].data.set_index(["variant", "at"]).loc[("LSH-4", "4096")]
    assert speedup["value"] == pytest.approx(1 / (1.1 * ratio))
    assert speedup["high"] == pytest.approx(1 / (1.05 * ratio))
    assert "the median and, in parentheses, the quartiles of 3 rounds." in tables["cost"].caption
    assert (
        "Medians over 3 rounds, with their quartiles in parentheses." in tables["speedup"].caption
    )
    assert "rounds" not in tables["length_memory"].caption


def by_power(variant: str, length: int) -> float:
    return (length / 1024) ** POWERS[variant][0]


def test_benchmark_tables_show_the_quartiles(tmp_path: Path) -> None:
    study = power_laws(tmp_path)
    for cell in study.cells[:-1]:
        seconds = json.loads((cell.directory / "result.json").read_text())["step_seconds"]
        change(cell, step_seconds_q1=0.98 * seconds, step_seconds_q3=1.03 * seconds)
    table = table_of(study, "length_time")
    full = next(texts for texts in table.texts() if texts[0] == "Full")
    assert full[1] == "1.00 (0.98-1.03)" and "medians and quartiles" in table.caption


# End to end: a tiny timed study beside processes that burn the cores, and alone.
LINUX = pytest.mark.skipif(run_delays() is None, reason="this system counts no run delay")
TINY = [
    "model.d_model=32", "model.n_heads=2", "task.length=256", "task.batch_size=2",
    "trainer.threads=1", "benchmark.seconds=0.3",
]  # fmt: skip


@contextmanager
def busy_cores(n: int) -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def tiny_study(folder: Path) -> Study:
    values = {
        "timed": True, "measure": "attention", "base": TINY, "report": ["cost", "length_time"],
        "axes": {"length": {256: []}, "variant": {"Full": ["model.attention=full"]}},
    }  # fmt: skip
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    study = load_study(folder / "tiny.yaml", folder / "runs")
    for cell in study.cells:
        assert benchmark.main(list(cell.overrides)) == 0
    return study


@LINUX
def test_beside_processes_that_burn_the_cores_a_study_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with busy_cores(len(os.sched_getaffinity(0))):
        study = tiny_study(tmp_path / "busy")
    assert "disturbed: it waited for a core for" in capsys.readouterr().out
    for word in ("cost", "length_time"):
        assert marked_places(table_of(study, word)), word
    arguments = ["status", str(tmp_path / "busy" / "tiny.yaml"), "--runs-dir"]
    assert main([*arguments, str(tmp_path / "busy" / "runs")]) == 0
    assert MARK_MEANS in capsys.readouterr().out


@LINUX
def test_on_a_quiet_machine_a_study_is_not_marked(tmp_path: Path) -> None:
    for attempt in range(3):
        before = STAT.read_text()
        time.sleep(0.5)
        busy = busy_share(before, STAT.read_text())
        study = tiny_study(tmp_path / str(attempt))
        if not any(marked_places(table_of(study, word)) for word in ("cost", "length_time")):
            return
    if busy > MOST_BUSY_SHARE:
        pytest.skip(f"other processes use {100 * busy:.0f} % of this machine's cores")
    pytest.fail("a study was disturbed three times on a quiet machine")
