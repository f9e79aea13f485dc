"""`model.lsh.eval_draws`: a held-out score over several draws of rotations, and their spread."""

import statistics

import pytest

from experiments.training.scoring import score
from experiments.training.trainer import build_trainer
from reformer_pl.config import ConfigError
from reformer_pl.module import LitSequenceModel, held_out_seed
from reformer_pl.tasks import build_task
from tiny import tiny


@pytest.mark.parametrize("n_draws, batch_size", [(1, 2), (2, 2), (3, 1)])
def test_the_score_is_the_mean_over_draws_and_the_spread_their_std(
    n_draws: int, batch_size: int
) -> None:
    sizes = [
        f"task.batch_size={batch_size}",
        "trainer.accelerator=cpu",
        "task.name=recall",
        "task.pairs=2",
    ]
    config = tiny(f"model.lsh.eval_draws={n_draws}", *sizes)
    data = build_task(config)
    module = LitSequenceModel(config, data.vocab_size)
    values = score(build_trainer(config, logger=False), module, data)
    module.eval()
    rows = [data.eval_batch(i) for i in range(data.n_eval_batches)]
    means: dict[str, list[float]] = {"loss_nats": [], "accuracy": []}
    for draw in range(n_draws):
        parts = [module.loss(batch, held_out_seed(0, draw)).values() for batch in rows]
        for name, by_draw in means.items():
            total = sum(float(part[name][1]) for part in parts)
            by_draw.append(sum(float(part[name][0] * part[name][1]) for part in parts) / total)
    for name, by_draw in means.items():
        assert values[name] == pytest.approx(statistics.mean(by_draw), rel=1e-5)
    if n_draws == 1:
        assert "eval_draws_std" not in values
    else:
        assert len(set(means["loss_nats"])) == n_draws
        expected = statistics.stdev(means["accuracy"])
        assert values["eval_draws_std"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("attention", ["full", "shared_full", "local sinks"])
def test_no_draws_where_nothing_is_drawn(attention: str) -> None:
    with pytest.raises(ConfigError, match=r"use lsh in it, or model.lsh.eval_draws=1"):
        tiny(f"model.attention={attention}", "model.lsh.eval_draws=2")
