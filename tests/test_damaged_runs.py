"""Rows that are gone, folders that cannot be read, texts that a terminal or a spreadsheet would run, and cells that stand still: each is shown as what it is."""

import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from ablations.launch.pace import pace
from ablations.launch.slurm import queue
from ablations.report.parts.learning_curves import gone_steps
from ablations.report.writers.csv_file import write_frame
from ablations.results import load_cells, load_curves, load_results, study_problems
from ablations.study.cell import Cell
from ablations.study.folder import run_directories, study_of_folder
from experiments.run_dir.files import drop_rows_after, log_tail
from experiments.run_dir.outcome import read_result
from experiments.run_dir.plain_text import plain_text
from experiments.run_dir.problems import missing_rows, problems
from experiments.run_dir.rows import missing_coverage, missing_metrics, steps_text
from tiny import tiny

CONFIG = {
    "trainer": {
        "log_every_steps": 10, "eval_every_steps": 20, "max_steps": 60, "coverage_every_steps": 25,
    },
    "model": {"attention": "lsh"},
}  # fmt: skip


def whole_rows() -> list[dict[str, object]]:
    train = [{"step": step, "split": "train", "loss_nats": 1.0} for step in range(10, 61, 10)]
    return train + [{"step": step, "split": "valid", "loss_nats": 1.0} for step in (20, 40, 60)]


def write_run(directory: Path, rows: str | bytes, status: str = "ok") -> Path:
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(json.dumps(CONFIG))
    (directory / "result.json").write_text(
        json.dumps({"status": status, "steps": 60, "loss_nats": 1.0})
    )
    path = directory / "metrics.jsonl"
    path.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    covered = ({"step": step, "coverage": 0.5} for step in (0, 25, 50, 60))
    (directory / "coverage.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in covered))
    return path


LINES = [json.dumps(row) + "\n" for row in whole_rows()]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "steps 10 to 60"),
        ("".join(LINES[:2]), "steps 20 to 60"),
        ("".join(LINES).replace('"step": 30', '"step": x'), "step 30"),
        ("".join(LINES).encode().replace(b"train", b"tr\xffin", 1), "step 10"),
        ("".join(LINES[:2] + LINES[4:]), "steps 30 to 40"),
        ("".join(LINES[:-1]), "step 60"),
        ("".join(LINES[1:-2]), "steps 10, 40 and 60"),
        (b"\x00" * 100 + b"\n", "steps 10 to 60"),
    ],
)  # fmt: skip
def test_rows_that_are_gone_are_counted_and_no_trained_model_is_deleted(
    rows: str | bytes, words: str, tmp_path: Path
) -> None:
    path = write_run(tmp_path / "runs" / "a", rows)
    (line,) = problems(path.parent)
    assert line.startswith(f"{path} lacks the rows of {words}: ") and "delete" not in line
    study = study_of_folder(tmp_path / "runs")
    assert study_problems(study) == [f"a seed=0: {line}"]
    assert (load_cells(study)["status"] == "ok").all(), "its result is as good as before"
    gone = gone_steps(study, load_cells(study), load_curves(study))
    assert all(step % 20 == 0 for steps in gone.values() for step in steps)


def test_whole_rows_lack_nothing(tmp_path: Path) -> None:
    assert problems(write_run(tmp_path / "a", "".join(LINES)).parent) == []
    assert missing_metrics(whole_rows(), CONFIG, 60) == []
    assert missing_metrics(whole_rows()[:4], CONFIG) == [20], "of a run at work, its last step"
    assert missing_metrics([], CONFIG) == [] and missing_metrics([], {}, 60) == []
    assert missing_coverage([], {**CONFIG, "model": {"attention": "full"}}, 60) == []
    assert missing_coverage([], CONFIG, 60) == [0, 25, 50, 60]
    assert steps_text([20, 60], [40]) == "the rows of steps 20 and 60"
    assert steps_text([1, 3, 5, 7, 9], [2, 4, 6, 8]) == "the rows of steps 1, 3, 5 and 2 more"


def test_a_resumed_run_keeps_its_whole_rows_and_says_which_lack(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", "".join(LINES[:6]).replace('"step": 30', '"step": [30]'))
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")
    assert [row["step"] for row in drop_rows_after(path, 40)] == [10, 20, 40]
    line, *_ = missing_rows(path.parent, CONFIG, 40)
    assert "lacks the rows of steps 20 to 40" in line


def test_a_folder_of_runs_follows_links_and_names_what_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "elsewhere" / "linked", "".join(LINES))
    runs = tmp_path / "runs"
    write_run(runs / "plain", "".join(LINES))
    (runs / "b").symlink_to(tmp_path / "elsewhere")
    (runs / "again").symlink_to(runs / "plain")  # once is enough
    (runs / "plain" / "up").symlink_to(runs)  # a loop
    (runs / "self").symlink_to("self")
    (runs / "closed").mkdir()
    listing = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    places, unread = run_directories(runs)
    assert places == [runs / "b" / "linked", runs / "plain"]
    assert len(unread) == 2 and "closed" in unread[0] and "self" in unread[1]
    with pytest.warns(UserWarning, match="closed is a folder that cannot be read"):
        frame = load_results(runs)
    assert sorted(frame["cell"]) == ["b/linked", "plain"] and (frame["loss_nats"] == 1.0).all()
    top = tmp_path / "top"
    top.symlink_to(runs)
    assert len(run_directories(top)[0]) == 2


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"), ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"), ("\x1b]52;c;cut", ""), ("a\x9b2Jb", "ab"),
        ("\x1bPq#0\x1b\\b", "b"), ("bell\x07\x08\x7f", "bell"), ("\u202eevil", "evil"), ("é\tx", "é\tx"),
        ("\x1b(Bok\x1b7", "ok"), ("\x1b", ""),
    ],
)  # fmt: skip
def test_no_escape_sequence_reaches_the_terminal(text: str, plain: str, tmp_path: Path) -> None:
    assert plain_text(text) == plain
    (tmp_path / "log.txt").write_text(f"{text}\n")
    assert "".join(log_tail(tmp_path, 1)) == plain.strip()
    (tmp_path / "result.json").write_text(json.dumps({"status": "failed", "error": text}))
    assert read_result(tmp_path)["error"] == plain


def test_no_text_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    texts = ["=1+1", "+x", "-lr", "@SUM(A1)", "\t=1", "-0.5", "1e-3", "LSH-4", None]
    frame = pd.DataFrame({"train": texts, "loss": [-1.0, *range(8)], "=cmd": 1})
    write_frame(frame, tmp_path / "all.csv")
    back = pd.read_csv(tmp_path / "all.csv", dtype=str)
    assert list(back.columns) == ["train", "loss", "'=cmd"] and back["loss"][0] == "-1.0"
    assert list(back["train"][:8]) == [
        "'=1+1",
        "'+x",
        "'-lr",
        "'@SUM(A1)",
        "'\t=1",
        "-0.5",
        "1e-3",
        "LSH-4",
    ]


@pytest.mark.parametrize(("age", "still"), [(5, False), (100, False), (1000, True), (90_000, True)])
def test_a_cell_that_stands_still_has_no_time_left(age: float, still: bool, tmp_path: Path) -> None:
    rows = [
        {"step": step, "split": "train", "loss_nats": 1.5, "seconds": step / 10}
        for step in (10, 20)
    ]
    path = write_run(tmp_path / "a", "".join(f"{json.dumps(row)}\n" for row in rows))
    os.utime(path, (time.time() - age,) * 2)
    cell = Cell("a", "a", 0, (), tmp_path / "a", ("a",), "experiments.train")
    at = pace(cell, tiny("trainer.max_steps=1000", "trainer.log_every_steps=10"))
    assert (at.seconds_left is None) == still
    assert ("no new row for" in str(at)) == still and ("left" in at.left) == (not still)


def test_the_last_step_and_a_slow_cell_do_not_stand_still(tmp_path: Path) -> None:
    rows = [
        {"step": step, "split": "train", "loss_nats": None, "seconds": 60.0 * step}
        for step in (10, 20)
    ]
    path = write_run(tmp_path / "a", "".join(f"{json.dumps(row)}\n" for row in rows))
    os.utime(path, (time.time() - 1000,) * 2)
    cell = Cell("a", "a", 0, (), tmp_path / "a", ("a",), "experiments.train")
    slow = pace(cell, tiny("trainer.max_steps=1000", "trainer.log_every_steps=10"))
    assert slow.still_seconds is None and "loss not finite" in str(slow), "a row takes ten minutes"
    assert pace(cell, tiny("trainer.max_steps=20")).still_seconds is None, "it is being evaluated"


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"name": 1, "task": 0, "job": "1", "user": 0}', "\x00"]
)
def test_a_damaged_record_of_one_job_keeps_the_others(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_squeue", lambda names: ({("n", 0): queue.Row("RUNNING")}, ""))
    cells = [
        Cell(name, name, 0, (), tmp_path / name, (name,), "experiments.train") for name in "ab"
    ]
    for cell in cells:
        queue.write_record(cell, "n", 0, "1_0")
    (cells[0].directory / "slurm.json").write_text(damage)
    jobs = queue.read_jobs(cells)
    assert jobs[cells[1]].state == "running" and jobs[cells[0]].state == "unreadable"
    assert "slurm.json is damaged" in jobs[cells[0]].why and not jobs[cells[0]].may_run
