"""Count models: equal to their definition, true probabilities, and fitted once for each text."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from ablations.report.parts.learning_curves import draw_curves
from ablations.report.variant_means import count_models
from ablations.report.words import build_part
from ablations.results import load_cells, load_curves
from experiments.run_dir.outcome import read_result
from experiments.training import count_models as cached
from reformer_pl.config import ConfigError
from reformer_pl.tasks import build_task
from reformer_pl.tasks.count_models import ORDERS, score_count_models
from test_report import memory_study
from tiny import tiny

TEXTS = {
    "few letters": bytes(np.random.default_rng(0).integers(97, 100, 400, dtype=np.uint8)),
    "all bytes": bytes(np.random.default_rng(1).integers(0, 256, 300, dtype=np.uint8)),
    "zeros": bytes(60),
    "words": b"the cat sat on the mat, the rat sat on the cat. " * 8,
}


def p(order: int, context: bytes, byte: int, text: bytes) -> float:
    """The definition, read from left to right."""
    if order < 0:
        return 1 / 256
    context = context[len(context) - order :]
    following = Counter(
        text[i + order] for i in range(len(text) - order) if text[i : i + order] == context
    )
    lower = p(order - 1, context, byte, text)
    if not following:
        return lower
    kinds, total = len(following), sum(following.values())
    return (following[byte] + kinds * lower) / (total + kinds)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("length", [1, 3, 8])
def test_scores_equal_the_definition(name: str, length: int) -> None:
    text = TEXTS[name]
    train, rest = text[: len(text) * 3 // 4], text[len(text) * 3 // 4 :] + b"\0\xff~new"
    windows = [rest[i : i + length] for i in range(0, len(rest) // length * length, length)][:6]
    scores = score_count_models(
        np.frombuffer(train, dtype=np.uint8),
        np.frombuffer(b"".join(windows), dtype=np.uint8).reshape(-1, length),
    )
    for order in ORDERS:
        bits = [
            -math.log2(p(min(order, i), window[:i], window[i], train))
            for window in windows
            for i in range(length)
        ]
        assert scores[order] == pytest.approx(sum(bits) / len(bits), rel=1e-12)


def test_the_probabilities_of_all_bytes_are_one() -> None:
    train = np.frombuffer(TEXTS["words"], dtype=np.uint8)
    for context in (b"the ", b"t on", b"zzzz", b"\0\0he"):
        rows = [np.frombuffer(context + bytes([byte]), dtype=np.uint8) for byte in range(256)]
        sums = defaultdict(float)
        for row in rows:
            one = score_count_models(train, row[None])
            before = score_count_models(train, row[None, :-1])
            for order in ORDERS:  # bits of the last byte alone
                sums[order] += 2 ** -(5 * one[order] - 4 * before[order])
        assert sums == pytest.approx(dict.fromkeys(ORDERS, 1.0), abs=1e-9)


def test_a_text_is_fitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text"
    text.write_bytes(TEXTS["words"] * 20)
    words = ("task.name=enwik8", f"task.source={text}", "task.eval_sequences=0")
    data = build_task(tiny(*words, "task.length=16"))
    first = cached.count_models(data)
    assert [entry["name"] for entry in first][:2] == ["count model, 0 bytes", "count model, 1 byte"]
    bits = [entry["bits_per_dim"] for entry in first]
    assert bits == list(data.count_models().values())
    with monkeypatch.context() as patch:
        patch.setattr(type(data), "count_models", lambda self: pytest.fail("fitted again"))
        assert cached.count_models(build_task(tiny(*words, "task.length=16"))) == first
    for change in ("task.length=8", "task.eval_sequences=1"):
        assert cached.count_models(build_task(tiny(*words, change))) != first
    assert cached.count_models(data) == first
    cache = text.with_name("text.count_models.json")
    for damage in (b"", b"[1]", b'{"a": 1}', b"\xff"):
        cache.write_bytes(damage)
        assert cached.count_models(data) == first
    text.write_bytes(TEXTS["words"] * 19 + b"another text, of other bytes")
    assert cached.count_models(build_task(tiny(*words, "task.length=16"))) != first


def test_other_tasks_have_no_count_models() -> None:
    assert cached.count_models(build_task(tiny())) == []


def test_they_are_rows_of_the_table_and_lines_of_the_figure(tmp_path: Path) -> None:
    """Where the axis reaches them; they are in no mean, and on no Pareto front."""
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        path = cell.directory / "result.json"
        result = json.loads(path.read_text())
        bits = result["bits_per_dim"]
        models = [
            ("count model, 0 bytes", 5.0),
            ("count model, 1 byte", bits),
            ("count model, 2 bytes", 0.1),
        ]
        result["count_models"] = [{"name": name, "bits_per_dim": value} for name, value in models]
        path.write_text(json.dumps(result))
    cells = load_cells(study)
    names = list(count_models(cells))
    assert names[0] == "count model, 1 byte" and "count model, 2 bytes" in names
    (table,) = build_part("loss_memory", study, cells, drawn=False).tables
    kinds = {row.label: row.kind for row in table.rows}
    assert kinds["count model, 1 byte"] == kinds["count model, 2 bytes"] == "baseline"
    table = build_part("train_eval", study, cells, drawn=False).tables[0]
    rows = {row.label: row for row in table.rows}
    assert rows["count model, 1 byte"].kind == "baseline"
    assert rows["count model, 1 byte"].entries[0].mean == count_models(cells)["count model, 1 byte"]["bits_per_dim"]  # fmt: skip
    figure = draw_curves(study, cells, load_curves(study))
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert any(label.startswith("count model, 1 byte: ") for label in labels)
    assert not any(label.startswith("count model, 2 bytes") for label in labels)


@pytest.mark.parametrize(
    "damage", [3, ["x"], [{"bits_per_dim": 1.0}], [{"name": "a", "bits_per_dim": "b"}]]
)
def test_damaged_count_models_are_named(damage: object, tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    path = study.cells[0].directory / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"count_models": damage}))
    with pytest.raises(ConfigError, match=r"count_models|no number"):
        read_result(study.cells[0].directory)


@pytest.mark.parametrize("first, then", [("held_out", "test"), ("test", "held_out")])
def test_the_parts_of_a_text_do_not_share_their_scores(
    tmp_path: Path, first: str, then: str
) -> None:
    """Their windows are as many."""
    source = tmp_path / "text"
    source.write_bytes(bytes(np.random.default_rng(3).integers(0, 256, 4000, dtype=np.uint8)))
    words = ["task.name=enwik8", f"task.source={source}", "task.eval_sequences=3"]
    data = [build_task(tiny(*words, f"task.split={split}")) for split in (first, then)]
    scores = [[m["bits_per_dim"] for m in cached.count_models(part)] for part in data]
    for part, values in zip(data, scores, strict=True):
        assert values == pytest.approx(list(part.count_models().values()))
    assert scores[0] != scores[1]
