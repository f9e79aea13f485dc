"""Models small enough for float64 identities, and one training step without a Trainer."""

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from reformer_pl.config import RunConfig, load
from reformer_pl.model import SequenceModel
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks import build_task

VOCAB = 11
TINY = {
    "model": {
        "d_model": 8,
        "n_heads": 2,
        "n_layers": 2,
        "d_ff": 12,
        "lsh": {"n_hashes": 2, "chunk_len": 4},
        "local": {"chunk_len": 4},
        "sinks": {"window": 5, "n_sinks": 2},
        "blocks": {"chunk_len": 4, "top_k": 2},
        "topk": {"n_keys": 3},
    },
    "task": {
        "length": 18,
        "batch_size": 2,
        "eval_sequences": 2,
    },  # 18 is no multiple of a chunk of 4
    "optim": {"warmup_steps": 0},
}


def tiny(*overrides: str) -> RunConfig:
    chosen = OmegaConf.merge(
        TINY, OmegaConf.from_dotlist(list(overrides))
    )  # in one go: `load` takes them one by one, which costs
    return load(OmegaConf.to_container(chosen))


def build(*overrides: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> SequenceModel:
    """A model in training mode whose weights depend on `seed` alone, so that two settings can be compared."""
    config = tiny(*overrides)
    torch.manual_seed(seed)
    return SequenceModel(config.model, VOCAB, config.task.length).to(dtype)


def draw_batch(
    length: int = 18, batch: int = 2, vocab: int = VOCAB, seed: int = 1
) -> tuple[Tensor, Tensor]:
    """(tokens, scored), with some positions not scored."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab, (batch, length), generator=generator), torch.rand(
        batch, length, generator=generator
    ) < 0.8


def grads(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    assert actual.shape == expected.shape, what
    error = (actual.double() - expected.double()).abs().max().item()
    assert error <= tolerance * max(1.0, expected.abs().max().item()), (
        f"{what} is off by {error:.2e}"
    )


def assert_same_grads(
    actual: nn.Module | dict[str, Tensor],
    expected: nn.Module | dict[str, Tensor],
    tolerance: float = 1e-10,
) -> None:
    got, want = (grads(x) if isinstance(x, nn.Module) else x for x in (actual, expected))
    assert got.keys() == want.keys() and got
    for name in want:
        assert_close(got[name], want[name], tolerance, name)


def take_step(config: RunConfig) -> LitSequenceModel:
    """One training step as the Trainer takes it: the task's first batch, the loss, backward, the optimiser."""
    torch.manual_seed(config.seed)
    data = build_task(config)
    module = LitSequenceModel(config, data.vocab_size).train()
    optimizer = module.configure_optimizers()["optimizer"]
    module.training_step(data.train_batch(0), 0).backward()
    optimizer.step()
    return module


def assert_trained(module: LitSequenceModel) -> None:
    """Every parameter has a finite gradient that is not all zero, and is finite after its step."""
    for name, p in module.named_parameters():
        assert p.grad is not None, f"{name} has no gradient"
        assert p.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert p.grad.any(), f"the gradient of {name} is zero"
        assert p.isfinite().all(), f"{name} is not finite after the step"
