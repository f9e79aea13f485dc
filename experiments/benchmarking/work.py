"""What a benchmark times: one repetition in three parts, built from a config and random data.

There is no data set and no Trainer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarking.peers import peer_layer, peer_model
from reformer_pl.compiled import compile_parts
from reformer_pl.config import RunConfig
from reformer_pl.config.rules import PEER_PACKAGES, ConfigError
from reformer_pl.measure import training_tensors
from reformer_pl.memory.one_layer import Call, attention_call, draw_x, layer_call, placed
from reformer_pl.precision import autocast, dtypes


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
        else compiled_layer(config, "full", device)
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
                compiled_layer(config, kind, device)
                if config.benchmark.peer == "none"
                else peer_call(config, device)
            )
        case word:
            raise ConfigError(
                f"benchmark.measure={word} is no call of one layer: choose attention or layer"
            )


def compiled_layer(config: RunConfig, kind: str, device: torch.device) -> Call:
    """`layer_call`, with its projections compiled where trainer.compile says so."""
    layer, inputs = layer_call(config, kind, device)
    if config.trainer.compile:
        compile_parts(layer)
    return layer, inputs


def peer_call(config: RunConfig, device: torch.device) -> Call:
    return placed(peer_layer(config), config, device), (draw_x(config, device),)


def step_work(config: RunConfig, device: torch.device) -> Work:
    """A training step on random tokens, as the Trainer takes it.

    It is loss, backward, clipping if configured, and the optimiser.
    """
    from reformer_pl.module import LitSequenceModel  # lightning takes seconds to import
    from reformer_pl.optimizer import build_optimizer, update_weights
    from reformer_pl.tasks import task_class
    from reformer_pl.tasks.batches import Batch

    torch.manual_seed(config.seed)
    vocab_size = task_class(config.task.name).vocab_size
    tokens = torch.randint(vocab_size, (config.task.batch_size, config.task.length), device=device)
    batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool))
    model: Any
    if config.benchmark.peer in PEER_PACKAGES:
        model, peer_loss = peer_model(config, vocab_size)
    else:
        model, peer_loss = LitSequenceModel(config, vocab_size), None
    model = placed(model, config, device).train()
    optimizer = build_optimizer(config.optim, model.parameters())

    def forward() -> Tensor:
        with autocast(config, device.type):
            return model.training_step(batch, 0) if peer_loss is None else peer_loss(tokens)

    def finish() -> None:
        update_weights(model, optimizer, config.optim.clip_norm)

    def held() -> list[Tensor]:
        return [*training_tensors(model, [optimizer]), *batch]

    return Work(forward, Tensor.backward, finish, held, _count(model))


def _differentiated(config: RunConfig, call: Call, device: torch.device) -> Work:
    """Forward, then the gradients in all inputs and parameters.

    These and the output count as memory; the inputs do not.
    """
    function, inputs = call
    weights = list(function.parameters()) if isinstance(function, nn.Module) else []
    wanted = [value for value in inputs if isinstance(value, Tensor)] + weights
    upstream = torch.randn(
        wanted[0].shape, device=device, dtype=dtypes(config).products
    )  # every output has its first input's shape

    def forward() -> Tensor:
        with autocast(config, device.type):
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
