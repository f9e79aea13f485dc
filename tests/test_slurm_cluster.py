"""Studies on a real SLURM of two nodes (make test-slurm): one process, two, two nodes, failures, scancel, requeues, a second `run`.

One cluster run serves all tests: while its cells train, they are sent what a cluster sends. Then `--retry` runs what had failed.
"""

import functools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from ablations.launch.slurm.queue import read_jobs
from ablations.study import Study, load_study
from ablations.study.cell import Cell
from experiments import train
from processes import result, rows, timeless

pytestmark = pytest.mark.slurm

DDP = ["trainer=ddp", "trainer.devices=2"]
LONG = [
    "trainer.max_steps=300"
]  # some seconds, in which a signal can be sent; no evaluation before the end leaves a checkpoint
STEPS = ["trainer.max_steps=12", "trainer.eval_every_steps=1000", "trainer.log_every_steps=2"]
BASE = [
    "experiment=smoke",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=64-true",
    *STEPS,
]
CELLS = {
    "limit": LONG,  # is sent SIGUSR1, as before the time limit
    "ended": [*LONG, "optim.lr=2e-3"],  # is cancelled; of equal configs there would be one run
    "diverges": ["optim.lr=1e300"],
    "nowhere": ["task.name=enwik8", "task.source=/nowhere"],
    "fifth": ["trainer.max_steps=1"],
    "pair": DDP,
}
APART = {
    "moved": LONG,
    "broken": [*LONG, "optim.lr=2e-3"],
}  # on two nodes: requeued from outside, as by a preemption; a rank of it is killed
YIELDING = {"yields": LONG}  # to a job of a partition that preempts, after a grace time
CLUSTER = {
    "setup": ["export MASTER_ADDR=127.0.0.1"],
    "time": 30,
    "cpus": 1,
    "sbatch": {"comment": "a test"},
}  # its nodes have no address


class Run(NamedTuple):
    study: Study
    apart: Study
    yielding: Study
    said: dict[str, str]
    codes: dict[str, int]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (*self.study.cells, *self.apart.cells, *self.yielding.cells)

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def directory(self, name: str) -> Path:
        return self.cell(name).directory

    def job(self, name: str) -> str:
        return json.loads((self.directory(name) / "slurm.json").read_text())["job"]

    def log(self, name: str) -> str:
        return (self.directory(name) / "log.txt").read_text()


def scancel(*arguments: str) -> None:
    subprocess.run(["scancel", *arguments], check=True)


def partition(state: str) -> None:
    subprocess.run(["scontrol", "update", "PartitionName=main", f"State={state}"], check=True)


def rank_of(job: str, rank: int) -> int:
    """The process of one rank of an array's job."""
    array, task = job.split("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}", f"SLURM_PROCID={rank}"}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (
                (place / name).read_bytes().decode().split("\0") for name in ("cmdline", "environ")
            )
        except OSError:  # it ended meanwhile
            continue
        if wanted <= set(environment) and "experiments.train" in command:
            return int(place.name)
    raise AssertionError(f"rank {rank} of job {job} does not run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Everything that happens on the cluster, and what was said of it."""
    if "SLURM_CONF" not in os.environ:
        pytest.fail("there is no SLURM: run make test-slurm")
    place = tmp_path_factory.mktemp("shared")
    before = Path.cwd()
    os.chdir(place)
    Path("cluster.yaml").write_text(yaml.safe_dump(CLUSTER))
    Path("two_nodes.yaml").write_text(yaml.safe_dump(CLUSTER | {"nodes": 2}))
    Path("yielding_nodes.yaml").write_text(yaml.safe_dump(CLUSTER | {"partition": "yielding"}))
    Path("yielding.yaml").write_text(yaml.safe_dump({"base": BASE, "axes": {"train": YIELDING}}))
    Path("mine.yaml").write_text(
        yaml.safe_dump({"base": BASE, "axes": {"train": CELLS}}, sort_keys=False)
    )
    Path("apart.yaml").write_text(
        yaml.safe_dump({"base": [*BASE, *DDP], "axes": {"train": APART}}, sort_keys=False)
    )
    done = Run(
        load_study("./mine.yaml"), load_study("./apart.yaml"), load_study("./yielding.yaml"), {}, {}
    )

    def ablations(what: str, *arguments: str) -> None:
        """In a process of its own, as a user does."""
        command = [*done.study.cells[0].command()[:2], "ablations", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=400)
        done.said[what], done.codes[what] = ended.stdout + ended.stderr, ended.returncode

    slurm = ("--launcher", "slurm", "--slurm", "cluster.yaml")
    partition(
        "DOWN"
    )  # takes jobs and starts none: what is said of those that wait does not hang on who is faster
    ablations("first", "run", "./mine.yaml", *slurm)
    ablations("apart", "run", "./apart.yaml", "--launcher", "slurm", "--slurm", "two_nodes.yaml")
    if set(done.codes.values()) == {0}:
        ablations("waiting", "status", "./mine.yaml")
        ablations("second", "run", "./mine.yaml", *slurm)
        ablations("beside", "run", "./mine.yaml")
        ablations("over", "run", "./mine.yaml", *slurm, "--force")
        partition("UP")
        limit = done.cell("limit")
        end = time.monotonic() + 60
        while time.monotonic() < end and read_jobs([limit])[limit].state == "queued":
            time.sleep(0.1)
        ablations("during", "status", "./mine.yaml")
        ablations("third", "run", "./mine.yaml", *slurm)
        told: dict[str, Callable[[], object]] = {
            "limit": lambda: scancel("--signal=USR1", done.job("limit")),
            "moved": lambda: subprocess.run(["scontrol", "requeue", done.job("moved")], check=True),
            "ended": lambda: scancel(done.job("ended")),
            "broken": lambda: os.kill(rank_of(done.job("broken"), 1), signal.SIGKILL),
        }
        end = time.monotonic() + 300
        while told and time.monotonic() < end:
            for name in [name for name in told if rows(done.directory(name), "train")]:
                told.pop(name)()
            time.sleep(0.1)
        ablations("wait", "run", "./mine.yaml", *slurm, "--wait")
        ablations("status", "status", "./mine.yaml", "./apart.yaml")
        ablations("report", "report", "./mine.yaml")
        ablations("retry", "run", "./mine.yaml", *slurm, "--retry", "--wait")
        ablations("wait for apart", "run", "./apart.yaml", "--launcher", "slurm", "--wait")
        gives_way = (
            "run",
            "./yielding.yaml",
            "--launcher",
            "slurm",
            "--slurm",
            "yielding_nodes.yaml",
        )
        ablations("yielding", *gives_way)
        end = time.monotonic() + 300
        while not rows(done.directory("yields"), "train") and time.monotonic() < end:
            time.sleep(0.1)
        urgent = [
            "sbatch",
            "--partition=urgent",
            "--nodes=2",
            "--exclusive",
            "--output=/dev/null",
            "--wrap=true",
        ]
        subprocess.run(urgent, check=True, capture_output=True)
        ablations("wait for yielding", *gives_way, "--wait")
    yield done
    os.chdir(before)


@pytest.fixture(scope="module")
def alone(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same cell in one process of this machine, undisturbed."""

    @functools.cache
    def undisturbed(*words: str) -> Path:
        directory = tmp_path_factory.mktemp("alone")
        assert train.main([*BASE, *words, f"out_dir={directory}"]) == 0
        return directory

    def same_cell(name: str) -> Path:
        words = run.cell(name).overrides
        steps = [word for word in words if word.startswith("trainer.max_steps=")][-1]
        return undisturbed(steps, *(word for word in words if word.startswith("optim.lr=")))

    return same_cell


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same(found: Path, wanted: Path) -> None:
    """Of one process: bit for bit."""
    assert timeless(result(found)) == timeless(result(wanted))
    assert [timeless(row) for row in rows(found)] == [timeless(row) for row in rows(wanted)]
    assert all(
        torch.equal(weights(wanted)[name], tensor) for name, tensor in weights(found).items()
    )


def assert_like(found: Path, wanted: Path) -> None:
    """Of two processes: to rounding."""
    assert result(found)["device"].startswith("2 x ")
    for name in ("status", "steps", "parameters"):
        assert result(found)[name] == result(wanted)[name]
    assert result(found)["loss_nats"] == pytest.approx(
        result(wanted)["loss_nats"], abs=1e-5
    )  # summed in float32
    assert [(row["step"], row["split"]) for row in rows(found)] == [
        (row["step"], row["split"]) for row in rows(wanted)
    ]
    for name, tensor in weights(wanted).items():
        torch.testing.assert_close(weights(found)[name], tensor, rtol=0, atol=1e-9)


def test_cells_of_equal_size_are_one_array_up_to_the_cluster_s_largest(run: Run) -> None:
    said = run.said["first"]
    assert (
        run.codes["first"] == 0
        and "mine: 6 cells, 0 already done, 0 with SLURM, 6 to submit" in said
    ), said
    assert len(re.findall(r"^  job \d+: 4 cells of 1 process each$", said, re.M)) == 1, said
    assert len(re.findall(r"^  job \d+: fifth seed=0, 1 process$", said, re.M)) == 1, (
        "MaxArraySize of this cluster is 4"
    )
    assert len(re.findall(r"^  job \d+: pair seed=0, 2 processes$", said, re.M)) == 1, said
    assert (
        len(
            re.findall(
                r"^  job \d+: 2 cells of 2 processes on 2 nodes each$", run.said["apart"], re.M
            )
        )
        == 1
    ), run.said["apart"]
    assert "how far they are: python -m ablations status ./mine.yaml" in said


def test_cells_that_wait_or_run_are_neither_submitted_nor_run_again(run: Run) -> None:
    assert run.codes["second"] == 0 and "6 with SLURM, 0 to submit" in run.said["second"], run.said[
        "second"
    ]
    # On a busy machine the cells that fail may have ended before it looks: exit code 1 says so.
    assert run.codes["third"] == ("not ok" in run.said["third"]), run.said["third"]
    assert ", 0 to submit" in run.said["third"], run.said["third"]
    assert run.codes["beside"] == 2, run.said["beside"]
    assert re.search(
        r"queued as SLURM job .* scancel \S+ before it runs here", run.said["beside"]
    ), run.said["beside"]
    assert run.codes["over"] == 2 and "before starting over" in run.said["over"], run.said["over"]
    assert run.said["beside"].count("\n") == 1 == run.said["over"].count("\n")
    assert run.log("pair").count(", start ") == 1 == run.log("fifth").count(", start ")


def test_status_shows_what_waits_and_runs(run: Run) -> None:
    waiting, during = run.said["waiting"], run.said["during"]
    assert "6 queued" in waiting and re.search(r"limit +│? +0 +│? +queued", waiting), waiting
    assert re.search(r"scancel( \d+){3} ends what SLURM has of it", waiting), waiting
    assert "PartitionDown" in waiting, waiting
    assert re.search(r"limit +│? +0 +│? +running", during), during
    assert "ends what SLURM has of it" in during, during


def test_two_processes_train_as_one(run: Run, alone: Callable[[str], Path]) -> None:
    assert_like(run.directory("pair"), alone("pair"))


def test_a_cell_before_its_time_limit_saves_is_requeued_and_resumes_bit_for_bit(
    run: Run, alone: Callable[[str], Path]
) -> None:
    log = run.log("limit")
    assert (
        "requeueing job" in log
        and ", start 2" in log
        and re.search(r"training from step [1-9]\d* of 300", log)
    ), log
    assert_same(run.directory("limit"), alone("limit"))


def test_a_cell_that_is_requeued_on_two_nodes_saves_on_both_and_resumes(
    run: Run, alone: Callable[[str], Path]
) -> None:
    log = run.log("moved")
    assert (
        "requeueing" not in log
        and ", start 2" in log
        and re.search(r"training from step [1-9]\d* of 300", log)
    ), log
    assert "interrupted: saving" in (run.directory("moved") / "log.rank=1.txt").read_text()
    assert_like(run.directory("moved"), alone("moved"))


def test_a_cell_that_is_preempted_saves_within_the_grace_time_and_resumes(
    run: Run, alone: Callable[[str], Path]
) -> None:
    log = run.log("yields")
    assert run.codes["wait for yielding"] == 0, run.said["wait for yielding"] + log
    assert (
        "requeueing job" in log
        and ", start 2" in log
        and re.search(r"training from step [1-9]\d* of 300", log)
    ), log
    assert_same(run.directory("yields"), alone("yields"))


def test_failures_are_rows(run: Run) -> None:
    assert run.codes["wait"] == 1 and run.said["wait"].rstrip().endswith(
        "python -m ablations report ./mine.yaml"
    ), run.said["wait"]
    said = run.said["status"]
    assert "3 ok, 3 failed" in said, said
    assert "diverges seed=0: failed: FloatingPointError" in said, said
    assert re.search(
        r"nowhere seed=0: failed: SLURM job \S+ ended without a result \(FAILED\): error: task.source=/nowhere is not a file",
        said,
    ), said
    assert re.search(
        r"ended seed=0: failed: SLURM job \S+ ended without a result \(CANCELLED\): stopped", said
    ), said
    assert re.search(r"broken seed=0: failed: ", said), said


def test_the_report_is_made_of_the_shared_files(run: Run) -> None:
    assert run.codes["report"] == 0, run.said["report"]
    table = (run.study.directory / "report" / "results.csv").read_text()
    assert all(name in table for name in CELLS) and table.count("failed") == 3, table


def test_retry_resumes_a_cancelled_cell(run: Run, alone: Callable[[str], Path]) -> None:
    assert "mine: 6 cells, 3 already done, 0 with SLURM, 3 to submit" in run.said["retry"], (
        run.said["retry"]
    )
    assert re.search(r"training from step [1-9]\d* of 300", run.log("ended")), run.log("ended")
    assert_same(run.directory("ended"), alone("ended"))


def test_nothing_is_left_in_the_queue(run: Run) -> None:
    assert not any(job.is_live for job in read_jobs(run.cells).values())
