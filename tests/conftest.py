"""A study of fake cells, for every test of the driver."""

import gc
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import ablations.study.changed
import ablations.study.study
from ablations.launch.local import sweep
from ablations.study import Study, load_study
from ablations.study.cell import Cell
from experiments.compose import Bases, compose
from fake_cells import DRIVER, FAKE_CELL, ROOT

for name in [
    name
    for name in os.environ
    if name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS") or name.startswith("SLURM_")
]:
    if (
        name != "SLURM_CONF"
    ):  # make test-slurm's own; else the tests may run in a job, of whose nodes they take none
        del os.environ[name]


def pytest_collection_finish() -> None:
    """What the imports made stays: no collection searches it (experiments/fast_imports.py)."""
    gc.freeze()


BASES = Bases()  # of all tests, for Hydra takes a tenth of a second


@pytest.fixture
def stub_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs whose config.yaml is a few keys: what a changed one does stands in test_changed_study.py."""
    for reader in ("cells", "curves", "evaluations", "load"):
        monkeypatch.setattr(f"ablations.results.{reader}.changed_cells", lambda study: {})


@pytest.fixture
def study_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """A study of fake cells, one for each name, below the test's own runs directory; more of its YAML by name."""
    script = tmp_path / "fake_cell.py"
    script.write_text(FAKE_CELL)
    (tmp_path / "driver.py").write_text(DRIVER.format(root=str(ROOT), script=str(script)))
    monkeypatch.setattr(
        Cell, "command", lambda cell: [sys.executable, str(script), cell.name, str(cell.directory)]
    )
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(
        ablations.study.study, "compose", lambda overrides, bases: compose(overrides, BASES)
    )
    monkeypatch.setattr(ablations.study.changed, "BASES", BASES)
    monkeypatch.chdir(tmp_path)

    def own(name: str) -> str:
        """An override of this name alone: cells of equal config would be one run."""
        return f"optim.warmup_steps={zlib.crc32(name.encode()) % 10**6}"

    def study(*names: str, **values: Any) -> Study:
        (tmp_path / "mine.yaml").write_text(
            yaml.safe_dump(
                {"axes": {"train": {name: [own(name)] for name in names}}} | values,
                sort_keys=False,
            )
        )
        return load_study("./mine.yaml")

    return study
