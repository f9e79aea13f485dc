"""A run is more than its config's text: its checkpoint, its data and what trained it are its own."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from experiments import evaluate, train
from experiments.run_dir import provenance
from experiments.run_dir.files import METRICS, RESULT, checkpoint_path
from experiments.training.callbacks import Checkpoints
from reformer_pl.module import LitSequenceModel

RUN = [
    "experiment=smoke", "model.n_layers=1", "trainer.max_steps=6", "trainer.eval_every_steps=2",
    "trainer.log_every_steps=2", "trainer.loggers=[]", "trainer.threads=1",
]  # fmt: skip
ADDED = ["+evaluations={LSH-8:['model.lsh.n_hashes=8']}"]
TEXT = ["task.name=enwik8", "model.lsh.window=causal", "task.eval_sequences=4"]


def stop_at(monkeypatch: pytest.MonkeyPatch, checkpoint: int) -> None:
    """As a kill would: nothing of the steps after a checkpoint is kept."""
    calls, save = [], Checkpoints.save

    def cut(self: Checkpoints, trainer: object) -> None:
        calls.append(trainer)
        if len(calls) > checkpoint:
            raise KeyboardInterrupt
        save(self, trainer)

    monkeypatch.setattr(Checkpoints, "save", cut)


def half_run(directory: Path, *overrides: str) -> list[str]:
    """A run that stands at step 2 of 6; returns its arguments."""
    arguments = [*RUN, *overrides, f"out_dir={directory}"]
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 1)
        assert train.main(arguments) != 0
    (directory / RESULT).unlink(missing_ok=True)
    assert checkpoint_path(directory).exists()
    return arguments


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("seed=1", "seed 1 -> 0"),
        ("optim.lr=0.5", "optim.lr 0.5 -> 0.001"),
        ("task.batch_size=4", "task.batch_size 4 -> 8"),
    ],
)
def test_another_runs_checkpoint_is_refused(
    other: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = half_run(tmp_path / "own")
    half_run(tmp_path / "other", other)
    path = checkpoint_path(tmp_path / "own")
    shutil.copy(checkpoint_path(tmp_path / "other"), path)
    before = path.read_bytes()
    capsys.readouterr()
    for command in (
        lambda: train.main(arguments),
        lambda: evaluate.main([str(tmp_path / "own")]),
    ):
        assert command() == 2
        assert f"is of a run with another config ({reason})" in capsys.readouterr().err
    assert path.read_bytes() == before and not (tmp_path / "own" / RESULT).exists()


@pytest.mark.parametrize("change", ["another byte", "a longer file"])
def test_data_that_changed_is_refused_on_resume_and_evaluation(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "text"
    text = bytes(range(32, 127)) * 40
    source.write_bytes(text)
    arguments = half_run(tmp_path / "run", *TEXT, f"task.source={source}")
    source.write_bytes({"another byte": b"x" + text[1:], "a longer file": text + b"y"}[change])
    capsys.readouterr()
    assert train.main(arguments) == 2
    assert f"the data of {source} has changed" in capsys.readouterr().err
    assert evaluate.main([str(tmp_path / "run")]) == 2
    assert f"the data of {source} has changed" in capsys.readouterr().err
    source.write_bytes(text)
    assert train.main(arguments) == 0
    data = json.loads((tmp_path / "run" / RESULT).read_text())["data"]
    assert data["bytes"] == len(text) and len(data["sha256"]) == 64


def test_every_start_of_a_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose steps are in the weights: what was lost in a kill is no part of the run."""
    monkeypatch.setattr("experiments.training.callbacks.commit", lambda: "old")
    arguments = half_run(tmp_path)
    monkeypatch.setattr("experiments.training.callbacks.commit", lambda: "newer-dirty")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert train.main(arguments) == 0
    starts = json.loads((tmp_path / RESULT).read_text())["starts"]
    assert [(s["step"], s["git_commit"]) for s in starts] == [(0, "old"), (2, "newer-dirty")]
    assert starts[1]["threads"] == 7 and starts[0]["device"] == starts[1]["device"]


def test_an_evaluation_without_a_checkpoint_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished run whose checkpoint was deleted to save disk."""
    arguments = [*RUN, f"out_dir={tmp_path}"]
    assert train.main(arguments) == 0
    shutil.rmtree(checkpoint_path(tmp_path).parent)
    before = (tmp_path / RESULT).read_bytes()
    for command in (
        lambda: evaluate.main([str(tmp_path), "model.lsh.n_hashes=8"]),
        lambda: train.main([*arguments, *ADDED]),
    ):
        capsys.readouterr()
        assert command() == 2
        assert (
            "is missing, so nothing can be scored: train the run first" in capsys.readouterr().err
        )
    assert (tmp_path / RESULT).read_bytes() == before


# the first evaluation that is not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_run_fails_at_the_first_evaluation_that_is_not_finite(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LitSequenceModel.validation_step

    def broken(self: LitSequenceModel, batch: object, index: int) -> None:
        if self.global_step == 4:
            with torch.no_grad():
                self.model.head.bias[0] = value
        whole(self, batch, index)

    monkeypatch.setattr(LitSequenceModel, "validation_step", broken)
    assert train.main([*RUN, f"out_dir={tmp_path}"]) == 1
    done = json.loads((tmp_path / RESULT).read_text())
    assert done["status"] == "failed" and "at step 4: lower optim.lr" in done["error"]
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "valid"] == [2]
    assert "NaN" not in (tmp_path / METRICS).read_text()


def test_an_evaluation_of_broken_weights_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*RUN, f"out_dir={tmp_path}"]) == 0
    path = checkpoint_path(tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.head.bias"][3] = float("nan")
    torch.save(checkpoint, path)
    capsys.readouterr()
    assert evaluate.main([str(tmp_path)]) == 1
    assert "error: the held-out loss_nats is nan" in capsys.readouterr().err
    assert not (tmp_path / "evaluations").exists()


# whose commit it is


def git(*words: str, at: Path) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(at), *author, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one file, as if it were this project's."""
    root = tmp_path / "user" / "clone"
    root.mkdir(parents=True)
    git("init", "-q", at=root)
    (root / "file").write_text("1")
    git("add", ".", at=root)
    git("commit", "-qm", "first", at=root)
    monkeypatch.setattr(provenance, "ROOT", root)
    monkeypatch.setattr(provenance, "commit", provenance.commit.__wrapped__)
    return root


def test_the_commit_is_this_clones_and_says_dirty(clone: Path) -> None:
    head = git("rev-parse", "--short=12", "HEAD", at=clone)
    assert provenance.commit() == head
    (clone / "file").write_text("2")
    assert provenance.commit() == f"{head}-dirty"


def test_a_worktree_has_its_commit(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("worktree", "add", "-q", str(clone.parent / "tree"), at=clone)
    monkeypatch.setattr(provenance, "ROOT", clone.parent / "tree")
    assert provenance.commit() == git("rev-parse", "--short=12", "HEAD", at=clone)


def test_an_archive_within_somebody_elses_repository_has_no_commit(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q", at=clone.parent)
    git("commit", "-qm", "the user's", "--allow-empty", at=clone.parent)
    git("tag", "v9", at=clone.parent)
    shutil.rmtree(clone / ".git")
    assert provenance.commit() is None
    (clone / ".git").mkdir()  # left by a copy: git then looks further up
    assert provenance.commit() is None
    shutil.rmtree(clone / ".git")
    monkeypatch.setenv("GIT_DIR", str(clone.parent / ".git"))
    assert provenance.commit() is None


def test_an_environment_that_names_another_repository_does_not_mislead(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git("init", "-q", at=other)
    git("commit", "-qm", "other", "--allow-empty", at=other)
    head = git("rev-parse", "--short=12", "HEAD", at=clone)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance.commit() == head


def test_a_clone_of_another_owner_is_asked_all_the_same(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test it
    assert (
        "dubious"
        in subprocess.run(
            ["git", "-C", str(clone), "describe", "--always"], capture_output=True, text=True
        ).stderr
    )
    monkeypatch.delenv("GIT_DIR", raising=False)
    assert provenance.commit() is not None
