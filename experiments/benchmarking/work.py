"""What a benchmark times: one repetition in three parts, built from a config and random data.

There is no data set and no Trainer.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarking.peers import peer_layer, peer_model
from reformer_pl.config import RunConfig
from reformer_pl.config.rules import PEER_PACKAGES, ConfigError
from reformer_pl.measure import training_tensors
from reformer_pl.memory.one_layer import Call, attention_call, draw_x, layer_call, out_dtype, placed


@dataclass(frozen=True)
class Work:
    """One repetition: `out = forward()`, `backward(out)`, `finish()`.

    Only what `kept` names lives from one repetition to the next, and counts as memory: all of a
    training step, nothing of an attention or a layer.
    """

    forward: Callable[[], Tensor]
    backward: Callable[[Tensor], Any]
    finish: Callable[[], Any]
    kept: Callable[[], Iterable[Tensor]]
    parameters: int


def build_work(config: RunConfig, device: torch.device) -> Work:
    """What benchmark.measure and benchmark.peer name, its weights and data drawn from the seed."""
    return (
        step_work(config, device)
        if config.benchmark.measure == "step"
        else _differentiated(config, build_call(config, device), device)
    )


def build_rival(config: RunConfig, device: torch.device) -> Work:
    """What `paired` times in turn: fused full attention of the same shape, alone or as a layer."""
    torch.manual_seed(config.seed)
    call = (
        attention_call(config, "full", device)
        if config.benchmark.measure == "attention"
        else layer_call(config, "full", device)
    )
    return _differentiated(config, call, device)


def build_call(config: RunConfig, device: torch.device) -> Call:
    """The attention or layer of a benchmark that is no whole step."""
    torch.manual_seed(config.seed)
    kind = config.model.attention.split()[0]
    match config.benchmark.measure:
        case "attention":
            return attention_call(
                config, "naive" if config.benchmark.peer == "naive" else kind, device
            )
        case "layer":
            return (
                layer_call(config, kind, device)
                if config.benchmark.peer == "none"
                else peer_call(config, device)
            )
        case word:
            raise ConfigError(
                f"benchmark.measure={word} is no call of one layer: choose attention or layer"
            )


def peer_call(config: RunConfig, device: torch.device) -> Call:
    return placed(peer_layer(config), config, device), (draw_x(config, device),)


def step_work(config: RunConfig, device: torch.device) -> Work:
    """A training step on random tokens: loss, backward, clipping if configured, the optimiser; as the Trainer takes it."""
    from reformer_pl.module import (  # lightning takes seconds to import
        LitSequenceModel,
        build_optimizer,
    )
    from reformer_pl.tasks import task_class

    torch.manual_seed(config.seed)
    vocab_size = task_class(config.task.name).vocab_size
    tokens = torch.randint(vocab_size, (config.task.batch_size, config.task.length), device=device)
    scored = torch.ones_like(tokens, dtype=torch.bool)
    model: Any
    if config.benchmark.peer in PEER_PACKAGES:
        model, peer_loss = peer_model(config, vocab_size)
    else:
        model, peer_loss = LitSequenceModel(config, vocab_size), None
    model = placed(model, config, device).train()
    optimizer = build_optimizer(config.optim, model.parameters())

    def forward() -> Tensor:
        with _autocast(config, device):
            return (
                model.training_step((tokens, scored), 0) if peer_loss is None else peer_loss(tokens)
            )

    def finish() -> None:
        if config.optim.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    def held() -> list[Tensor]:
        return [*training_tensors(model, [optimizer]), tokens, scored]

    return Work(forward, Tensor.backward, finish, held, _count(model))


def _differentiated(config: RunConfig, call: Call, device: torch.device) -> Work:
    """Forward, then the gradients in all inputs and parameters.

    These and the output count as memory; the inputs do not.
    """
    function, inputs = call
    weights = list(function.parameters()) if isinstance(function, nn.Module) else []
    wanted = [value for value in inputs if isinstance(value, Tensor)] + weights
    upstream = torch.randn(
        wanted[0].shape, device=device, dtype=out_dtype(config)
    )  # every output has its first input's shape

    def forward() -> Tensor:
        with _autocast(config, device):
            out = function(*inputs)
        return out if isinstance(out, Tensor) else out[0]

    return Work(
        forward,
        lambda out: torch.autograd.grad(out, wanted, upstream),
        lambda: None,
        lambda: (),
        sum(p.numel() for p in weights),
    )


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _autocast(config: RunConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Around the forward pass alone, as Lightning does."""
    return torch.autocast(
        device.type, torch.bfloat16, enabled=config.trainer.precision == "bf16-mixed"
    )
