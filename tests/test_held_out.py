"""A held-out score follows from the weights and the evaluation alone.

The batch size, the number of devices and the split into batches change nothing but the order of sums.
"""

import json
from pathlib import Path

import pytest
import torch

from experiments import evaluate, train
from experiments.run_dir.files import evaluation_path
from experiments.training.coverage_file import cover
from reformer_pl.config import RunConfig
from reformer_pl.module import LitSequenceModel, held_out_seed
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import Batch, SequenceData
from tiny import tiny

LSH = ("model.attention=lsh", "model.lsh.n_hashes=1", "model.n_layers=2", "task.eval_sequences=10")


def module_of(config: RunConfig) -> tuple[LitSequenceModel, SequenceData]:
    """Weights that depend on nothing but the seed."""
    data = build_task(config)
    torch.manual_seed(0)
    return LitSequenceModel(config, data.vocab_size).double().eval(), data


def nats(module: LitSequenceModel, batches: list[Batch], monkeypatch: pytest.MonkeyPatch) -> float:
    """Nats a token, by validation_step itself, summed in float64."""
    sums: list[tuple[float, float]] = []

    def keep(_: object, values: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        value, weight = values["loss_nats"]
        sums.append((float(value) * float(weight), float(weight)))

    monkeypatch.setattr("reformer_pl.module.update", keep)
    whole = module.loss
    monkeypatch.setattr(module, "loss", lambda batch, seed: whole(batch, seed))
    with torch.no_grad():
        for i, batch in enumerate(batches):
            module.validation_step(batch, i)
    total, tokens = (sum(column) for column in zip(*sums, strict=True))
    return total / tokens


@pytest.mark.parametrize("residual", ["standard", "checkpoint", "reversible"])
def test_the_score_of_lsh_depends_neither_on_the_batch_size_nor_on_the_number_of_ranks(
    residual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {}
    for batch_size in (1, 3, 4, 10):
        config = tiny(*LSH, f"model.residual={residual}", f"task.batch_size={batch_size}")
        module, data = module_of(config)
        batches = [data.eval_batch(i) for i in range(data.n_eval_batches)]
        scores[f"batches of {batch_size}"] = nats(module, batches, monkeypatch)
    for world in (2, 3):
        parts = [data.eval_batch(0).rows(rank, world) for rank in range(world)]
        scores[f"{world} ranks"] = nats(module, parts, monkeypatch)
    # The values of validation_step are float32, their differences are not the rotations'.
    assert scores == pytest.approx(dict.fromkeys(scores, scores["batches of 10"]), rel=1e-7)
    other = tiny(*LSH, f"model.residual={residual}", "task.batch_size=10", "seed=1")
    with torch.no_grad():
        drawn = [
            float(module.loss(data.eval_batch(0), held_out_seed(config.seed)).mean())
            for config in (config, other)
        ]
    assert abs(drawn[0] - drawn[1]) > 1e-6, "the rotations are still drawn by the seed"


def test_coverage_does_not_depend_on_the_split_over_devices() -> None:
    config = tiny(*LSH, "task.batch_size=10")
    module, data = module_of(config)
    batch = data.eval_batch(0)
    whole = cover(module, config, [batch.tokens], step=3)
    assert len(whole) == 2 * 2 * 4  # layers, heads, numbers of rounds
    for world in (2, 3, 10):
        parts = [batch.rows(rank, world).tokens for rank in range(world)]
        split = cover(module, config, parts, step=3)
        for one, other in zip(whole, split, strict=True):
            assert one == pytest.approx(other, abs=2e-6)


def test_evaluate_gives_one_number_at_every_batch_size(tmp_path: Path) -> None:
    overrides = ["experiment=smoke", *LSH, "trainer.max_steps=2", f"out_dir={tmp_path}"]
    assert train.main(overrides) == 0
    scores = {"result": json.loads((tmp_path / "result.json").read_text())["loss_nats"]}
    for batch_size in (1, 3, 10):
        change = f"task.batch_size={batch_size}"
        assert evaluate.main([str(tmp_path), change]) == 0
        scores[change] = json.loads(evaluation_path(tmp_path, change).read_text())["loss_nats"]
    assert scores == pytest.approx(dict.fromkeys(scores, scores["result"]), rel=1e-6)
