"""The product of all parts: each combination takes a step in which every parameter takes part."""

from dataclasses import replace
from itertools import product

import pytest

from reformer_pl.config import check
from reformer_pl.config.rules import ATTENTIONS
from reformer_pl.tasks import build_task
from tiny import assert_trained, take_step, tiny

PATTERNS = [*ATTENTIONS, "local lsh"]
ENDS = [
    ("standard", "mean"),
    ("checkpoint", "mean"),
    ("reversible", "mean"),
    ("reversible", "concat"),
]  # residual and its legal merges


@pytest.mark.parametrize("dropout", [0, 0.1])
@pytest.mark.parametrize("positions", ["learned", "axial"])
@pytest.mark.parametrize("residual, merge", ENDS)
@pytest.mark.parametrize("attention", PATTERNS)
def test_every_combination_takes_a_step(
    attention: str, residual: str, merge: str, positions: str, dropout: float
) -> None:
    parts = [
        f"model.attention={attention}",
        f"model.residual={residual}",
        f"model.merge={merge}",
        f"model.positions={positions}",
    ]
    config = tiny(*parts, f"model.dropout={dropout}")
    for ff_chunks, loss_chunks in product((1, 2), (1, 3)):
        model = replace(config.model, ff_chunks=ff_chunks, loss_chunks=loss_chunks)
        assert_trained(take_step(check(replace(config, model=model))))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adafactor"])
@pytest.mark.parametrize("residual", ["standard", "reversible"])
def test_steps_lower_the_loss(residual: str, optimizer: str) -> None:
    """Not only finite: on one batch again and again, the loss falls."""
    config = tiny(
        "model.attention=local lsh",
        f"model.residual={residual}",
        f"optim.name={optimizer}",
        "optim.lr=0.01",
    )
    module, batch = take_step(config), build_task(config).train_batch(0)
    again = module.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(30):
        again.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        again.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
