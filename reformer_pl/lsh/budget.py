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

_sizes_alone: ContextVar[bool] = ContextVar("sizes_alone", default=False)


def tile_bytes(device: torch.device) -> int:
    """Bytes of scores, or of projections, that are made at once on this device."""
    return TILE_BYTES.get(device.type, TILE_BYTES_ELSEWHERE)


@contextmanager
def sizes_alone() -> Iterator[None]:
    """Within, one tile is computed for all that are as large: memory can be counted, and the
    results mean nothing.

    For tensors without data, whose memory is predicted. Everybody else, whoever traces or exports
    among them, computes every tile.
    """
    token = _sizes_alone.set(True)
    try:
        yield
    finally:
        _sizes_alone.reset(token)


def only_sizes_count() -> bool:
    """Whether this runs within `sizes_alone`; never where a compiler traces, which could not follow
    the variable either.
    """
    return not torch.compiler.is_compiling() and _sizes_alone.get()
