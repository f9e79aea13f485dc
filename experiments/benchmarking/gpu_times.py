"""Times on a GPU that compare: a cold L2 cache, and full attention by its fastest kernel."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import timer

from reformer_pl.config import RunConfig
from reformer_pl.config.rules import attention_pattern
from reformer_pl.memory.one_layer import attention_call
from reformer_pl.out_of_memory import is_out_of_memory
from reformer_pl.precision import autocast

# PyTorch's fused kernels for full attention on a GPU, by the names that a result gives them.
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
FULL = ("full", "shared_full")
TRIALS = 3  # of each kernel, after one that warms up


def l2_cleaner(device: torch.device) -> Callable[[], None]:
    """What empties the L2 cache of a GPU: it writes twice as much. On a CPU it does nothing."""
    if device.type != "cuda":
        return lambda: None
    size = torch.cuda.get_device_properties(device).L2_cache_size
    return overwriting(torch.empty(2 * size, dtype=torch.uint8, device=device))


def overwriting(buffer: Tensor) -> Callable[[], None]:
    """What writes a whole buffer at each call."""

    def overwrite() -> None:
        buffer.zero_()

    return overwrite


def fastest_kernel(
    config: RunConfig,
    device: torch.device,
    kernels: dict[str, SDPBackend] = KERNELS,
) -> str | None:
    """The name of the kernel that takes the config's full attention, both ways, in least time.

    None where nothing of the config attends in full, on a CPU, and where no kernel takes the shape.
    """
    kinds = attention_pattern(config.model.attention, config.model.n_layers)
    kind = next((word for word in kinds if word in FULL), "full")
    if device.type != "cuda" or not (config.benchmark.paired or kind in kinds):
        return None
    function, inputs = attention_call(config, kind, device)
    seconds: dict[str, float] = {}
    for name, backend in kernels.items():

        def once(backend: SDPBackend = backend) -> float:
            start = timer()
            with sdpa_kernel(backend), autocast(config, device.type):
                out = function(*inputs)
            torch.autograd.grad(out, inputs, out.detach())
            return timer() - start

        try:
            once()
            seconds[name] = median(once() for _ in range(TRIALS))
        except RuntimeError as error:  # torch: no such kernel for this device, dtype or shape
            if is_out_of_memory(error):
                raise
    return min(seconds, key=lambda name: seconds[name]) if seconds else None


def preferring(name: str | None) -> AbstractContextManager[Any]:
    """Within, scaled_dot_product_attention takes this kernel first, and others where it must."""
    if name is None:
        return nullcontext()
    others = [backend for word, backend in KERNELS.items() if word != name]
    return sdpa_kernel([KERNELS[name], *others, SDPBackend.MATH], set_priority=True)
