"""The wheel works outside of the clone, whatever folders the working directory has."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import PATIENCE_SECONDS, result
from warm import output_of

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("reformer_pl", "experiments", "ablations", "configs")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
TINY = ["trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_steps=2"]
STUDY = f"""
base: [experiment=smoke, {", ".join(TINY)}]
axes: {{model.attention: [local]}}
"""
Command = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources and unpacked as pip unpacks it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = subprocess.run(
        [sys.executable, "-c", BUILD, "dist"], cwd=source, capture_output=True, text=True
    )
    assert build.returncode == 0, build.stderr
    (path,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(path).extractall(out)
    return out


@pytest.fixture
def python(wheel: Path, tmp_path: Path) -> Command:
    """Runs `python ARGUMENTS` in an empty folder, with the wheel first on the path."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(wheel)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def forked(wheel: Path, tmp_path: Path) -> Command:
    """The same in a fork of a process that has imported torch."""
    return lambda *arguments: output_of(
        [*arguments], tmp_path, tmp_path / "printed.txt", PYTHONPATH=str(wheel)
    )


def test_the_wheel_holds_every_source_and_every_config(wheel: Path) -> None:
    """Beside the bytecode nothing of the folders is left out."""
    for folder in FOLDERS:
        inside = wheel / ("experiments/configs" if folder == "configs" else folder)
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".css", ".js"):
                copy = inside / path.relative_to(ROOT / folder)
                assert copy.read_bytes() == path.read_bytes(), copy
    names = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"reformer_pl", "experiments", "ablations"}


def test_a_run_and_a_study_from_an_empty_folder(
    python: Command, forked: Command, wheel: Path, tmp_path: Path
) -> None:
    where = python("-c", "import experiments.compose as c; print(c.__file__, c.CONFIG_DIR)")
    assert where.split() == [
        str(wheel / "experiments" / name) for name in ("compose.py", "configs")
    ]
    forked("-m", "experiments.train", "experiment=smoke", *TINY, "out_dir=one")
    assert result(tmp_path / "one")["status"] == "ok"
    assert result(tmp_path / "one")["git_commit"] is None, "the clone ran, not the wheel"
    (tmp_path / "own.yaml").write_text(STUDY)
    python("-m", "ablations", "run", "own.yaml")
    forked("-m", "ablations", "report", "own.yaml")
    assert result(tmp_path / "runs/own/local/seed=0")["git_commit"] is None
    assert (tmp_path / "runs/own/report/index.html").is_file()
    assert python("-m", "ablations", "plan", "smoke").count("-m experiments.train") == 4


def make_folders(directory: Path, with_init: bool) -> None:
    """Folders of the user that are called as ours are, and whose code must not run."""
    for name in ("experiments", "ablations", "configs", "reformer_pl"):
        (directory / name).mkdir()
        for file in ("__init__", "train", "benchmark") if with_init else ("train",):
            (directory / name / f"{file}.py").write_text("raise SystemExit('code of the user')\n")


@pytest.mark.parametrize("with_init", [True, False], ids=["packages", "plain folders"])
def test_folders_of_the_same_names_do_no_harm(
    python: Command, tmp_path: Path, with_init: bool
) -> None:
    """`python -P` leaves the working directory out; two ranks and two cases inherit that or set it.

    Only a folder with an __init__.py needs -P: Python prefers an installed package to the other.
    """
    make_folders(tmp_path, with_init)
    if not with_init:
        config = python("-m", "experiments.train", "experiment=smoke", *TINY, "--cfg", "job")
        assert "max_steps: 2" in config
        return
    ranks = ["trainer=ddp", "trainer.devices=2", "out_dir=two"]
    python("-P", "-m", "experiments.train", "experiment=smoke", *TINY, *ranks)
    assert result(tmp_path / "two")["status"] == "ok"
    shape = ["model.d_model=16", "model.n_heads=2", "model.lsh.chunk_len=8", "task.batch_size=2"]
    limits = ["benchmark.repeats=1", "benchmark.seconds=0.001", "trainer.accelerator=cpu"]
    case = ["benchmark.measure=attention", *shape, *limits, "task.length=32,64"]
    python("-P", "-m", "experiments.benchmark", *case)
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/**/result.json")]
    assert [done["status"] for done in results] == ["ok", "ok"]
