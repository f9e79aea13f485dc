"""`keys` in a report: the score against keys per token, one curve for each kind of attention."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ablations.report.report import build_report
from ablations.results import load_cells, load_results, score_rows
from ablations.study import Study, load_study
from reformer_pl.config import ConfigError

LSH = {f"LSH-{n}": ["model.attention=lsh", f"model.lsh.n_hashes={n}"] for n in (1, 2, 4, 8, 16)}
LOCAL = {f"Local-{m}": ["model.attention=local", f"model.local.chunk_len={m}"] for m in (8, 16, 32)}
TOPK = {f"TopK-{n}": ["model.attention=topk", f"model.topk.n_keys={n}"] for n in (8, 16)}
FULL = {"Full": ["model.attention=full"]}
SHARED = {"Shared": ["model.attention=shared_full"]}
KEYS = {"Full": 64.5, "Shared": 63.5}
BASE = ["experiment=recall", "trainer.max_steps=5"]


def keys_of(label: str, seed: int) -> float:
    """More rounds reach more keys; LSH is measured, so that its seeds differ."""
    if label in KEYS:
        return KEYS[label]
    number = int(label.rsplit("-", 1)[1])
    return 5.0 * number**0.8 + 0.2 * seed if label.startswith("LSH") else 1.5 * number


def scores(label: str, seed: int) -> dict[str, float]:
    reached = keys_of(label, seed)
    accuracy = min(0.99, 0.1 + 0.12 * math.log2(reached) + 0.01 * seed)
    return {"loss_nats": 4 - 3 * accuracy, "accuracy": accuracy, "keys_per_token": reached}


def finished(folder: Path, **values: Any) -> Study:
    """A study whose cells all ended well, with made-up scores."""
    (folder / "budget.yaml").write_text(
        json.dumps({"report": ["keys"], "seeds": [0, 1, 2], **values})
    )
    study = load_study(folder / "budget.yaml", folder / "runs")
    for cell in study.cells:
        (cell.directory / "evaluations").mkdir(parents=True)
        own = {"status": "ok", "error": None, **scores(cell.train.split(" / ")[0], cell.seed)}
        (cell.directory / "result.json").write_text(json.dumps(own))
        for name, overrides in study.evaluations.items():
            text = json.dumps({"name": name, "overrides": overrides, **scores(name, cell.seed)})
            (cell.directory / "evaluations" / f"{name}.json").write_text(text)
    return study


def curve(axes: Any, n_points: int) -> Any:
    """The one line of a panel through so many points: bars have no line."""
    lines = [line for line in axes.lines if line.get_linestyle() != "None"]
    (found,) = (line for line in lines if len(line.get_xdata()) == n_points)
    return found


def legend(drawing: Any) -> list[str]:
    return [text.get_text() for text in drawing.figure.legends[0].get_texts()]


def test_cells_that_train_with_an_attention_each_are_one_panel(tmp_path: Path) -> None:
    study = finished(
        tmp_path, base=BASE, axes={"train": {**FULL, **SHARED, **LSH, **LOCAL, **TOPK}}
    )
    report = build_report(study, load_cells(study))
    (table,), (drawing,) = report.tables, report.figures
    texts = {row[0]: row[1:] for row in table.texts()}
    assert texts["Full"][:3] == ("as trained", "full", "64.5")
    assert texts["LSH-4"][1] == "lsh" and texts["LSH-4"][2].startswith("15.4 [14.9, 15.9]")
    assert table.header[:4] == ("variant", "scored with", "attention", "keys per token")
    (axes,) = drawing.figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "Keys per token"
    kinds = ["full", "shared_full", "lsh, by n_hashes", "local, by chunk_len", "topk, by n_keys"]
    assert legend(drawing)[:5] == kinds
    rows = table.data.set_index("train")
    lsh = curve(axes, 5)
    order = [f"LSH-{n}" for n in (1, 2, 4, 8, 16)]
    assert list(lsh.get_xdata()) == pytest.approx(list(rows.loc[order, "keys_per_token_mean"]))
    assert list(lsh.get_ydata()) == pytest.approx(list(100 * rows.loc[order, "accuracy_mean"]))
    assert json.loads(lsh.get_gid())["labels"] == order
    assert list(curve(axes, 3).get_xdata()) == [12, 24, 48]


def test_each_trained_model_has_a_panel_of_its_evaluations(tmp_path: Path) -> None:
    study = finished(
        tmp_path,
        base=BASE,
        axes={"train": {**SHARED, "LSH-4": LSH["LSH-4"]}},
        evaluations={**LSH, **SHARED, "Test-8": [*LSH["LSH-8"], "task.split=test"]},
    )
    report = build_report(study, load_cells(study))
    (table,), (drawing,) = report.tables, report.figures
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == [
        "As trained", "Trained with Shared", "Trained with Shared, test part",
        "Trained with LSH-4", "Trained with LSH-4, test part",
    ]  # fmt: skip
    assert len(table.rows) == 2 * (1 + 7)
    variants = {row.label: row.variant for row in table.rows}
    assert variants["Shared, LSH-16"] == variants["Shared, Test-8 (test part)"] == "Shared"
    assert drawing.figure.axes[0].get_ylabel() == "Accuracy (%)"
    assert "Evaluations marked (test part)" in table.caption


def test_one_trained_model_is_one_panel_and_its_own_score_is_in_the_table(tmp_path: Path) -> None:
    study = finished(
        tmp_path, base=BASE, axes={"train": FULL}, evaluations={**FULL, **LOCAL, **TOPK}
    )
    report = build_report(study, load_cells(study))
    (table,), (drawing,) = report.tables, report.figures
    (axes,) = drawing.figure.axes
    assert axes.get_title() == "Trained with Full" and len(table.rows) == 1 + 6
    kinds = ["full", "local, by chunk_len", "topk, by n_keys"]
    assert legend(drawing)[:3] == kinds


def test_other_axes_are_panels_and_a_second_number_is_a_curve_of_its_own(tmp_path: Path) -> None:
    chunks = {
        f"Blocks-{k}-{m}": [
            "model.attention=blocks", f"model.blocks.top_k={k}", f"model.blocks.chunk_len={m}",
        ]
        for m in (8, 16) for k in (1, 2, 4)
    }  # fmt: skip
    study = finished(
        tmp_path, base=BASE, axes={"train": {**FULL, **chunks}, "task.pairs": [4, 8]}, seeds=[0]
    )
    report = build_report(study, load_cells(study))
    (table,), (drawing,) = report.tables, report.figures
    assert [axes.get_title() for axes in drawing.figure.axes] == ["pairs=4", "pairs=8"]
    expected = ["full", "blocks, chunk_len=8, by top_k", "blocks, chunk_len=16, by top_k"]
    assert legend(drawing)[:3] == expected
    assert "interval" not in drawing.caption and len(table.rows) == 14


def test_runs_without_the_number_have_a_dash_and_no_figure(tmp_path: Path) -> None:
    study = finished(tmp_path, base=BASE, axes={"train": {**FULL, **LOCAL}})
    for i, cell in enumerate(study.cells):
        result = json.loads((cell.directory / "result.json").read_text())
        del result["keys_per_token"]
        if i % 3 == 0:
            result |= {"status": "oom", "error": "out of memory"}
        (cell.directory / "result.json").write_text(json.dumps(result))
    report = build_report(study, load_cells(study))
    (table,) = report.tables
    assert report.figures == () and {row[3] for row in table.texts()} == {"-"}


def test_keys_per_token_is_a_column_of_the_results_and_a_number_of_a_table(tmp_path: Path) -> None:
    user = {"table": {"rows": "train", "columns": "evaluation", "value": "keys_per_token"}}
    study = finished(
        tmp_path, base=BASE, axes={"train": FULL}, evaluations={**FULL, **LOCAL}, report=[user]
    )
    results = load_results(study).set_index(["eval", "seed"])["keys_per_token"]
    assert results["own", 0] == 64.5 and results["Local-16", 2] == 24
    assert list(score_rows(study)["keys_per_token"])[:4] == [64.5, 12, 24, 48]
    (table,) = build_report(study, load_cells(study)).tables
    assert table.texts()[0][1:3] == ("64.5 (n = 3)", "12.0 (n = 3)")
    assert "Keys per token" in table.caption
    (study.cells[0].directory / "evaluations" / "Local-8.json").write_text(
        json.dumps({"name": "Local-8", "overrides": LOCAL["Local-8"], "keys_per_token": "many"})
    )
    assert load_results(study).query("eval == 'Local-8'")["status"].iloc[0] == "unreadable"


def test_the_word_is_of_cells_that_train(tmp_path: Path) -> None:
    path = tmp_path / "cost.yaml"
    path.write_text(
        json.dumps({"axes": {"model.attention": ["full"]}, "measure": "step", "report": ["keys"]})
    )
    with pytest.raises(ConfigError, match="keys"):
        load_study(path, tmp_path)
