"""The commit that a result names is that of the code that made it, or none."""

import os
import subprocess
from pathlib import Path

import pytest

from experiments.run_dir import provenance
from experiments.run_dir.provenance import git_commit
from experiments.safe_path import ROOT

OWN_FILE = Path(provenance.__file__).relative_to(ROOT)
IDENTITY = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    command = ["git", *IDENTITY, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def code(folder: Path) -> Path:
    (folder / OWN_FILE).parent.mkdir(parents=True)
    (folder / OWN_FILE).write_text("# the code\n")
    return folder


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first", "--allow-empty")
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return repository(code(tmp_path / "clone"))


def head(folder: Path) -> str:
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_a_clone_names_its_commit_and_says_dirty(clone: Path) -> None:
    assert git_commit(clone) == head(clone)
    (clone / OWN_FILE).write_text("# changed\n")
    assert git_commit(clone) == f"{head(clone)}-dirty"


def test_a_worktree_and_a_submodule_name_theirs(clone: Path, tmp_path: Path) -> None:
    git(clone, "worktree", "add", "-q", str(tmp_path / "tree"))
    assert git_commit(tmp_path / "tree") == head(clone)
    outer = repository(tmp_path / "outer")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(clone), "inner")
    git(outer, "commit", "-qm", "second")
    assert git_commit(outer / "inner") == head(clone) != head(outer)


@pytest.mark.parametrize("place", ["sub/folder", "", "with an empty .git"])
def test_a_tarball_within_another_repository_names_none(tmp_path: Path, place: str) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "theirs.txt").write_text("theirs")
    repository(outer)
    git(outer, "tag", "-a", "v9", "-m", "theirs")
    unpacked = code(outer / place)
    if place.startswith("with"):
        (unpacked / ".git").mkdir()
    assert git_commit(unpacked) is None


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_the_environment_points_at_no_other_repository(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    expected = head(clone)
    other = repository(tmp_path / "other")
    value = {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / "index"}
    monkeypatch.setenv(name, str(value[name]))
    if name == "GIT_WORK_TREE":
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git_commit(clone) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another owner")
def test_a_clone_of_another_owner_names_its_commit(clone: Path) -> None:
    expected = head(clone)
    for path in (clone, *clone.rglob("*")):
        os.chown(path, 12345, 12345)
    assert (
        "dubious"
        in subprocess.run(
            ["git", "-C", str(clone), "status"], capture_output=True, text=True
        ).stderr
    )
    assert git_commit(clone) == expected


def test_without_git_there_is_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made_by = provenance.provenance()
    assert made_by["git_commit"] is None and made_by["versions"]["reformer-pl"]
