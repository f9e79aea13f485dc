"""One process has a directory, also where the kernel's lock does not reach."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.launch.study_lock import locked as study_locked
from ablations.study import Study
from experiments.run_dir import owner
from experiments.run_dir.lock import is_running, locked
from experiments.run_dir.owner import identity, owned_by_another
from reformer_pl.config import ConfigError


def write_owner(directory: Path, **changes: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    values = {**(identity(os.getppid()) or {}), **changes}
    (directory / ".owner").write_text(json.dumps(values))


def gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_file_is_there_while_the_run_lives(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert json.loads((tmp_path / ".owner").read_text()) == identity(os.getpid())
    assert not (tmp_path / ".owner").exists()


@pytest.mark.parametrize("host", ["node-7", "elsewhere.example.org"])
def test_a_run_of_another_host_is_left_alone(
    tmp_path: Path, host: str, study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    write_owner(tmp_path, host=host, pid=4711)
    words = f"4711 on the host {host} .*delete .*owner"
    with pytest.raises(ConfigError, match=words), locked(tmp_path):
        pass
    assert is_running(tmp_path)
    study = study_of("one", "other")
    write_owner(study.cells[0].directory, host=host, pid=4711)
    assert main(["run", "./mine.yaml"]) == 1  # that cell alone keeps waiting
    words = capfd.readouterr().out
    assert f"one seed=0: failed to start: process 4711 on the host {host}" in words
    assert "other seed=0: ok" in words
    assert main(["status", "./mine.yaml"]) == 0
    assert f"process 4711 on the host {host}" in capfd.readouterr().out
    (study.cells[0].directory / ".owner").unlink()
    write_owner(study.directory, host=host, pid=4711)
    with pytest.raises(ConfigError, match=host), study_locked(study):
        pass
    (study.directory / ".owner").unlink()
    assert main(["run", "./mine.yaml"]) == 0
    assert not list(study.directory.rglob(".owner"))


def test_the_file_has_its_text_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one is taken for what a crash left, and its directory would be taken over."""
    seen, link = [], os.link

    def look(source: Path, target: Path) -> None:
        link(source, target)
        seen.append(json.loads((tmp_path / ".owner").read_text()))

    monkeypatch.setattr(os, "link", look)
    owner.take(tmp_path)
    assert seen == [identity(os.getpid())]
    owner.release(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / ".owner").mkdir()
    with pytest.raises(ConfigError, match="is a folder, where a file should be"):
        owner.take(tmp_path)


def test_a_living_process_of_this_host_is_left_alone(tmp_path: Path) -> None:
    write_owner(tmp_path)
    with pytest.raises(ConfigError, match=f"process {os.getppid()} has"), locked(tmp_path):
        pass


@pytest.mark.parametrize("what", ["gone", "another start", "cut", "no object"])
def test_what_a_dead_process_left_is_taken_over(tmp_path: Path, what: str) -> None:
    match what:
        case "gone":
            write_owner(tmp_path, pid=gone())
        case "another start":
            write_owner(tmp_path, started="1 of another boot")
        case "cut":
            (tmp_path / ".owner").write_text('{"host": "no')
        case _:
            (tmp_path / ".owner").write_text("[]")
    assert not owned_by_another(tmp_path) and not is_running(tmp_path)
    with locked(tmp_path):
        assert json.loads((tmp_path / ".owner").read_text()) == identity(os.getpid())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_flock_the_file_alone_guards(
    tmp_path: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_of: Callable[..., Study],
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    owner.warn_without_flock.cache_clear()
    for _ in range(2):
        with locked(tmp_path):
            pass
    assert capsys.readouterr().err.count("without locks") == 1
    write_owner(tmp_path)
    assert is_running(tmp_path)
    with pytest.raises(ConfigError, match="wait for it"), locked(tmp_path):
        pass
    study = study_of("one")
    assert main(["run", "./mine.yaml"]) == 0
    write_owner(study.directory)
    assert main(["run", "./mine.yaml"]) == 2
