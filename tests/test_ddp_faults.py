"""Two-process cells under real faults in one rank, and of their driver: no process is left, and the numbers are the undisturbed ones."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.study import Study, load_study
from experiments import train
from fake_cells import ROOT, alive
from processes import exit_code, result, rows, timeless, wait_until
from warm import start_command

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"
)

STEPS = [
    "trainer.max_steps=8",
    "trainer.eval_every_steps=3",
    "trainer.log_every_steps=2",
]  # checkpoints after steps 3, 6 and 8
BASE = [
    "experiment=smoke",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=64-true",
    *STEPS,
]
DDP = ["trainer=ddp", "trainer.devices=2"]

# experiments.train, with the fault that faults.json has for this cell and rank at the nth step of the process. Lightning starts the
# second rank with the same command.
CELL = """
import json, os, pathlib, signal, sys, time
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
from experiments import train
from processes import Fault, inject
import experiments.training.callbacks as callbacks
place = pathlib.Path(next(word.split("=", 1)[1].strip('"') for word in sys.argv if word.startswith("out_dir=")))
rank = int(os.environ.get("LOCAL_RANK", "0"))
with open(place / "pids", "a") as file:
    print(os.getpid(), file=file)
kind, nth = json.loads(pathlib.Path({faults!r}).read_text()).get(f"{{place.parent.name}} {{rank}}", ("none", 0))
at = ("experiments.training.callbacks", "MetricsFile.on_train_batch_end", nth)
if kind == "killed":
    inject(Fault(signal.SIGKILL, *at))
elif kind == "oom":
    inject(Fault(MemoryError("out of memory"), *at))
elif kind == "hangs":
    original, calls = callbacks.MetricsFile.on_train_batch_end, []
    def hang(*args):
        calls.append(1)
        if len(calls) == nth:
            (place / "hanging").touch()
            time.sleep(600)
        original(*args)
    callbacks.MetricsFile.on_train_batch_end = hang
sys.exit(train.main(sys.argv[1:]))
"""

# The local launcher, whose patience ends when the test says so, and whose first port may be one that is taken.
DRIVER = """
import os, pathlib, sys
sys.path.insert(0, {root!r})
from ablations.launch.local import sweep
from ablations.study.cell import Cell
Cell.command = lambda cell: [sys.executable, {script!r}, *cell.overrides]
sweep.GRACE_SECONDS = 2
press, free_port = sweep.Sweep._press, sweep.free_port
def impatient(self, process):
    if pathlib.Path("impatient").exists():
        self.options.timeout_seconds = 0.01
    press(self, process)
sweep.Sweep._press = impatient
if "TAKEN" in os.environ:
    ports = iter([int(os.environ["TAKEN"])])
    sweep.free_port = lambda taken: next(ports, None) or free_port(taken)
from ablations.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
RUN = ["driver.py", "run", "./pair.yaml", "--parallel", "2"]


@pytest.fixture
def pair_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """A study of two-process cells, attention by cell name."""
    script = tmp_path / "cell.py"
    script.write_text(CELL.format(root=str(ROOT), faults=str(tmp_path / "faults.json")))
    (tmp_path / "driver.py").write_text(DRIVER.format(root=str(ROOT), script=str(script)))
    monkeypatch.chdir(tmp_path)

    def study(**attention: str) -> Study:
        axes = {"train": {name: [f"model.attention={word}"] for name, word in attention.items()}}
        (tmp_path / "pair.yaml").write_text(json.dumps({"base": [*BASE, *DDP], "axes": axes}))
        return load_study("./pair.yaml")

    return study


def faults(**kinds: tuple[int, str, int]) -> None:
    """cell=(rank, kind, nth step)"""
    Path("faults.json").write_text(
        json.dumps({f"{cell} {rank}": (kind, nth) for cell, (rank, kind, nth) in kinds.items()})
    )


def none_is_left(study: Study) -> bool:
    paths = [cell.directory / "pids" for cell in study.cells]
    return not any(
        alive(int(pid)) for path in paths if path.exists() for pid in path.read_text().split()
    )


def statuses(study: Study) -> list[str]:
    return [result(cell.directory)["status"] for cell in study.cells]


def test_cells_survive_what_happens_to_one_of_their_ranks(
    pair_of: Callable[..., Study], tmp_path: Path
) -> None:
    """Two cells, four sweeps: the driver is killed; one rank of each is; one is out of memory, one hangs; then all is well."""
    study, log = pair_of(a="lsh", b="full"), tmp_path / "driver.txt"
    a, b = study.cells

    faults(a=(1, "hangs", 2), b=(1, "hangs", 2))
    driver = start_command(RUN, tmp_path, log)
    try:
        wait_until(lambda: all((cell.directory / "hanging").exists() for cell in study.cells))
    finally:
        driver.kill()
        driver.join()
    wait_until(lambda: none_is_left(study), 20)
    for cell in study.cells:
        (cell.directory / "hanging").unlink()
        assert not (cell.directory / "result.json").exists()

    faults(a=(0, "killed", 4), b=(1, "killed", 2))
    assert exit_code(start_command([*RUN, "--retry"], tmp_path, log)) == 1
    assert none_is_left(study) and statuses(study) == ["failed", "failed"]
    assert result(a.directory)["error"].startswith("killed by SIGKILL")

    faults(a=(1, "oom", 1), b=(1, "hangs", 1))
    driver = start_command([*RUN, "--retry"], tmp_path, log)
    try:  # until the one cell hangs and the other has ended
        wait_until(
            lambda: (b.directory / "hanging").exists() and (a.directory / "result.json").exists()
        )
    finally:
        (tmp_path / "impatient").touch()
    assert exit_code(driver) == 1
    (tmp_path / "impatient").unlink()
    assert none_is_left(study) and statuses(study) == ["oom", "timeout"]

    faults()
    assert exit_code(start_command([*RUN, "--retry"], tmp_path, log)) == 0
    assert none_is_left(study) and statuses(study) == ["ok", "ok"]
    for cell, attention in ((a, "lsh"), (b, "full")):
        alone = tmp_path / f"alone-{attention}"
        overrides = [
            word
            for word in cell.overrides
            if not word.startswith(("out_dir=", "trainer=", "trainer.devices="))
        ]
        assert train.main([*overrides, f"out_dir={alone}"]) == 0
        assert [(row["step"], row["split"]) for row in rows(cell.directory)] == [
            (row["step"], row["split"]) for row in rows(alone)
        ]
        for found, wanted in zip(rows(cell.directory), rows(alone), strict=True):
            assert timeless(found) == pytest.approx(timeless(wanted), abs=1e-5)
        assert result(cell.directory)["loss_nats"] == pytest.approx(
            result(alone)["loss_nats"], abs=1e-5
        )


def test_a_real_cell_gets_another_port_when_its_own_is_taken(
    pair_of: Callable[..., Study], tmp_path: Path
) -> None:
    faults()
    study, log = pair_of(a="lsh"), tmp_path / "driver.txt"
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert exit_code(start_command(RUN, tmp_path, log, TAKEN=str(taken))) == 0
    assert f"port {taken} was taken meanwhile" in log.read_text()
    assert "EADDRINUSE" in (study.cells[0].directory / "log.txt").read_text()
    assert none_is_left(study) and statuses(study) == ["ok"]
