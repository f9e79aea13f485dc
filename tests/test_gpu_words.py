"""What a run sets up on CUDA, without one: torch's answers are patched, and no kernel runs."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from experiments.device import set_matmul_precision
from experiments.training import callbacks
from experiments.training.trainer import build_trainer
from reformer_pl.config import ConfigError
from tiny import tiny

DDP = ("trainer.strategy=ddp", "trainer.accelerator=gpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was handed to torch.set_float32_matmul_precision."""
    words: list[str] = []
    monkeypatch.setattr("torch.set_float32_matmul_precision", words.append)
    return words


@pytest.mark.parametrize(
    ("word", "line"),
    [("highest", "float32; trainer.matmul_precision=high"), ("high", "TF32 ("), ("medium", "less")],
)
def test_float32_products_are_what_the_config_says_and_the_log_has_it(
    word: str, line: str, cuda: None, words: list[str]
) -> None:
    assert line in set_matmul_precision(tiny(f"trainer.matmul_precision={word}"))
    assert words == [word]


@pytest.mark.parametrize("option", ["trainer.accelerator=cpu", "trainer.precision=64-true"])
def test_a_matmul_precision_that_changes_nothing_says_so(
    option: str, cuda: None, words: list[str]
) -> None:
    line = set_matmul_precision(tiny(option, "trainer.matmul_precision=high"))
    assert line.startswith("trainer.matmul_precision=high changes nothing")
    assert set_matmul_precision(tiny(option)) == "" and words == []


@pytest.mark.parametrize("word", ["tf32", "ieee", "HIGH"])
def test_an_unknown_matmul_precision_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="choose highest, high, medium"):
        tiny(f"trainer.matmul_precision={word}")


@pytest.mark.parametrize("ranks", [(5, 9), (9, 5), (2**40 + 1, 3)])
def test_the_peak_is_that_of_the_largest_rank(
    ranks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = ranks
    ended = SimpleNamespace(bytes=own, __exit__=lambda *error: None)
    reduced = []

    def reduce(number: torch.Tensor, reduce_op: str) -> torch.Tensor:
        reduced.append(reduce_op)
        return torch.maximum(number, torch.tensor(other))

    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=reduce))
    module = SimpleNamespace(device=torch.device("cpu"))
    cost = callbacks.Cost()
    cost.peak = ended
    cost.on_train_batch_end(trainer, module, None, None, 0)
    assert cost.peak_bytes == max(ranks) and reduced == ["max"]


@pytest.mark.parametrize(
    ("own", "other", "shared"),
    [(False, 2, True), (True, 1, True), (None, 1, False), (None, 0, None), (False, 0, False)],
)
def test_a_gpu_of_any_rank_that_is_shared_is_recorded(
    own: bool | None, other: int, shared: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "is_shared", lambda device: own)
    strategy = SimpleNamespace(
        reduce=lambda number, reduce_op: torch.maximum(number, torch.tensor(other))
    )
    cost, module = callbacks.Cost(), SimpleNamespace(device=torch.device("cpu"))
    cost.on_train_end(SimpleNamespace(strategy=strategy), module)
    assert cost.steps.device_is_shared is shared


SRUN = {"SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "cell", "SLURM_NODEID": "0"}
TORCHRUN = {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}


def enter(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def task(starter: dict[str, str], rank: int, size: int) -> dict[str, str]:
    names = (
        ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
        if starter is SRUN
        else ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    )
    more = {} if starter is SRUN else {"LOCAL_WORLD_SIZE": str(size)}
    numbers = (str(rank), str(rank), str(size))
    return starter | dict(zip(names, numbers, strict=True)) | more


@pytest.mark.parametrize("starter", [SRUN, TORCHRUN], ids=["srun", "torchrun"])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_task_that_sees_its_own_gpu_alone_takes_it(
    starter: dict[str, str], rank: int, cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--gpus-per-task=1: each of the four tasks of a node has a CUDA device 0, another GPU."""
    enter(task(starter, rank, 4) | {"CUDA_VISIBLE_DEVICES": f"GPU-{rank}"}, monkeypatch)
    trainer = build_trainer(tiny(*DDP, "trainer.devices=4", "task.batch_size=4"))
    assert trainer.strategy.root_device == torch.device("cuda", 0)
    assert (trainer.num_devices, trainer.strategy.num_processes) == (4, 4)
    assert trainer.strategy.cluster_environment.local_rank() == rank


def test_a_task_that_sees_all_gpus_takes_that_of_its_rank(
    cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    enter(task(SRUN, 3, 4), monkeypatch)
    trainer = build_trainer(tiny(*DDP, "trainer.devices=4", "task.batch_size=4"))
    assert trainer.strategy.root_device == torch.device("cuda", 3)


@pytest.mark.parametrize(("visible", "starter"), [(2, SRUN), (1, {})])
def test_too_few_gpus_are_refused(
    visible: int, starter: dict[str, str], cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two for four processes; one where Lightning starts the others, which would all share it."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: visible)
    if starter:
        enter(task(starter, 0, 4), monkeypatch)
    with pytest.raises(ConfigError, match="cannot be had here"):
        build_trainer(tiny(*DDP, "trainer.devices=4", "task.batch_size=4"))


@pytest.mark.parametrize("options", [("trainer.devices=2",), ("trainer.devices=1",)])
def test_gradients_are_views_of_ddp_s_buckets(options: tuple[str, ...]) -> None:
    trainer = build_trainer(tiny("trainer.strategy=ddp", "trainer.accelerator=cpu", *options))
    assert isinstance(trainer.strategy, DDPStrategy)
    assert trainer.strategy._ddp_kwargs["gradient_as_bucket_view"] is True
