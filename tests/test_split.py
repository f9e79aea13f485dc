"""The test part: other data than the held-out part, scored by evaluations alone."""

import json
from pathlib import Path

import pytest
import torch

from experiments.evaluate import main as evaluate
from experiments.run_dir.outcome import read_result
from experiments.train import main as train
from experiments.training.fit import train as fit
from reformer_pl.config import ConfigError, load
from reformer_pl.tasks import build_task
from tiny import tiny

TEXT = bytes(torch.randint(256, (10_000,), generator=torch.Generator().manual_seed(0)).tolist())
TASKS = {
    "duplication": ["task.name=duplication"],
    "recall": ["task.name=recall", "task.pairs=2", "task.noise=0.1"],
    "enwik8": ["task.name=enwik8"],
}


def words(name: str, tmp_path: Path) -> list[str]:
    source = tmp_path / "text"
    source.write_bytes(TEXT)
    return [*TASKS[name], f"task.source={source}", "task.eval_sequences=9", "task.length=18"]


@pytest.mark.parametrize("name", TASKS)
def test_the_parts_share_no_sequence(name: str, tmp_path: Path) -> None:
    parts = {}
    for split in ("held_out", "test"):
        data = build_task(tiny(*words(name, tmp_path), f"task.split={split}"))
        again = build_task(tiny(*words(name, tmp_path), f"task.split={split}", "task.batch_size=5"))
        parts[split] = data.held_out(range(9)).tokens
        assert torch.equal(parts[split], again.held_out(range(9)).tokens)
        assert torch.equal(
            data.train_batch(3).tokens,
            build_task(tiny(*words(name, tmp_path))).train_batch(3).tokens,
        )
    equal = (parts["held_out"][:, None] == parts["test"][None]).all(-1)
    assert not equal.any()


def test_the_test_part_of_a_text_is_its_last_twentieth(tmp_path: Path) -> None:
    data = build_task(tiny(*words("enwik8", tmp_path), "task.split=test", "task.eval_sequences=0"))
    windows = bytes(data.held_out(range(data.n_eval_sequences)).tokens.flatten().tolist())
    rest = TEXT[int(len(TEXT) * 0.95) :]
    assert windows == rest[: len(windows)] and len(rest) - len(windows) < 18
    assert data.count_models() != build_task(tiny(*words("enwik8", tmp_path))).count_models()


def test_a_run_is_scored_on_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As an evaluation of its own config, and by the command: one number for both."""
    run = tmp_path / "run"
    command = [
        "experiment=smoke", "trainer.max_steps=2", "task.eval_sequences=3", f"out_dir={run}",
        "+evaluations={Test:['task.split=test']}", "trainer.accelerator=cpu",
    ]  # fmt: skip
    assert train(command) == 0
    own = read_result(run)
    capsys.readouterr()
    printed = {}
    for split in ("--split=held_out", "task.split=test"):
        assert evaluate([str(run), split]) == 0
        printed[split] = capsys.readouterr().out
    assert evaluate([str(run), "--split", "test"]) == 0
    assert capsys.readouterr().out == printed["task.split=test"]
    assert f"loss_nats {own['loss_nats']:.6g}" in printed["--split=held_out"]
    assert f"loss_nats {own['loss_nats']:.6g}" not in printed["task.split=test"]
    named = load_json(run / "evaluations" / "Test.json")
    assert f"loss_nats {named['loss_nats']:.6g}" in printed["task.split=test"]


def load_json(path: Path) -> dict[str, float]:

    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["task.split=test"], "is for evaluations"),
        (["task.split=tset"], "choose held_out, test"),
    ],
)
def test_training_is_never_watched_on_the_test_part(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(["experiment=smoke", f"out_dir={tmp_path / 'run'}", *arguments]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError):
        fit(load({"task": {"split": "test"}}), tmp_path)


def test_split_needs_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([str(tmp_path), "--split"]) == 2
    assert "--split needs a word" in capsys.readouterr().err
