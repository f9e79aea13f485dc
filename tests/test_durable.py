"""A run after a power cut: what is on the disk, in which order, and what a cut leaves."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import train
from experiments.run_dir import durable
from experiments.run_dir.files import (
    CONFIG,
    METRICS,
    RESULT,
    checkpoint_path,
    previous_checkpoint_path,
    read_json,
)
from experiments.run_dir.rows import read_rows
from experiments.training.callbacks import Checkpoints
from processes import TIMES

RUN = [
    "experiment=smoke", "model.n_layers=1", "trainer.max_steps=6", "trainer.eval_every_steps=2",
    "trainer.log_every_steps=1", "trainer.loggers=[]", "trainer.threads=1",
]  # fmt: skip


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def numbers(directory: Path) -> dict[str, Any]:
    """What a run must come to, whatever happened on the way."""
    result = json.loads((directory / RESULT).read_text())
    rows = [
        {key: value for key, value in row.items() if key not in TIMES}
        for row in read_rows(directory / METRICS)
    ]
    return {
        "result": {k: v for k, v in result.items() if k not in TIMES},
        "rows": rows,
        "weights": {k: v.tolist() for k, v in weights(checkpoint_path(directory)).items()},
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died when it was to write its third checkpoint: it has two."""
    directory = tmp_path_factory.mktemp("stopped") / "run"

    class Cut(Exception):
        pass

    calls, save = [], Checkpoints.save

    def cut(self: Checkpoints, trainer: object) -> None:
        calls.append(trainer)
        if len(calls) == 3:
            raise Cut
        save(self, trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", cut)
        assert train.main([*RUN, f"out_dir={directory}"]) == 1
    (directory / RESULT).unlink()
    assert checkpoint_path(directory).exists() and previous_checkpoint_path(directory).exists()
    return directory


def log_of_disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """("sync" | "replace", path), in order."""
    log: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def logged_sync(handle: int) -> None:
        log.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    def logged_replace(source: Any, target: Any) -> None:
        log.append(("replace", f"{source} -> {target}"))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_sync)
    monkeypatch.setattr(os, "replace", logged_replace)
    return log


def test_every_rename_stands_between_a_flush_of_the_file_and_one_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no /proc to name an open file")
    log = log_of_disk(monkeypatch)
    directory = tmp_path / "new" / "run"
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    replaced = []
    for at, (word, paths) in enumerate(log):
        if word != "replace":
            continue
        source, target = (Path(path) for path in paths.split(" -> "))
        replaced.append(target.name)
        before, after = log[:at], log[at + 1 :]
        if target.name != "previous.ckpt":  # that one was flushed when it was the last
            assert ("sync", str(source)) in before, f"{source} was not flushed"
        assert ("sync", str(target.parent)) in after, f"{target.parent} was not flushed after"
        if target.name == "last.ckpt":
            ends = [i for i, entry in enumerate(before) if entry[1].endswith("/last.ckpt")]
            flushed = [path for _, path in before[max(ends, default=0) :]]
            assert str(directory / METRICS) in flushed, "the rows were not flushed first"
    assert {CONFIG, RESULT, "last.ckpt", "previous.ckpt"} <= set(replaced)
    assert ("sync", str(tmp_path)) in log, "the name of a new folder was not flushed"
    assert not previous_checkpoint_path(directory).exists(), "a finished run needs one checkpoint"


def blank(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(b"\0" * max(100, path.stat().st_size))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of the largest tensor."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        tensor = archive.read(largest)
    content = bytearray(path.read_bytes())
    content[content.index(tensor) + len(tensor) // 2] ^= 1
    path.write_bytes(content)


CUTS = {
    "nothing more": {},
    "empty config": {CONFIG: blank},
    "zeros in config": {CONFIG: zeros},
    "empty result": {RESULT: blank},
    "zeros in result": {RESULT: zeros},
    "empty config and result": {CONFIG: blank, RESULT: blank},
    "empty checkpoint": {"checkpoints/last.ckpt": blank},
    "half a checkpoint": {"checkpoints/last.ckpt": half},
    "a flipped bit": {"checkpoints/last.ckpt": flip},
    "between the renames": {"checkpoints/last.ckpt": Path.unlink},
    "half a row": {METRICS: lambda path: path.write_bytes(path.read_bytes()[:-9])},
}


@pytest.mark.parametrize("cut", CUTS)
def test_what_a_power_cut_leaves_is_resumed_to_the_same_numbers(
    cut: str, whole: Path, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(stopped, directory)
    for name, damage in CUTS[cut].items():
        path = directory / name
        path.touch()
        damage(path)
    # The copy lies elsewhere, and so a config that is left names another out_dir: no change.
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    words = capsys.readouterr()
    step = 2 if any("ckpt" in name for name in CUTS[cut]) else 4
    assert f"training from step {step} of 6" in words.out
    assert ("previous.ckpt, of step 2, is taken instead" in words.err) == (step == 2)
    assert numbers(directory) == numbers(whole)


def test_where_no_checkpoint_is_whole_the_run_says_so_and_loses_nothing(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(stopped, directory)
    for path in (checkpoint_path(directory), previous_checkpoint_path(directory)):
        flip(path)
    before = {path: path.read_bytes() for path in directory.rglob("*.ckpt")}
    assert train.main([*RUN, f"out_dir={directory}"]) == 2
    assert "previous.ckpt is corrupt" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in directory.rglob("*.ckpt")}


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 300, b" \t\r\n"])
def test_a_blank_file_is_a_missing_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / RESULT
    path.write_bytes(content)
    assert read_json(path) is None


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.csv"]
