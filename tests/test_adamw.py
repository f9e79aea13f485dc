"""optim.name=adamw: its step by hand, what decays and what does not, and resume bit for bit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from experiments import train
from processes import fail_and_resume
from reformer_pl.config import OptimConfig
from reformer_pl.module import LitSequenceModel
from reformer_pl.optimizer import build_optimizer
from reformer_pl.tasks import build_task
from tiny import tiny

ADAMW = ("optim.name=adamw", "trainer.precision=64-true", "optim.lr=0.01", "optim.betas=[0.8,0.9]")


def by_hand(
    before: Tensor, grads: list[Tensor], optim: OptimConfig, rates: list[float], decay: float
) -> Tensor:
    """AdamW as published (arXiv 1711.05101, algorithm 2): the decay is no part of the gradient."""
    weight, mean, square = before.clone(), torch.zeros_like(before), torch.zeros_like(before)
    beta1, beta2 = optim.betas
    for step, (grad, lr) in enumerate(zip(grads, rates, strict=True), 1):
        mean = beta1 * mean + (1 - beta1) * grad
        square = beta2 * square + (1 - beta2) * grad**2
        unbiased = (square / (1 - beta2**step)).sqrt() + 1e-9
        weight = weight - lr * decay * weight - lr * mean / (1 - beta1**step) / unbiased
    return weight


@pytest.mark.parametrize("decay", [0.0, 0.1, 3.0])
@pytest.mark.parametrize(
    "model",
    [
        ("model.attention=full",),
        ("model.attention=lsh", "model.residual=reversible", "model.positions=axial"),
    ],
)
def test_steps_are_those_by_hand_and_only_matrices_decay(
    model: tuple[str, ...], decay: float
) -> None:
    config = tiny(*ADAMW, *model, f"optim.weight_decay={decay}", "optim.warmup_steps=3")
    data = build_task(config)
    torch.manual_seed(0)
    module = LitSequenceModel(config, data.vocab_size)
    named = dict(module.named_parameters())
    before = {name: p.detach().clone() for name, p in named.items()}
    made = module.configure_optimizers()
    gradients: dict[str, list[Tensor]] = {name: [] for name in named}
    for step in range(2):
        module.training_step(data.train_batch(step), step).backward()
        for name, p in named.items():
            gradients[name].append(p.grad.clone())
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
        made["optimizer"].zero_grad()
    ranks = {p.ndim for p in named.values()}
    assert {1, 2} <= ranks
    for name, p in named.items():
        of_matrices = decay if p.ndim > 1 else 0.0
        expected = by_hand(
            before[name], gradients[name], config.optim, [0.01 / 3, 0.02 / 3], of_matrices
        )
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-14, msg=name)


def test_embeddings_positions_and_projections_decay_and_norms_and_biases_do_not() -> None:
    module = LitSequenceModel(tiny(*ADAMW), 11)
    optimizer = build_optimizer(module.config.optim, module.parameters())
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert len(decays) == len(list(module.parameters()))
    for name, p in module.named_parameters():
        owner: nn.Module = module.get_submodule(name.rpartition(".")[0])
        is_vector = isinstance(owner, nn.LayerNorm) or name.endswith("bias")
        assert decays[id(p)] == (0.0 if is_vector else 0.1), name


def test_a_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (
        [
            *("experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1"),
            *("trainer.max_steps=5", "trainer.eval_every_steps=2", "optim.name=adamw"),
            *("task.eval_sequences=4", "optim.weight_decay=0.5", f"out_dir={tmp_path / name}"),
        ]
        for name in ("one", "two")
    )
    assert train.main(one) == 0
    fail_and_resume(two, 3, monkeypatch)
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("one", "two")
    ]
    first, second = (state["state_dict"] for state in states)
    assert all(torch.equal(first[name], second[name]) for name in first)
    decays = [group["weight_decay"] for group in states[1]["optimizer_states"][0]["param_groups"]]
    assert decays == [0.5, 0.0]
