"""Cells of milliseconds in the place of `experiments.train`, for the faults that a driver must survive."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ablations.study.cell import Cell

ROOT = Path(__file__).resolve().parent.parent

# What experiments.train leaves, without the training. Its first argument is the cell's name, its second the directory.
FAKE_CELL = """
import json, os, pathlib, signal, subprocess, sys, time
name, place = sys.argv[1], pathlib.Path(sys.argv[2])
print("threads", os.environ.get("OMP_NUM_THREADS"))
print("gpus", gpus := os.environ.get("CUDA_VISIBLE_DEVICES"))
print("port", port := os.environ.get("MASTER_PORT"))
print("begun" + (" again" if (place / "saved").exists() else ""))
with open(place / "metrics.jsonl", "w") as f:
    for step in (10, 20):
        print(json.dumps({"step": step, "split": "train", "loss_nats": 1.5, "seconds": step / 10}), file=f)
    f.write('{"step": 30, "spl')  # being written
def interrupted(*_):
    (place / "saved").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, interrupted)
go = place.parent.parent / "go"
if name == "fails" and not go.exists():
    sys.exit("RuntimeError: shapes do not fit")
if name == "aborts" and not go.exists():
    sys.exit("terminate called after throwing an instance of 'c10::AcceleratorError': out of memory")
if name == "killed" and not go.exists():
    os.kill(os.getpid(), signal.SIGKILL)
if name.startswith(("hangs", "stubborn")) and not go.exists():
    if name.startswith("stubborn"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(600)"])
    (place / "pids.partial").write_text(f"{os.getpid()} {child.pid}")
    os.replace(place / "pids.partial", place / "pids")
    time.sleep(600)
def end(status, error, loss_nats):
    print(error or "ok")
    (place / "result.partial").write_text(json.dumps({"status": status, "error": error, "steps": 20, "loss_nats": loss_nats}))
    os.replace(place / "result.partial", place / "result.json")
    sys.exit(status != "ok")
if name == "oom" and not go.exists():
    end("oom", "OutOfMemoryError: CUDA out of memory", None)
if name.startswith("clashes") and (name == "clashes-always" or not (place / "clashed").exists()):
    (place / "clashed").touch()
    end("failed", f"DistNetworkError: failed to listen on any local network address. port: {port}, code: -98, name: EADDRINUSE", None)
if name == "disk-full" and not go.exists():
    with open("/dev/full", "w") as f:
        f.write("a checkpoint")
if name.startswith("packed"):
    with open(go.with_name("events"), "a", buffering=1) as f:
        print("start", gpus, file=f)
        time.sleep(0.2)
        print("end", gpus, file=f)
end("ok", None, 1.5)
"""

DRIVER = """
import sys
sys.path.insert(0, {root!r})
from ablations.study.cell import Cell
Cell.command = lambda cell: [sys.executable, {script!r}, cell.name, str(cell.directory)]
from ablations.launch.local import sweep
from ablations.__main__ import main
sweep.POLL_SECONDS = 0.02
sys.exit(main(sys.argv[1:]))
"""


def result(cell: Cell) -> dict:
    return json.loads((cell.directory / "result.json").read_text())


def pids(cell: Cell) -> list[int]:
    """The cell's own process and its child, once both are there."""
    path = cell.directory / "pids"
    until(path.exists)
    return [int(pid) for pid in path.read_text().split()]


def alive(pid: int) -> bool:
    """A zombie that nobody reaps (an orphan in a container without init) is dead."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def driver(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "driver.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begun(cell: Cell) -> int:
    return (cell.directory / "log.txt").read_text().count("begun")
