"""The driver with many cells: what it composes and opens for each, and what it imports.

A thousand cells multiply it, so it is counted.
"""

import gc
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ablations.__main__ import main
from ablations.results import load_results
from ablations.study import Study, compose_cells
from ablations.study.cell import Cell
from experiments import compose, compose_many
from experiments.fast_imports import without_collector
from fake_cells import ROOT
from reformer_pl import config
from reformer_pl.config import to_dict

N_CELLS = 80
TRIVIAL_CELL = """
import json, os, sys
place = sys.argv[1]
with open(place + "/metrics.jsonl", "w") as file:
    print(json.dumps({"step": 10, "split": "train", "loss_nats": 1.5, "seconds": 1.0}), file=file)
os.mkdir(place + "/evaluations")
with open(place + "/evaluations/LSH-8.json", "w") as file:
    json.dump({"overrides": ["model.attention=lsh", "model.lsh.n_hashes=8"], "loss_nats": 1.0, "accuracy": 0.5, "bits_per_dim": 1.4}, file)
with open(place + "/result.partial", "w") as file:
    json.dump({"status": "ok", "error": None, "steps": 10, "loss_nats": 1.5}, file)
os.replace(place + "/result.partial", place + "/result.json")
"""

counting: Counter[str] | None = None


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if counting is not None and event == "open" and isinstance(arguments[0], str):
        counting[Path(arguments[0]).name] += 1


sys.addaudithook(_hear)  # for good, as audit hooks are; it hears only while something counts


@contextmanager
def opened() -> Iterator[Counter[str]]:
    """How often this process opens files of each name."""
    global counting
    counting = Counter()
    try:
        yield counting
    finally:
        counting = None


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often Hydra composes, and OmegaConf makes a whole config: each some 10 to 100 ms."""
    counts: Counter[str] = Counter()

    def count(name: str, original: Callable[..., Any], *args: Any, **more: Any) -> Any:
        counts[name] += 1
        return original(*args, **more)

    for owner, name in ((compose, "hydra_compose"), (config, "typed"), (compose_many, "typed")):
        monkeypatch.setattr(owner, name, partial(count, name, getattr(owner, name)))
    return counts


@pytest.fixture
def many(study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Study:
    script = tmp_path / "trivial_cell.py"
    script.write_text(TRIVIAL_CELL)
    monkeypatch.setattr(
        Cell, "command", lambda cell: [sys.executable, "-I", "-S", str(script), str(cell.directory)]
    )
    axes = {
        "model.attention": ["lsh", "shared_full"],
        "model.lsh.n_hashes": [1, 2, 4, 8, 16],
        "optim.lr": [0.001, 0.002, 0.003, 0.004],
    }
    return study_of(
        axes=axes,
        seeds=[0, 1],
        evaluations={"LSH-8": ["model.attention=lsh", "model.lsh.n_hashes=8"]},
    )


def test_a_driver_does_little_for_each_of_many_cells(
    many: Study, counted: Counter[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """It composes once what they have in common, and opens each file of a cell once or twice.

    It does not open a file once for each of the other cells.
    """
    assert len(many.cells) == N_CELLS
    with opened() as files:
        assert main(["run", "./mine.yaml", "--parallel", "20"]) == 0
    assert f"{N_CELLS} of {N_CELLS} cells ok" in capfd.readouterr().out
    assert counted["hydra_compose"] <= 1 and counted["typed"] <= 1
    assert (
        files["result.json"] == N_CELLS
        and files["log.txt"] <= 3 * N_CELLS
        and not files["config.yaml"]
    ), files

    for cell, composed in zip(many.cells, compose_cells(many), strict=True):
        (cell.directory / "config.yaml").write_text(json.dumps(to_dict(composed)))
    with opened() as files:
        assert main(["run", "./mine.yaml"]) == 0
    assert f"{N_CELLS} already done, 0 to run" in capfd.readouterr().out
    assert (
        files["config.yaml"] == files["LSH-8.json"] == N_CELLS
        and files["result.json"] <= 2 * N_CELLS
    ), files
    with opened() as files:
        assert main(["status", "./mine.yaml"]) == 0
    assert f"{N_CELLS} ok" in capfd.readouterr().out
    assert (
        files["result.json"] <= 2 * N_CELLS
        and files["config.yaml"] <= 2 * N_CELLS  # whether it has changed, and whose rows lack
        and files["metrics.jsonl"] <= N_CELLS
        and not files["log.txt"]
    ), files
    with opened() as files:
        assert len(load_results(many)) == 2 * N_CELLS  # as trained, and LSH-8
    assert files["result.json"] == files["LSH-8.json"] == N_CELLS, files
    assert files["config.yaml"] == 2 * N_CELLS, "whether it has changed, and its values"
    assert counted["hydra_compose"] <= 1 and counted["typed"] <= 1, "of all these commands together"


HEAVY = ("torch", "lightning", "numpy", "pandas", "matplotlib", "submitit")


@pytest.mark.parametrize(
    "arguments",
    [["run", "smoke", "--dry-run"], ["status", "smoke"], ["run", "smoke", "--gpus", "x"]],
)
def test_a_driver_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    script = f"import sys; from ablations.__main__ import main; main({[*arguments, '--runs-dir', str(tmp_path)]}); "
    script += f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("heavy: []\n"), done.stdout + done.stderr


def test_torch_is_imported_without_the_garbage_collector() -> None:
    """Which then passes over what the import made, also when the process exits."""
    script = "import gc\nfrom experiments.fast_imports import without_collector\nwith without_collector():\n    import torch\n"
    script += "    print(gc.isenabled())\nprint(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_a_process_that_has_torch_keeps_its_collector_as_it_is() -> None:
    import torch

    frozen = gc.get_freeze_count()
    with without_collector():
        assert torch and gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == frozen
