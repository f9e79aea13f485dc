"""One cell as SLURM starts and stops it, without a SLURM: it becomes its command, saves at a signal, and is requeued if it came further."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ablations.launch.slurm import become as slurm_cell
from experiments import cluster, rank, train
from processes import Fault, exit_code, result, start, timeless
from reformer_pl.config import ConfigError

STEPS = ["trainer.max_steps=14", "trainer.eval_every_steps=4", "trainer.log_every_steps=2"]
RUN = ["experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1", *STEPS]
BATCH_END = ("experiments.training.callbacks", "MetricsFile.on_train_batch_end")
TASK = {  # what srun says to the first process of the fourth job of an array
    "SLURM_JOB_ID": "45", "SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_NAME": "mine.0", "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_ID": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    return directory


@pytest.fixture
def task(tmp_path: Path) -> dict[str, str]:
    """The environment of a task, with an scontrol that writes down what it is asked."""
    path = tmp_path / "bin" / "scontrol"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\ntest "$1" = show && exec cat {tmp_path / "job"}\necho "$@" >> {tmp_path / "asked"}\n'
    )
    (tmp_path / "job").write_text("   JobState=CANCELLED Reason=None\n   PreemptTime=None\n")
    path.chmod(0o755)
    return TASK | {"PATH": f"{path.parent}:{os.environ['PATH']}"}


# when it is signalled -> the signal, the place, whether something new was saved
SIGNALS = {
    "SIGUSR1 in a step": (signal.SIGUSR1, (*BATCH_END, 6), True),
    "SIGUSR1 before the first step": (
        signal.SIGUSR1,
        ("experiments.training.fit", "build_task", 1),
        False,
    ),
    "SIGUSR1 in the evaluations at the end": (
        signal.SIGUSR1,
        ("experiments.training.fit", "score", 1),
        True,
    ),
    "SIGTERM in a step": (signal.SIGTERM, (*BATCH_END, 6), True),
}


@pytest.mark.parametrize("when", SIGNALS)
def test_a_cell_saves_and_is_requeued_once_where_it_came_further(
    when: str, whole: Path, tmp_path: Path, task: dict[str, str]
) -> None:
    number, place, advanced = SIGNALS[when]
    directory = tmp_path / "run"
    directory.mkdir()
    arguments, log = [*RUN, f"out_dir={directory}"], directory / "log.txt"
    again = (
        () if "evaluations" in when else (Fault(signal.SIGTERM, *BATCH_END, 6),)
    )  # the second one, while it saves
    assert (
        exit_code(
            start("experiments.train", arguments, log, (*again, Fault(number, *place)), **task)
        )
        == 130
    ), log.read_text()
    said = log.read_text()
    assert "Traceback" not in said and not (directory / "result.json").exists()
    requeued = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    assert requeued == ("requeue 42_3\n" if number == signal.SIGUSR1 and advanced else "")
    assert (
        "job 42_3 is not requeued: its time ended before it had saved anything new" in said
    ) == (not advanced)
    assert train.main(arguments) == 0
    assert timeless(result(directory)) == timeless(result(whole))
    one, two = (
        torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for place in (directory, whole)
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


# what scontrol says of a job that was told to end, and whether the cell requeues it
TOLD = {
    "a preemption with a grace time": (
        "JobState=RUNNING Reason=None\n PreemptTime=2026-11-22T08:14:03",
        True,
    ),
    "a preemption without": (
        "JobState=PREEMPTED Reason=None\n PreemptTime=2026-11-22T08:14:03",
        False,
    ),
    "a requeue from outside": ("JobState=PENDING Reason=BeginTime\n PreemptTime=None", False),
    "scancel of a job that was preempted before": (
        "JobState=CANCELLED Reason=None\n PreemptTime=2026-11-22T08:14:03",
        False,
    ),
    "a preemption that sends the signal of the time limit": (
        "JobState=RUNNING Reason=None\n PreemptTime=2026-11-22T08:14:03",
        True,
    ),
    "a signal": ("JobState=RUNNING Reason=None\n PreemptTime=None", False),
}


@pytest.mark.parametrize("what", TOLD)
@pytest.mark.parametrize("place", [(*BATCH_END, 6), ("experiments.training.fit", "build_task", 1)])
def test_a_preempted_cell_requeues_itself(
    what: str, place: tuple[str, str, int], tmp_path: Path, task: dict[str, str]
) -> None:
    """Where SLURM gives it time to save, SLURM forgets a job that used it. However far it came: the preemption was not its fault."""
    said, requeued = TOLD[what]
    number = signal.SIGUSR1 if "time limit" in what else signal.SIGTERM
    (tmp_path / "job").write_text(said)
    log = tmp_path / "log.txt"
    assert (
        exit_code(
            start(
                "experiments.train",
                [*RUN, f"out_dir={tmp_path}"],
                log,
                (Fault(number, *place),),
                **task,
            )
        )
        == 130
    )
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == (
        "requeue 42_3\n" if requeued else ""
    ), log.read_text()


def test_sigterm_saves_outside_of_a_cluster_too(whole: Path, tmp_path: Path) -> None:
    arguments = [*RUN, f"out_dir={tmp_path}"]
    code = exit_code(
        start(
            "experiments.train",
            arguments,
            tmp_path / "log.txt",
            (Fault(signal.SIGTERM, *BATCH_END, 7),),
        )
    )
    assert code == 130, (tmp_path / "log.txt").read_text()
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 7
    assert train.main(arguments) == 0 and timeless(result(tmp_path)) == timeless(result(whole))


def test_sigterm_stops_a_run_in_whose_shell_sigint_is_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), cluster.stopped_by_the_cluster(tmp_path):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)


CELL = "import os, signal; print(os.environ.get('OMP_NUM_THREADS'), *(int(signal.getsignal(n)) for n in (signal.SIGUSR1, signal.SIGTERM)))"
BECOME = f"""
import sys
from ablations.launch.slurm.become import become
become([sys.executable, "-c", {CELL!r}], sys.argv[1] + "/log.txt")
"""


@pytest.mark.parametrize(
    ("node", "rank", "name"),
    [("0", "0", "log.txt"), ("0", "1", "log.txt"), ("1", "2", "log.rank=2.txt")],
)
def test_a_task_becomes_the_command_and_writes_to_the_cell_s_log(
    node: str, rank: str, name: str, tmp_path: Path
) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"
    } | TASK
    environment |= {
        "SLURM_NODEID": node,
        "SLURM_PROCID": rank,
        "SLURM_CPUS_PER_TASK": "5",
        "SLURM_RESTART_COUNT": "2",
    }
    root = Path(slurm_cell.__file__).parent.parent
    command = [sys.executable, "-c", BECOME, str(tmp_path / "cell")]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    first, *lines = (tmp_path / "cell" / name).read_text().splitlines()
    assert done.stdout == "" and [first, *lines][-1] == "5 1 1"
    assert (rank == "0") == (
        first.startswith("SLURM job 42_3 on ") and first.endswith(", start 3")
    ) and len(lines) == (rank == "0")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("SLURM_GPUS", True),
        ("SLURM_GPUS_PER_NODE", True),
        ("SLURM_GPUS_PER_TASK", True),
        ("SLURM_GPUS_ON_NODE", False),  # what the node gives, asked for or not
    ],
)
def test_a_job_with_gpus_does_not_train_on_the_cpu(
    name: str, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda path, words, names: environments.append(names))
    monkeypatch.setattr(os, "dup2", lambda *streams: None)
    monkeypatch.setattr(slurm_cell.signal, "signal", lambda *handler: None)
    for key, value in (TASK | {name: "1"}).items():
        monkeypatch.setenv(key, value)
    slurm_cell.become(["python"], str(tmp_path / "log.txt"))
    assert ("REFORMER_PL_GPU" in environments[0]) == asked


def test_ranks_and_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", *TASK):
        monkeypatch.delenv(name, raising=False)
    assert rank.first_rank() and rank.n_nodes() == 1
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not rank.first_rank()
    monkeypatch.delenv("LOCAL_RANK")
    for name, value in (TASK | {"SLURM_NNODES": "2", "SLURM_PROCID": "3"}).items():
        monkeypatch.setenv(name, value)
    assert not rank.first_rank() and rank.n_nodes() == 2
    monkeypatch.setenv(
        "SLURM_JOB_NAME", "interactive"
    )  # there Lightning starts the processes itself
    assert rank.n_nodes() == 1


def test_processes_that_the_nodes_of_a_job_do_not_divide_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from experiments.training.trainer import build_trainer
    from tiny import tiny

    for name, value in (TASK | {"SLURM_NNODES": "2"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="devices 3 cannot be divided among the 2 nodes"):
        build_trainer(tiny("trainer.devices=3", "trainer.strategy=ddp", "task.batch_size=3"))
