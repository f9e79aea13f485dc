"""A run is more than its config's text: its checkpoint, its data, its presets, who trained it."""

import bz2
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ablations.launch.cell_environment import CELL_ENVIRONMENT
from experiments import evaluate, train
from experiments.run_dir.files import evaluation_path
from experiments.run_dir.identity import CELL, begin_session, check_asked, read_sessions
from experiments.run_dir.outcome import missing_evaluations, write_evaluation
from processes import result, rows, timeless
from reformer_pl.config import ConfigError, load, to_dict

SMALL = [
    "experiment=smoke",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.eval_every_steps=4",
    "trainer.log_every_steps=2",
    "task.eval_sequences=4",
    "optim.schedule=rsqrt",
    "+evaluations={Full:['model.attention=shared_full']}",
]


def run(directory: Path, steps: int, *more: str) -> int:
    return train.main([*SMALL, f"trainer.max_steps={steps}", *more, f"out_dir={directory}"])


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "ten"
    assert run(directory, 10) == 0
    return directory


@pytest.fixture
def copy(ten: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ten, tmp_path / "copy"))


def last(directory: Path) -> Path:
    return directory / "checkpoints" / "last.ckpt"


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(last(directory), weights_only=True)["state_dict"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    error = capsys.readouterr().err
    line = next(line for line in error.splitlines() if line.startswith("error: "))
    assert all(word in line for word in words), line
    assert "Traceback" not in error


def test_an_extended_run_equals_one_with_these_steps_from_the_start(
    copy: Path, tmp_path: Path
) -> None:
    assert run(tmp_path / "whole", 14) == 0
    assert run(copy, 14) == 2, "without the option it is refused as before"
    old = (copy / "result.json").read_bytes()
    assert run(copy, 14, "--extend") == 0
    a, b = weights(copy), weights(tmp_path / "whole")
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert timeless(result(copy)) == timeless(result(tmp_path / "whole"))
    for split in ("train", "valid"):
        one, two = rows(copy, split), rows(tmp_path / "whole", split)
        assert [timeless(row) for row in one] == [timeless(row) for row in two]
    new, whole = (evaluation_path(place, "Full") for place in (copy, tmp_path / "whole"))
    assert new.read_bytes() == whole.read_bytes()
    assert (copy / "result.at-step-10.json").read_bytes() == old
    assert [session["step"] for session in result(copy)["sessions"]] == [0, 10]
    assert run(copy, 14, "--extend") == 0, "typing it again changes nothing"


@pytest.mark.parametrize(
    "steps, more, words",
    [
        (9, [], "not more"),
        (14, ["optim.lr=0.5"], "optim.lr"),
        (14, ["model.dropout=0.2"], "model.dropout"),
    ],
)
def test_what_cannot_be_extended_says_why(
    copy: Path, steps: int, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copy / "result.json").read_bytes()
    assert run(copy, steps, *more, "--extend") == 2
    refused(capsys, "cannot be extended", words)
    assert (copy / "result.json").read_bytes() == before


def test_a_cosine_run_is_not_extended(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "config.yaml"
    path.write_text(path.read_text().replace("rsqrt", "cosine"))
    assert run(copy, 14, "optim.schedule=cosine", "--extend") == 2
    refused(capsys, "cosine", "from the start")
    assert run(tmp_path / "nothing", 14, "--extend") == 2
    refused(capsys, "no run to extend")


def other_config(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["config"]["seed"] = 7
    torch.save(checkpoint, path)


def no_config(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["hyper_parameters"]
    torch.save(checkpoint, path)


def flip(where: float) -> Callable[[Path], None]:
    def bit(path: Path) -> None:
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            big = max(archive.infolist(), key=lambda member: member.file_size)
        data[big.header_offset + 200 + int(where * big.file_size)] ^= 1
        path.write_bytes(data)

    return bit


@pytest.mark.parametrize(
    "spoil, words",
    [
        (other_config, "of another run (seed 7 -> 0)"),
        (no_config, "does not say its config"),
        (flip(0.3), "corrupt"),
        (flip(0.5), "corrupt"),
        (flip(0.7), "corrupt"),
    ],
    ids=["another run's", "nobody's", "a bit", "another bit", "a third"],
)
def test_a_checkpoint_that_is_not_the_runs_own_is_refused(
    copy: Path,
    spoil: Callable[[Path], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(last(copy))
    assert evaluate.main([str(copy), "model.lsh.n_hashes=1"]) == 2
    refused(capsys, words, "train again")
    (copy / "result.json").unlink()
    assert run(copy, 10) == 2
    refused(capsys, words, "train again")


def test_a_checkpoint_deleted_to_save_space(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(last(copy).parent)
    assert run(copy, 10) == 0, "its numbers stay"
    capsys.readouterr()
    assert evaluate.main([str(copy), "model.lsh.n_hashes=1"]) == 2
    refused(capsys, "not there", "its numbers stay", "another out_dir")
    assert run(copy, 14, "--extend") == 2
    refused(capsys, "cannot be extended", "not there")
    (copy / "result.json").unlink()
    assert run(copy, 10) == 0
    assert "starts over at step 0" in capsys.readouterr().out


def test_a_replaced_data_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, text = tmp_path / "text.bz2", bytes(range(256)) * 80
    source.write_bytes(bz2.compress(text))
    task = ["task=enwik8", f"task.source={source}", "task.length=64", "task.batch_size=2"]
    assert run(tmp_path / "run", 2, *task) == 0
    noted = json.loads((tmp_path / "run" / "data.json").read_text())
    assert noted["bytes"] == len(text) and len(noted["sha256"]) == 64
    source.write_bytes(bz2.compress(text, 1))  # packed anew: the same text
    assert evaluate.main([str(tmp_path / "run"), "model.lsh.n_hashes=1"]) == 0
    for other in (text[:-1] + b"x", text + text):
        source.write_bytes(bz2.compress(other))
        capsys.readouterr()
        assert evaluate.main([str(tmp_path / "run"), "model.lsh.n_hashes=2"]) == 2
        refused(capsys, "not what this run began with", "put that file back")
    (tmp_path / "run" / "result.json").unlink()
    assert run(tmp_path / "run", 2, *task) == 2
    refused(capsys, "not what this run began with")


@pytest.mark.parametrize("edit", [{"seed": 3}, {"optim": {"lr": 0.5}}, {"model": {"d_ff": 96}}])
def test_a_cell_trains_what_its_driver_composed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: dict
) -> None:
    config = load({"out_dir": str(tmp_path)})
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps(to_dict(load(edit))))
    check_asked(config)  # by hand, without a driver, the command is what counts
    monkeypatch.setenv(CELL, CELL_ENVIRONMENT[CELL])
    with pytest.raises(ConfigError, match="was edited since the sweep began"):
        check_asked(config)
    asked.write_text(json.dumps(to_dict(config)))
    check_asked(config)


def test_sessions_are_those_that_trained_a_part(tmp_path: Path) -> None:
    for step, threads in ((0, 1), (10, 2), (10, 3), (20, 4)):
        begin_session(tmp_path, step, "CPU", threads)
    sessions = read_sessions(tmp_path)
    assert [(row["step"], row["threads"]) for row in sessions] == [(0, 1), (10, 3), (20, 4)]
    keys = {"step", "started_at", "host", "device", "threads", "versions", "git_commit"}
    assert all(row.keys() == keys for row in sessions)
    begin_session(tmp_path, 0, "CPU", 5)
    assert [row["threads"] for row in read_sessions(tmp_path)] == [5]


@pytest.mark.parametrize(
    "names",
    [
        ["a b", "a-b", "a/b"],
        ["x" * 300, "x" * 299],
        ["漢" * 100, "漢" * 101],
        ["é" * 119 + "1", "é" * 119 + "2"],
        ["model.attention=local lsh", "model.attention=local-lsh"],
    ],
    ids=["changed", "long", "long in bytes", "long accents", "overrides"],
)
def test_an_evaluation_is_made_once_whatever_its_name(tmp_path: Path, names: list[str]) -> None:
    evaluations = {name: [f"model.lsh.n_hashes={i + 1}"] for i, name in enumerate(names)}
    for name, overrides in evaluations.items():
        write_evaluation(tmp_path, name, overrides, {"loss_nats": 1.0})
    assert missing_evaluations(tmp_path, evaluations) == []
