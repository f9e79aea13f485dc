"""What trainer.precision means: the dtypes of a run, and the autocast around its forward pass."""

from typing import NamedTuple

import torch

from reformer_pl.config import RunConfig
from reformer_pl.config.rules import PRECISIONS, ConfigError


class Dtypes(NamedTuple):
    """The dtypes that a precision leads to."""

    weights: torch.dtype  # also of what a LayerNorm returns
    products: torch.dtype  # of what a projection returns


def dtypes(config: RunConfig) -> Dtypes:
    """Of trainer.precision. Raises ConfigError for an unknown word."""
    match config.trainer.precision:
        case "32-true":
            return Dtypes(torch.float32, torch.float32)
        case "bf16-mixed":
            return Dtypes(torch.float32, torch.bfloat16)
        case "64-true":
            return Dtypes(torch.float64, torch.float64)
        case word:
            raise ConfigError(
                f"trainer.precision={word} is unknown: choose {', '.join(PRECISIONS)}"
            )


def autocast(config: RunConfig, device_type: str) -> torch.autocast:
    """What Lightning runs the forward pass under, and nothing but the forward pass."""
    weights, products = dtypes(config)
    return torch.autocast(device_type, torch.bfloat16, enabled=products != weights)
