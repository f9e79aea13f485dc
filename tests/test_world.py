"""The processes that the environment has started are those of the config, or one line says how."""

import os
from pathlib import Path

import pytest

from ablations.launch.slurm.environment import outside_of_a_job
from experiments import benchmark, evaluate, train
from experiments.rank import check_world, first_rank, read_world
from experiments.training.trainer import build_trainer
from reformer_pl.config import ConfigError
from tiny import tiny

NAMES = ("SLURM_", "OMPI_", "PMI_", "MV2_", "JSM_", "RANK", "LOCAL_", "GROUP_", "WORLD_", "NODE_")
SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "train.sh",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_NNODES": "1",
}
ONE = {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}
TWO_NODES = {"SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
TORCHRUN = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "GROUP_RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
}
ALLOCATION = {name: SRUN[name] for name in ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_NTASKS")}
MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}


@pytest.fixture(autouse=True)
def nobody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(NAMES)]:
        monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


# What the environment has, trainer.devices, and what the one line says to do.
DISAGREE = {
    "srun -n 2, one device": (SRUN, 1, "trainer=ddp trainer.devices=2, or srun.*per-node=1"),
    "srun -n 2 of salloc": (SRUN | {"SLURM_JOB_NAME": "interactive"}, 1, "trainer.devices=2, or"),
    "srun -n 2 bash": (SRUN | {"SLURM_JOB_NAME": "bash"}, 1, "srun has started 2 processes"),
    "the second of them": (SRUN | {"SLURM_PROCID": "1"}, 1, "trainer.devices=2, or srun"),
    "srun -n 1, two devices": (SRUN | ONE, 2, "trainer.devices=1, or srun.*ntasks-per-node=2"),
    "srun -n 2 on two nodes": (SRUN | TWO_NODES, 4, "--nodes=2 --ntasks-per-node=2"),
    "srun, uneven": (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "2,1"}, 2, "unevenly"),
    "srun --mpi=pmi2": (SRUN | {"PMI_SIZE": "2", "PMI_RANK": "0"}, 1, "srun has started 2"),
    "torchrun of two": (TORCHRUN, 1, "trainer=ddp trainer.devices=2, or torchrun --nnodes=1"),
    "torchrun of one": (TORCHRUN | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, 2, "node=2"),
    "torchrun in srun": (SRUN | ONE | TORCHRUN, 1, "torchrun has started 2"),
    "mpirun -n 2": (MPI, 1, "start one, which starts the others"),
    "mpirun -n 2, two devices": (MPI, 2, "use srun or torchrun"),
    "mpiexec of MPICH": ({"PMI_SIZE": "3", "PMI_RANK": "0"}, 1, "3 processes are started here"),
    "jsrun": ({"JSM_NAMESPACE_SIZE": "2"}, 1, "by jsrun"),
    "RANK and WORLD_SIZE": ({"RANK": "1", "WORLD_SIZE": "2"}, 1, "other than torchrun"),
    "LOCAL_RANK left behind": ({"LOCAL_RANK": "1"}, 1, "unset LOCAL_RANK"),
    "WORLD_SIZE and LOCAL_RANK": ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 1, "unset WORLD_SIZE"),
    "no number": (SRUN | {"SLURM_STEP_NUM_TASKS": "two"}, 1, "SLURM_STEP_NUM_TASKS=two"),
}


@pytest.mark.parametrize("what", DISAGREE)
def test_another_number_of_processes_is_refused(
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment, devices, fix = DISAGREE[what]
    set_all(monkeypatch, environment)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=fix):
        check_world(devices)
    words = ["trainer.strategy=ddp", f"trainer.devices={devices}"] if devices > 1 else []
    assert train.main(["experiment=smoke", "task.batch_size=12", *words]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and printed.err.startswith("error: ") and not printed.out
    assert not list(tmp_path.iterdir())


AGREE = {
    "nobody": ({}, 1, 1),
    "nobody, two devices": ({}, 2, 1),
    "srun -n 2": (SRUN, 2, 1),
    "srun -n 1": (SRUN | ONE, 1, 1),
    "srun -n 2 of salloc": (SRUN | {"SLURM_JOB_NAME": "interactive"}, 2, 1),
    "srun on two nodes": (SRUN | TWO_NODES, 2, 2),
    "salloc, in the shell": (ALLOCATION, 1, 1),
    "salloc, two devices": (ALLOCATION, 2, 1),
    "the step of salloc's shell": (SRUN | {"SLURM_STEP_ID": "4294967290"}, 1, 1),
    "a batch script": (ALLOCATION | {"SLURM_PROCID": "0", "SLURM_NODEID": "0"}, 1, 1),
    "srun --pty bash": (SRUN | ONE | {"SLURM_JOB_NAME": "bash"}, 2, 1),
    "SLURM_NTASKS alone": ({"SLURM_NTASKS": "2"}, 1, 1),
    "torchrun": (TORCHRUN, 2, 1),
    "torchrun on two nodes": (TORCHRUN | {"WORLD_SIZE": "4"}, 4, 2),
    "Lightning's second": ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}, 2, 1),
    "what Lightning leaves": ({"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, 2, 1),
    "mpirun -n 1": ({"OMPI_COMM_WORLD_SIZE": "1"}, 2, 1),
}


@pytest.mark.parametrize("what", AGREE)
def test_the_same_number_is_lightning_s_too(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, devices, nodes = AGREE[what]
    set_all(monkeypatch, environment)
    check_world(devices)
    world = read_world()
    assert (1 if world is None else world.nodes) == nodes
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "8")  # of the allocation
    strategy = ["trainer.strategy=ddp", f"trainer.devices={devices}"] if devices > 1 else []
    trainer = build_trainer(tiny("trainer.accelerator=cpu", "task.batch_size=4", *strategy))
    assert trainer.world_size == devices and trainer.num_nodes == nodes


def test_an_evaluation_and_a_benchmark_are_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(["experiment=smoke", "--cfg", "job"]) == 0
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    set_all(monkeypatch, SRUN)
    assert evaluate.main(["."]) == 2
    assert "srun has started 2 processes" in capsys.readouterr().err
    assert benchmark.main(["benchmark.measure=layer", "task.length=64"]) == 2
    assert "srun has started 2 processes" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("driver", [SRUN | ONE, TORCHRUN, MPI])
def test_a_cell_of_the_local_launcher_is_in_no_world_of_the_driver(
    driver: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, driver | {"SLURM_CONF": "/etc/slurm.conf"})
    environment = outside_of_a_job()
    assert not set(environment) & set(driver) and environment["SLURM_CONF"] == "/etc/slurm.conf"


def test_the_first_of_torchrun_s_is_that_of_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TORCHRUN | {"WORLD_SIZE": "4"})
    assert first_rank()
    set_all(monkeypatch, {"RANK": "2", "GROUP_RANK": "1"})
    assert not first_rank()
