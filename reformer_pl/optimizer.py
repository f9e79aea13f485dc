"""The optimiser, its learning rate over the steps, and what a step does after backward."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from reformer_pl.config import OptimConfig
from reformer_pl.config.rules import OPTIMIZERS, SCHEDULES, ConfigError


def build_optimizer(
    optim: OptimConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser that optim.name names.

    The weight decay of adamw is of matrices alone, which are all parameters of two dimensions and
    more. Biases and the gains of norms have one: to shrink a gain would pull the scale of a layer
    towards 0, and a bias has no scale. The tables of embeddings and positions are matrices too.
    They are what the layers add to, so undecayed they would outweigh decayed layers. A row whose
    token does not occur decays as well. The rule asks a parameter alone, not where it is used, so
    it holds for an attention with weights of its own.
    """
    match optim.name:
        case "adam":
            return torch.optim.Adam(parameters, lr=optim.lr, betas=optim.betas, eps=1e-9)
        case "adamw":
            parameters = list(parameters)
            groups = [
                {
                    "params": [p for p in parameters if p.ndim >= 2],
                    "weight_decay": optim.weight_decay,
                },
                {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
            ]
            return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, eps=1e-9)
        case "adafactor":
            return torch.optim.Adafactor(parameters, lr=optim.lr)
        case word:
            raise ConfigError(f"optim.name={word} is unknown: choose {', '.join(OPTIMIZERS)}")


def lr_factor(optim: OptimConfig, step: int, max_steps: int) -> float:
    """The share of optim.lr: linear warm-up to 1, then what the schedule says.

    constant stays at 1, rsqrt falls as 1/sqrt(step) as published, cosine to 0 at max_steps.
    """
    warm = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
    match optim.schedule:
        case "constant":
            return warm
        case "rsqrt":
            start = max(1, optim.warmup_steps)
            return warm * math.sqrt(start / max(step + 1, start))
        case "cosine":
            done = (step - optim.warmup_steps) / max(1, max_steps - optim.warmup_steps)
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
        case word:
            raise ConfigError(f"optim.schedule={word} is unknown: choose {', '.join(SCHEDULES)}")


def update_weights(
    model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float = 0.0
) -> None:
    """What the Trainer does after backward: clip if clip_norm is positive, step, free gradients."""
    if clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    optimizer.zero_grad()
