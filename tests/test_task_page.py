"""docs/task.md and the second part of docs/variant.md, applied to a copy of the repository.

Their commands are run in it.
"""

import json
import re
from pathlib import Path

from doc_pages import copy_sources, run_commands
from test_readme import PAGES, apply, blocks


def apply_page(page: str, copy: Path) -> list[str]:
    """Apply every diff of a page to a copy of the sources; returns the files touched, in order."""
    copy_sources(copy)
    touched: list[str] = []
    for prose, diff in re.findall(r"(.*?)^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        touched += re.findall(r"^\*\*The .*?\*\*, in `([\w/.]+)`", prose, re.MULTILINE)[-1:]
        if "a new file" in prose:
            (copy / touched[-1]).touch(exist_ok=False)
        apply(copy / touched[-1], diff)
    return touched


def test_a_task_with_another_loss_and_another_metric(tmp_path: Path) -> None:
    touched = apply_page(PAGES["task.md"], tmp_path)
    assert len(set(touched)) == 7 and not any(path.startswith("ablations") for path in touched)
    (study,) = blocks("yaml", PAGES["task.md"])
    (tmp_path / "reversal.yaml").write_text(study)
    tested, trained, swept, status, report = run_commands(PAGES["task.md"], tmp_path)
    assert int(re.search(r"(\d+) passed", tested)[1]) >= 1, tested
    assert "chance, 1/128 alone: smoothed_nats 4.852, sequence_accuracy" in trained
    assert "2 of 2 cells ok" in swept
    assert "smoothed_nats" in status and "sequence_accuracy" in status and "bits/dim" not in status
    table = (tmp_path / "runs/reversal/report/loss_memory.md").read_text()
    assert "whole sequences (%)" in table.splitlines()[0] and "bits per dim" not in table
    paired = (tmp_path / "runs/reversal/report/paired.md").read_text()
    assert "whole sequences (%)" in paired and "whole sequences (%)" in report
    (path,) = tmp_path.glob("runs/single/**/result.json")
    result = json.loads(path.read_text())
    assert 0 < result["smoothed_nats"] < 10 and 0 <= result["sequence_accuracy"] <= 1
    assert "accuracy" not in result and "loss_nats" not in result
    rows = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    last = rows[-1]
    for name in ("smoothed_nats", "sequence_accuracy"):
        assert last["split"] == "valid" and last[name] == result[name]
        assert all(name in row for row in rows)


def test_an_attention_with_weights_of_its_own(tmp_path: Path) -> None:
    page = PAGES["variant.md"].split("\n## ")[1]
    touched = apply_page(page, tmp_path)
    assert touched == [
        "reformer_pl/config/rules.py",
        "reformer_pl/config/unread.py",
        "reformer_pl/gated_conv.py",
        "reformer_pl/attention.py",
    ]
    tested, trained = run_commands(page, tmp_path)
    assert int(re.search(r"(\d+) passed", tested)[1]) >= 9, tested
    assert "attention lsh, gated_conv" in trained
