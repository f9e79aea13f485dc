"""Every file of a run directory, damaged in every way, under every command: no traceback, the other cells with their numbers, the damaged one named, and nothing of anybody else touched."""

import builtins
import io
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure

import ablations.__main__ as commands
import ablations.study.study
from ablations.__main__ import main
from ablations.launch import run
from ablations.launch.local import sweep
from ablations.launch.slurm import queue
from ablations.report.drawing.figure import Drawing
from ablations.report.parts import coverage, learning_curves, train_eval
from ablations.report.writers.page import figures as page_figures
from ablations.results import load_coverage, load_curves
from ablations.study import Study, compose_cells, load_study
from ablations.study.cell import Cell
from experiments import train
from experiments.compose import Bases, compose
from experiments.run_dir.lock import is_running
from reformer_pl.config import to_dict

STEPS, ROW_STEPS, EVAL_STEPS = 60, range(10, 61, 10), range(20, 61, 20)
EVALUATION = ["model.lsh.n_hashes=1"]
FILES = (
    "config.yaml", "log.txt", "metrics.jsonl", "coverage.jsonl", "result.json", "slurm.json",
    "evaluations/LSH-1.json", "checkpoints/last.ckpt", "evaluations", "checkpoints", ".",
)  # fmt: skip
JSON = ("metrics.jsonl", "coverage.jsonl", "result.json", "slurm.json", "evaluations/LSH-1.json")


def values_of_another_type(text: str) -> bytes:
    rows = [json.loads(line) for line in text.splitlines() or [text]]
    return b"".join(json.dumps({key: [key] for key in row}).encode() + b"\n" for row in rows)


CONTENT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "list": lambda _: b"[1, 2]\n",
    "number": lambda _: b"7\n",
    "null": lambda _: b"null\n",
    "binary": lambda _: bytes(range(256)),
    "utf16": lambda data: data.decode("latin-1").encode("utf-16"),
    "latin1": lambda data: data.replace(b"o", b"\xe9"),
    "deep": lambda _: b"[" * 100_000 + b"\n",
    "infinite": lambda data: re.sub(rb"\b\d+\b", b"1e999", data),
    "huge": lambda data: re.sub(rb"\b\d+\b", b"9" * 5000, data),
    "object": lambda _: b'{"status": "ok", "step": null, "name": {"a": 1}}\n',
    "date": lambda _: b"a: 2026-99-99\n",
    "other": lambda data: values_of_another_type(data.decode()),
}


def put_link(path: Path, target: str) -> None:
    remove(path)
    path.symlink_to(target)


def put_folder(path: Path) -> None:
    remove(path)
    path.mkdir()
    (path / "inside").write_text("of somebody")


def put_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def put_file(path: Path) -> None:
    remove(path)
    path.write_text("a file where a folder was\n")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


PLACES: dict[str, Callable[[Path], None]] = {
    "missing": remove,
    "folder": put_folder,
    "dangling": lambda path: put_link(path, "gone/elsewhere"),
    "loop": lambda path: put_link(path, path.name),
    "zeros": lambda path: put_link(path, "/dev/zero"),
    "pipe": put_pipe,
    "file": put_file,
    "unreadable": lambda path: None,  # its opening raises
}


@contextmanager
def unreadable(target: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modes do not stop root, so opening the file or listing the folder raises."""

    def refusing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **more: Any) -> Any:
            if isinstance(path, str | os.PathLike) and os.path.abspath(path) == str(target):
                raise PermissionError(13, "Permission denied", str(path))
            return original(path, *args, **more)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((io, "open"), (builtins, "open"), (os, "scandir"), (os, "listdir")):
            patch.setattr(owner, name, refusing(getattr(owner, name)))
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of two cells that ended well, as experiments.train leaves them."""
    import torch

    folder = tmp_path_factory.mktemp("template")
    (folder / "mine.yaml").write_text(yaml.safe_dump({
        "base": ["experiment=smoke", f"trainer.max_steps={STEPS}", "trainer.eval_every_steps=20",
                 "trainer.log_every_steps=10", "trainer.coverage_every_steps=30",
                 "model.attention=lsh"],
        "axes": {"train": {"LSH-2": ["model.lsh.n_hashes=2"], "LSH-4": ["model.lsh.n_hashes=4"]}},
        "evaluations": {"LSH-1": EVALUATION},
        "report": ["train_eval", "learning_curves", "coverage"],
    }, sort_keys=False))  # fmt: skip
    study = load_study(folder / "mine.yaml", Path("runs"))
    baseline = {"name": "chance", "loss_nats": 4.8, "accuracy": 0.1, "bits_per_dim": 7.0}
    for cell, config in zip(study.cells, compose_cells(study), strict=True):
        place = folder / cell.directory
        for name in ("checkpoints", "evaluations"):
            (place / name).mkdir(parents=True, exist_ok=True)
        scores = {"loss_nats": 1.2345, "accuracy": 0.5, "bits_per_dim": 1.75}
        (place / "config.yaml").write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
        (place / "log.txt").write_text("training for 60 steps\n\x1b]0;title\x07\x1b[31mok\x1b[0m\n")
        rows = [
            {"step": step, "split": "train", **scores, "seconds": step / 10, "tokens": step}
            for step in ROW_STEPS
        ]
        rows += [
            {"step": step, "split": "valid", **scores, "seconds": step / 10, "tokens": step}
            for step in EVAL_STEPS
        ]
        (place / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        covered = [
            {"step": step, "layer": 0, "head": head, "rounds": 2, "coverage": 0.5, "chance": 0.1}
            for step in (0, 30, 60)
            for head in (0, 1)
        ]
        (place / "coverage.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in covered))
        (place / "result.json").write_text(json.dumps({
            "status": "ok", "error": None, "steps": STEPS, **scores, "peak_memory_gib": 0.1,
            "step_seconds": 0.1, "tokens_per_second": 10.0, "parameters": 1000,
            "train_seconds": 6.0, "startup_seconds": 1.0, "closing_seconds": 1.0,
            "baseline": baseline, "device": "CPU", "threads": 1, "versions": {"torch": "2"},
            "git_commit": "abc", "finished_at": "2026-11-26T00:00:00+00:00",
        }))  # fmt: skip
        (place / "slurm.json").write_text(
            json.dumps({"name": "n", "task": 0, "job": "1_0", "user": os.getuid()})
        )
        evaluation = {"name": "LSH-1", "overrides": EVALUATION, **scores, "sequences": 8}
        (place / "evaluations" / "LSH-1.json").write_text(json.dumps(evaluation))
        torch.save({"state_dict": {}, "global_step": STEPS}, place / "checkpoints" / "last.ckpt")
    return folder


BASES = Bases()


@pytest.fixture
def study(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A copy of the template as the working folder. A cell that starts ends at once, without a result."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        ablations.study.study, "compose", lambda overrides, bases: compose(overrides, BASES)
    )
    monkeypatch.setattr(train, "compose", lambda overrides: compose(overrides, BASES))
    monkeypatch.setattr(queue, "_squeue", lambda names: ({}, ""))  # no job is there any more
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(Cell, "command", lambda cell: ["true"])
    for part, drawing in (
        (learning_curves, "draw_curves"),
        (coverage, "coverage_curves"),
        (train_eval, "heat_map"),
    ):
        monkeypatch.setattr(part, drawing, lambda *args: Figure())
    monkeypatch.setattr(Drawing, "save", lambda drawing, directory, formats: None)
    monkeypatch.setattr(page_figures, "inline_svg", lambda *args, **more: ("", None))
    study = load_study("./mine.yaml")
    configs = compose_cells(study)
    monkeypatch.setattr(commands, "load_study", lambda *args, **values: study)
    for module in (commands, run):
        monkeypatch.setattr(module, "compose_cells", lambda study: configs)
    return study


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }


class Damaged:
    """The first cell with one thing damaged; `call` runs a command and checks what holds for all."""

    def __init__(self, study: Study, file: str, damage: str, capfd: Any) -> None:
        self.study, self.capfd, self.damage, self.file = study, capfd, damage, file
        self.cell, *self.others = study.cells
        self.path = Path.cwd() / self.cell.directory / file
        if damage in CONTENT:
            self.path.write_bytes(CONTENT[damage](self.path.read_bytes()))
        else:
            PLACES[damage](self.path)
        self.before = {cell: tree(cell.directory) for cell in self.others}
        checkpoint = self.cell.directory / "checkpoints" / "last.ckpt"
        self.model = None if file in ("checkpoints", "checkpoints/last.ckpt", ".") else checkpoint
        self.weights = self.model.read_bytes() if self.model else b""

    def call(self, command: Callable[[], int], codes: tuple[int, ...]) -> str:
        self.capfd.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = command()
        captured = self.capfd.readouterr()
        output = captured.out + captured.err
        assert code in codes, output
        assert "Traceback" not in output and "\x1b" not in output and "\x07" not in output, output
        assert not re.search(r"delete[^:;]*(checkpoint|\.ckpt|runs/mine/[^ ]*/seed=0 )", output), (
            output
        )
        assert {cell: tree(cell.directory) for cell in self.others} == self.before
        if self.model:
            assert self.model.read_bytes() == self.weights, "a trained model is lost"
        return output

    @property
    def is_named(self) -> bool:
        """Whether the damage is one that a reader must name. A file that is not there, or is empty, may be one that has not come yet."""
        return self.damage not in ("missing", "empty") and self.file in (
            "config.yaml", "metrics.jsonl", "coverage.jsonl", "result.json", "evaluations/LSH-1.json",
        )  # fmt: skip


def cases() -> list[tuple[str, str]]:
    listed = []
    for file in FILES:
        folder = file in ("evaluations", "checkpoints", ".")
        for damage in (*CONTENT, *PLACES):
            if folder and (damage in CONTENT or damage == "folder"):
                continue
            if not folder and damage == "file":
                continue
            if file not in JSON and damage in ("other", "infinite", "huge", "object", "number"):
                continue
            if file != "config.yaml" and damage == "date":
                continue
            listed.append((file, damage))
    return listed


# A table takes as long as all the other commands together: one damage of each kind is shown to it.
AS_A_TABLE = ("missing", "cut", "other", "folder", "loop", "unreadable")
TABLES = (
    "config.yaml",
    "metrics.jsonl",
    "coverage.jsonl",
    "result.json",
    "evaluations/LSH-1.json",
    "evaluations",
    ".",
)
# Damage after which the file still is what it should be, or as good as not there.
HARMLESS = {
    *(("config.yaml", damage) for damage in ("cut", "utf16", "infinite", "huge", "null", "object")),
    *((file, "infinite") for file in JSON),
    ("result.json", "object"),
    ("evaluations/LSH-1.json", "object"),
}


@pytest.mark.parametrize("file", FILES)
def test_no_damage_of_one_cell_keeps_a_command_from_the_others(
    file: str, study: Study, template: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for _, damage in (case for case in cases() if case[0] == file):
        shutil.rmtree("runs", ignore_errors=True)
        shutil.copytree(template / "runs", "runs")
        damaged = Damaged(study, file, damage, capfd)
        where = (file, damage)
        with unreadable(damaged.path if damage == "unreadable" else Path("/nowhere"), monkeypatch):
            output = damaged.call(lambda: main(["status", "./mine.yaml"]), (0,))
            assert output.count("1.2345") >= 1, (where, output)
            if damaged.is_named and where not in HARMLESS:
                assert Path(file).name in output, (where, output)
            if damage in AS_A_TABLE and file in TABLES:
                read_as_a_table(damaged, where)
            if file not in ("log.txt", "metrics.jsonl", "coverage.jsonl"):
                damaged.call(lambda: main(["run", "./mine.yaml", "--dry-run"]), (0, 2))
            codes = (0, 1, 2) if file == "config.yaml" else (0, 1)
            output = damaged.call(lambda: main(["run", "./mine.yaml"]), codes)
            refused = "holds a run of another config" in output  # half a config is another one
            assert refused or "of 2 cells ok" in output, (where, output)
        assert not any(is_running(cell.directory) for cell in damaged.others)


def read_as_a_table(damaged: Damaged, where: tuple[str, str]) -> None:
    """The readers that make tables and curves show the other cell, and name the damaged one."""
    output = damaged.call(lambda: main(["report", "./mine.yaml"]), (0,))
    assert output.count("50.0") >= 1, (where, output)
    if damaged.is_named and where not in HARMLESS:
        assert Path(damaged.file).name in output or "unreadable" in output, (where, output)
    for source in ("./mine.yaml", "runs/mine"):
        damaged.call(lambda name=source: main(["export", name, "--out", "all.csv"]), (0,))
        exported = Path("all.csv").read_text()
        assert exported.count("1.2345") >= 2, (where, exported)
    damaged.call(lambda: main(["compare", "runs/mine", "runs/mine", "--out", "compared"]), (0,))
    for load in (load_curves, load_coverage):
        damaged.call(lambda load=load: len(load(damaged.study)), range(1, 1000))
