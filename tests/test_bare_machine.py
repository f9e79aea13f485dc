"""A machine that has little: no HOME, no name of the user, LANG=C, a home that is read-only, no git.

With a study whose file, data and place are named as people name them.
"""

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
STUDY = {
    "base": [
        "experiment=smoke",
        "task.name=enwik8",
        "task.length=32",
        "task.eval_sequences=2",
        "trainer.accelerator=cpu",
        "trainer.max_steps=2",
        "trainer.eval_every_steps=2",
        "trainer.log_every_steps=1",
    ],
    "axes": {"task.source": ["données, é.txt"]},
}
SCRIPT = """
import os, pwd, sys

def unknown(user):
    raise KeyError(user)

pwd.getpwuid = pwd.getpwnam = unknown
from experiments import train
from ablations.study import load_study
(cell,) = load_study("./étude.yaml").cells
code = train.main(list(cell.overrides))
result = (cell.directory / "result.json").read_text()
assert '"git_commit": null' in result, result
os.environ["HOME"] = "/proc/1/home"  # read-only for root, too
from ablations.__main__ import main
code = code or main(["report", "./étude.yaml"]) or main(["status", "./étude.yaml"])
sys.exit(code)
"""


def test_a_study_runs_on_a_bare_machine(tmp_path: Path) -> None:
    """Without HOME while it trains, with one that is read-only while it is reported."""
    place = tmp_path / "é"
    place.mkdir()
    (place / "étude.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    (place / "données, é.txt").write_bytes(bytes(range(32, 127)) * 20)
    environment = {"PATH": "/nowhere", "LANG": "C", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=place,
        env=environment,
        capture_output=True,
        check=False,
    )
    printed = (done.stdout + done.stderr).decode()
    assert done.returncode == 0 and "Traceback" not in printed, printed
    assert "report: runs" in printed
