"""`experiments.train` and `experiments.evaluate` in a run directory with one thing damaged: one line and an exit code, and the trained model stays."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import evaluate, train
from experiments.training import fit

OVERRIDES = ["experiment=smoke", "trainer.loggers=[]", "trainer.max_steps=6",
             "trainer.log_every_steps=1", "trainer.eval_every_steps=3", "out_dir=run",
             "trainer.coverage_every_steps=3"]  # fmt: skip


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) + b"\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_lists(path: Path) -> None:
    path.write_text("[1, 2]\n")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of six, and a checkpoint of the third."""
    place = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(fit, "final_scores", lambda parts: (_ for _ in ()).throw(FloatingPointError))
        assert train.main(OVERRIDES) == 1
    run = place / "run"
    for name in ("result.json", "evaluations/LSH-1.json"):  # as a run that had ended would have
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text('{"status": "failed", "error": "x", "name": "LSH-1"}')
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    return run


@pytest.mark.parametrize("damage", [garbage, cut, of_lists, folder, dangling, loop])
@pytest.mark.parametrize(
    "file",
    [
        "config.yaml",
        "metrics.jsonl",
        "log.txt",
        "checkpoints/last.ckpt",
        "sessions.jsonl",
        "coverage.jsonl",
        "result.json",
        "evaluations/LSH-1.json",
    ],
)
def test_training_goes_on_or_says_in_one_line_why_not(
    file: str,
    damage: Callable[[Path], None],
    half_trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    shutil.copytree(half_trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fit, "fit", lambda parts: (_ for _ in ()).throw(FloatingPointError("here")))
    damage(tmp_path / "run" / file)
    before = (half_trained / "checkpoints" / "last.ckpt").read_bytes()
    code = train.main(OVERRIDES)
    captured = capfd.readouterr()
    output = captured.out + captured.err
    assert "Traceback" not in output and code in (1, 2), output
    # Another file of rows or words is written on. No training reads the evaluations of before.
    whole = damage in (garbage, cut, of_lists) or file.startswith("evaluations")
    if code == 1:
        assert whole and "FloatingPointError: here" in output, "training was about to go on"
    else:
        assert output.splitlines()[-1].startswith(("error: run", "error: out_dir=run")), output
    if code == 1 and file == "metrics.jsonl":
        assert "metrics.jsonl lacks the rows of steps" in output, "a resumed run says so"
    if file != "checkpoints/last.ckpt":
        assert (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes() == before
        assert "delete" not in output, output


@pytest.mark.parametrize("damage", [cut, garbage, folder, dangling, loop])
@pytest.mark.parametrize("file", ["config.yaml", "checkpoints/last.ckpt"])
def test_an_evaluation_says_in_one_line_why_not(
    file: str,
    damage: Callable[[Path], None],
    half_trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    shutil.copytree(half_trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    damage(tmp_path / "run" / file)
    if damage is cut and file == "config.yaml":
        return  # half a config may be a config
    assert evaluate.main(["run"]) == 2
    output = capfd.readouterr().err
    assert output.startswith(("error: run", "error: out_dir=run")) and output.count("\n") == 1, (
        output
    )
    assert Path(file).name in output
