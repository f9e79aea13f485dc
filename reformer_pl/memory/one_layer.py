"""One attention by itself, to be timed or predicted, on random inputs.

It is the kernel alone, or the layer with its projections.

Shapes: B batch, H heads, L length, D head size.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reformer_pl.attention import Memo, MultiHeadAttention, build_attention
from reformer_pl.config import RunConfig
from reformer_pl.config.rules import SHARED_QK, ConfigError
from reformer_pl.precision import dtypes

# (function, inputs): the function returns the output, or a tuple that begins with it.
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def attention_call(config: RunConfig, kind: str, device: torch.device) -> Call:
    """The kernel alone on q, k, v, or qk and v, each (B, H, L, D) of normal numbers.

    LSH hashes and sorts, too. `naive` is `naive_full`. Raises ConfigError for an attention that has
    weights of its own, and so no kernel.
    """
    model, task = config.model, config.task
    shape = (task.batch_size, model.n_heads, task.length, model.d_model // model.n_heads)
    with torch.device("meta"):  # the projections are not used
        attention = (
            MultiHeadAttention(model, naive_full)
            if kind == "naive"
            else build_attention(model, kind)
        )
    if not isinstance(attention, MultiHeadAttention):
        raise ConfigError(
            f"model.attention={kind} has weights of its own, and so no kernel to be measured alone: "
            "use benchmark.measure=layer"
        )

    def kernel(*inputs: Tensor) -> Tensor:
        return attention.run_kernel(inputs, Memo(config.seed))[0]

    dtype = dtypes(config).products
    inputs = tuple(
        torch.randn(shape, device=device, dtype=dtype).requires_grad_()
        for _ in range(2 if kind in SHARED_QK else 3)
    )
    return kernel, inputs


def layer_call(config: RunConfig, kind: str, device: torch.device) -> Call:
    """The attention with its projections on x (B, L, d_model) of normal numbers.

    A LayerNorm makes such numbers.
    """
    return placed(build_attention(config.model, kind), config, device), (
        draw_x(config, device),
        Memo(config.seed),
    )


def naive_full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention that stores its (B, H, L, L) scores; (B, H, L, D) in and out.

    It is what the paper's cost of full attention supposes.
    """
    length = q.shape[2]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1) @ v


def placed(module: nn.Module, config: RunConfig, device: torch.device) -> nn.Module:
    """On the device, in the dtype of the weights.

    A module that is so already is left alone, for one of fake tensors cannot be moved.
    """
    dtype = dtypes(config).weights
    there = all(p.device == device and p.dtype == dtype for p in module.parameters())
    return module if there else module.to(device, dtype)


def draw_x(config: RunConfig, device: torch.device) -> Tensor:
    """(B, L, d_model) of normal numbers, with a gradient."""
    shape = (config.task.batch_size, config.task.length, config.model.d_model)
    return torch.randn(shape, device=device, dtype=dtypes(config).weights).requires_grad_()
