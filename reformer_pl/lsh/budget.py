"""How much of LSH attention is computed at once: the scores of one tile, the projections of one
slice of tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

# A tile that leaves room in the CPU's cache for q, k, v and the gradients is fastest; a GPU wants
# few launches.
TILE_BYTES = {"cpu": 1 << 20}
TILE_BYTES_ELSEWHERE = 32 << 20

# The device type that is counted, "" for the tensors' own; None outside of `sizes_alone`.
_sizes_alone: ContextVar[str | None] = ContextVar("sizes_alone", default=None)


def tile_bytes(device: torch.device) -> int:
    """Bytes of scores, or of projections, that are made at once on this device."""
    return TILE_BYTES.get(kernels_of(device), TILE_BYTES_ELSEWHERE)


def kernels_of(device: torch.device) -> str:
    """The device type whose kernels are taken: within `sizes_alone` that which is counted."""
    counted = _sizes_alone.get() if only_sizes_count() else None
    return counted or device.type


@contextmanager
def sizes_alone(device: str = "") -> Iterator[None]:
    """Within, one tile is computed for all that are as large: memory can be counted, and the
    results mean nothing. Tiles and roads are those of the device type, or of the tensors' own.

    For tensors without data, whose memory is predicted. Everybody else, whoever traces or exports
    among them, computes every tile.
    """
    token = _sizes_alone.set(device)
    try:
        yield
    finally:
        _sizes_alone.reset(token)


def only_sizes_count() -> bool:
    """Whether this runs within `sizes_alone`; never where a compiler traces, which could not follow
    the variable either.
    """
    return not torch.compiler.is_compiling() and _sizes_alone.get() is not None
