"""optim.accumulate=N: N micro-batches a step have the numbers of one large batch.

That holds also where the micro-batches, or the ranks, have unlike numbers of scored tokens.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn

from ablations.__main__ import main
from experiments import train
from experiments.training.trainer import build_trainer
from processes import CONTEXT, exit_code, fail_and_resume, result, rows, timeless
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.measure import predict_memory
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import Batch, SequenceData
from test_ddp import free_port
from tiny import assert_close, assert_same_grads, grads, tiny

RECALL = ("task.name=recall", "task.pairs=2", "task.noise=0.2", "task.batch_size=4")
WIDE = ("trainer.precision=64-true", "trainer.accelerator=cpu", "trainer.threads=1")


def unequal(config: RunConfig) -> SequenceData:
    """The task, but that row 1 of a batch has no scored token, and row 2 one only."""
    data = build_task(config)
    whole = data.train_batch

    def train_batch(step: int) -> Batch:
        tokens, scored = whole(step)
        scored[1] = 0
        scored[2] *= (scored[2] > 0).cumsum(0) == 1  # up to the second one
        return Batch(tokens, scored)

    data.train_batch = train_batch
    return data


def test_the_batches_are_unequal() -> None:
    counts = (unequal(tiny(*RECALL)).train_batch(0).scored > 0).sum(1)
    assert counts[1] == 0 < counts[2] < counts[0] == counts[3]


def three_steps(*overrides: str) -> tuple[LitSequenceModel, list[Any], list[float], Any]:
    """Without a Trainer: the module, the gradients and losses of the steps, and the train metrics."""
    config = tiny(*WIDE, *overrides)
    data = unequal(config)
    torch.manual_seed(0)
    module, gradients, losses = LitSequenceModel(config, data.vocab_size).train(), [], []
    optimizer = module.configure_optimizers()["optimizer"]
    for step in range(3):
        loss = module.training_step(data.train_batch(step), step)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        gradients.append({name: grad.clone() for name, grad in grads(module).items()})
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    means = module.train_metrics.compute()
    return module, gradients, losses, {name: float(mean) for name, mean in means.items()}


@pytest.mark.parametrize("attention", ["full", "lsh"])
@pytest.mark.parametrize("residual", ["standard", "checkpoint", "reversible"])
def test_micro_batches_have_the_gradients_of_one_large_batch(residual: str, attention: str) -> None:
    model = (*RECALL, f"model.residual={residual}", f"model.attention={attention}")
    module, gradients, losses, metrics = three_steps(*model)
    for count in (2, 4):
        parts = three_steps(*model, f"optim.accumulate={count}", "model.loss_chunks=2")
        for actual, expected in zip(parts[1], gradients, strict=True):
            assert_same_grads(actual, expected, 1e-12)
        assert parts[2] == pytest.approx(losses, rel=1e-12)
        assert parts[3] == pytest.approx(metrics, rel=1e-6, nan_ok=True)  # of an empty slice
        for name, weight in module.named_parameters():
            assert_close(parts[0].get_parameter(name), weight, 1e-11, name)


class Gradients(Callback):
    """The gradients of each step, before they are clipped."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        self.steps.append({name: grad.clone() for name, grad in grads(module).items()})


def fit(config: RunConfig) -> dict[str, Any]:
    """Three steps under the Trainer: gradients of each, weights at the end, and the loss."""
    data, gradients = unequal(config), Gradients()
    torch.manual_seed(0)
    module = LitSequenceModel(config, data.vocab_size)
    trainer = build_trainer(config, callbacks=[gradients])
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 3
    return {
        "gradients": gradients.steps,
        "weights": module.state_dict(),
        "loss": float(trainer.callback_metrics["train/loss_nats"]),
        "evaluation": float(trainer.callback_metrics["valid/loss_nats"]),
    }


TRAINED = (
    *WIDE, *RECALL, "optim.name=adamw", "optim.clip_norm=0.1", "model.residual=reversible",
    "trainer.max_steps=3", "trainer.eval_every_steps=3", "trainer.log_every_steps=3",
    "task.eval_sequences=5",
)  # fmt: skip


def assert_like(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    for step, gradients in enumerate(expected["gradients"]):
        assert_same_grads(actual["gradients"][step], gradients, 1e-12)
    for name, weight in expected["weights"].items():
        assert_close(actual["weights"][name], weight, 1e-10, name)
    assert actual["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert actual["evaluation"] == pytest.approx(expected["evaluation"], rel=1e-6)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """The large batch, in one process."""
    return fit(tiny(*TRAINED))


def test_under_the_trainer_too(whole: dict[str, Any]) -> None:
    assert_like(fit(tiny(*TRAINED, "optim.accumulate=4")), whole)


RANKS = {  # overrides of a run of two processes
    "2 processes": [],
    "2 processes, 2 micro-batches": ["optim.accumulate=2"],
}


def train_of_a_rank(rank: int, port: int, directory: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    for i, more in enumerate(RANKS.values()):
        config = tiny(*TRAINED, "trainer.devices=2", "trainer.strategy=ddp", *more)
        torch.save(fit(config), directory / f"{i}-{rank}.pt")


def test_two_processes_have_the_numbers_of_one(tmp_path: Path, whole: dict[str, Any]) -> None:
    port = free_port()
    ranks = [CONTEXT.Process(target=train_of_a_rank, args=(r, port, tmp_path)) for r in range(2)]
    for process in ranks:
        process.start()
    assert [exit_code(process) for process in ranks] == [0, 0]
    for i in range(len(RANKS)):
        for rank in range(2):
            assert_like(torch.load(tmp_path / f"{i}-{rank}.pt"), whole)


def test_a_run_resumes_bit_for_bit_and_counts_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (
        [
            *("experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1"),
            *("optim.accumulate=2", "model.dropout=0.1", "model.residual=reversible"),
            *("trainer.max_steps=5", "trainer.eval_every_steps=2", "trainer.log_every_steps=1"),
            *("trainer.coverage_every_steps=3", "task.eval_sequences=5"),
            f"out_dir={tmp_path / name}",
        ]
        for name in ("one", "two")
    )
    assert train.main(one) == 0
    fail_and_resume(two, 3, monkeypatch)
    first, second = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert timeless(result(tmp_path / "one")) == timeless(result(tmp_path / "two"))
    in_rows = [[timeless(row) for row in rows(tmp_path / name)] for name in ("one", "two")]
    assert in_rows[0] == in_rows[1]
    assert result(tmp_path / "one")["steps"] == 5
    assert all(row["tokens"] == row["step"] * 8 * 32 for row in rows(tmp_path / "one"))
    assert [row["step"] for row in rows(tmp_path / "one", "train")] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows(tmp_path / "one", "valid")] == [2, 4, 5]


def test_in_bfloat16_micro_batches_differ_by_rounding_alone() -> None:
    precision = ("trainer.precision=bf16-mixed", "optim.clip_norm=0", "trainer.max_steps=1")
    expected, actual = (
        first_gradients(tiny(*TRAINED, *precision, f"optim.accumulate={count}")) for count in (1, 2)
    )
    assert_same_grads(actual, expected, 0.01)


def first_gradients(config: RunConfig) -> dict[str, torch.Tensor]:
    data, gradients = unequal(config), Gradients()
    torch.manual_seed(0)
    module = LitSequenceModel(config, data.vocab_size)
    build_trainer(config, callbacks=[gradients]).fit(module, datamodule=data)
    return gradients.steps[0]


def test_a_prediction_has_the_activations_of_one_micro_batch_and_all_gradients() -> None:
    size = ("task.length=256", "task.batch_size=16", "model.attention=full", "model.d_model=32")
    whole, parts = (predict_memory(tiny(*size, f"optim.accumulate={n}")) for n in (1, 4))
    assert parts["activations"] == pytest.approx(whole["activations"] / 4, rel=0.05)
    assert parts["gradients"] == pytest.approx(parts["parameters"])
    assert predict_memory(tiny(*size, "optim.accumulate=8"))["total"] < parts["total"]
    ddp = ("trainer.strategy=ddp", "trainer.devices=2", "optim.accumulate=4")
    two = predict_memory(tiny(*size, *ddp))
    assert two["gradients"] == pytest.approx(2 * two["parameters"])  # and DDP's buckets


REFUSED = [
    (["optim.accumulate=0"], "optim.accumulate must be at least 1, not 0"),
    (["optim.accumulate=-2"], "optim.accumulate must be at least 1, not -2"),
    (["optim.accumulate=3"], "task.batch_size 4 .* multiple of .* optim.accumulate 3"),
    (["optim.accumulate=8"], "task.batch_size 4 .* multiple of .* optim.accumulate 8"),
    (
        ["optim.accumulate=4", "trainer.devices=2", "trainer.strategy=ddp"],
        "trainer.devices 2 x optim.accumulate 4",
    ),
    (["optim.accumulate=2", "benchmark.measure=step"], "takes the batch at once: .*accumulate=1"),
    (["optim.accumulate=2", "benchmark.measure=layer"], "takes the batch at once"),
]


@pytest.mark.parametrize(("overrides", "reason"), REFUSED)
def test_what_cannot_be_is_refused(overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        tiny("task.batch_size=4", *overrides)


def test_a_trainer_that_accumulates_itself_is_refused() -> None:
    config = tiny(*RECALL, "optim.accumulate=2")
    data = build_task(config)
    trainer = Trainer(accumulate_grad_batches=2, accelerator="cpu", max_steps=1, logger=False)
    with pytest.raises(ConfigError, match=r"accumulate_grad_batches=2 and optim\.accumulate=2"):
        trainer.fit(LitSequenceModel(config, data.vocab_size), data)


def test_plan_names_the_micro_batches_of_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(
        "base: [task.length=64, model.d_model=16, task.batch_size=8, trainer.accelerator=cpu]\n"
        "axes: {optim.accumulate: [1, 4]}\n"
    )
    assert main(["plan", "./grid.yaml", "--budget", "0.5MiB"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "0.5MiB" in line]
    endings = [line[line.index("(") :] for line in lines]
    assert endings == ["(batch 8 a process)", "(batch 8 a process in 4 micro-batches)"]
