"""`trainer.compile`: the parts of a layer that torch.compile makes faster, in place.

A part is a method of a module: a norm, the projections around an attention kernel, the dense part
of a feed-forward layer. The kernels themselves stay as they are, and so does what runs the layers:
checkpointing and reversible layers call compiled parts as they call others. Names of parameters
stay, so a checkpoint loads either way.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import nn

# One part is one graph. With `fallback_random` it draws what it draws without compilation.
SETTINGS: dict[str, Any] = {"fullgraph": True, "options": {"fallback_random": True}}
# torch stops to compile a method that it has compiled so often. It does so anew for each kind of
# attention, with and without gradients, and for a last batch of another size.
MOST_GRAPHS = 64


def compilable(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a method of tensors that is compiled where `compile_parts` has seen its module.

    It should draw random numbers once at most, for the order of two could change.
    """

    @wraps(method)
    def call(module: nn.Module, *tensors: Any) -> Any:
        run = compiled(method) if getattr(module, "is_compiled", False) else method
        return run(module, *tensors)

    return call


@cache
def compiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method as torch compiles it at its first call: once for all layers of one shape."""
    return torch.compile(method, **SETTINGS)


def compile_parts(model: nn.Module) -> None:
    """From now on every `compilable` method of the model's modules is compiled when it is called.

    A copy of the model is compiled, too.
    """
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, MOST_GRAPHS)
    for module in model.modules():
        module.is_compiled = True
