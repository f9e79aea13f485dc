"""What the Triton road costs a GPU, counted on tensors without data: launches, and bytes read and
written as if there were no cache. `python tests/triton_traffic.py` prints the rows of docs/gpu.md.

* An ordinary operation reads its inputs and writes its outputs once.
* A kernel's rows of D numbers count at every load and store. Single numbers that lie scattered
  count as a sector of 32 bytes, once in a program. `test_triton.py` holds this to what the
  interpreter loads and stores.
* CUDA sorts 8 bits a pass; a pass reads and writes the keys and their indices of 8 bytes.

Shapes: B*H = 8, D = 64, chunks of 64, bfloat16, duplicates removed, padding none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reformer_pl.config.rules import bucket_factors
from reformer_pl.lsh import attend, draw_rotations, plan_attention, triton_road
from reformer_pl.lsh.budget import sizes_alone

BATCH, HEADS, HEAD_SIZE, CHUNK = 1, 8, 64, 64
LENGTHS, ROUNDS = (4096, 16384, 65536), (1, 2, 4, 8)
SECTOR = 32
BANDWIDTHS = {"A100 40 GB": 1.55e12, "A100 80 GB": 2.0e12, "H100": 3.35e12}  # bytes a second
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12}  # of bfloat16 products
SORT_LAUNCHES = 8


class Cost(NamedTuple):
    """Of one part of forward and backward."""

    launches: int
    bytes: int


class Traffic(TorchDispatchMode):
    """Counts what runs within, the Triton kernels among it."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.name().split("::")[1]
        view = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if name.startswith("sort"):
            keys = args[0]
            passes = keys.element_size()
            self.add(SORT_LAUNCHES, passes * 2 * keys.numel() * (keys.element_size() + 8))
        elif not view and "empty" not in name and name != "detach":
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.add(1, sum(stored(x) for x in tensors))
        return out

    def launch(self, name: str, grid: int, *arguments: Any, **options: Any) -> None:
        """In the place of `triton_road.launch`."""
        self.add(1, kernel_bytes(name, grid, arguments, options))

    def add(self, launches: int, size: int) -> None:
        self.launches, self.bytes = self.launches + launches, self.bytes + size


def stored(x: Tensor) -> int:
    """Bytes of a tensor; what is expanded lies there once."""
    steps = zip(x.shape, x.stride(), strict=True)
    return x.element_size() * torch.Size([n for n, step in steps if step or n == 1]).numel()


def kernel_bytes(name: str, grid: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> int:
    """Loads and stores of one launch. No edge is taken off: the first chunk has a window like any
    other.
    """
    tensors = [x for x in arguments if isinstance(x, Tensor)]
    d, block = options["D"], options["BLOCK"]
    row, wide = d * tensors[0].element_size(), d * 4
    if name == "hash_tokens":
        rounds, _, _, _, _, _, directions = arguments[-7:]
        return grid * (block * (row + 4 * rounds) + d * rounds * directions * 4)
    (r, rounds), m = arguments[-8:-6], options["M"]
    first, last = r == 0, r == rounds - 1
    blocks = -(-m // block)
    tokens = grid // blocks * m
    window = window_rows(name, options) * grid // blocks  # of all programs together
    numbers = 4 * tokens + 4 * window  # positions
    if options["CODED"] or options["DEDUPE"]:
        numbers += -(-4 * rounds // SECTOR) * SECTOR * window
    match name:
        case "forward_round":
            rows = row * (tokens + 2 * window)
            sums = wide * tokens * ((not first) + (not last)) + row * tokens * last
            numbers += SECTOR * tokens
        case "backward_queries":
            rows = row * (2 * tokens + 2 * window + tokens * first)
            sums = wide * tokens * (1 + (not first))
            numbers += 2 * SECTOR * tokens
        case "backward_keys":
            rows = row * (3 * tokens + 2 * window)
            sums = wide * tokens * (1 + (not first) + 2 * (not last)) + 2 * row * tokens * last
            numbers += 2 * SECTOR * window + SECTOR * tokens * last
        case _:
            raise ValueError(f"count the loads and stores of {name} here")
    return rows + sums + numbers


def window_rows(name: str, options: dict[str, Any]) -> int:
    """Tokens in the windows of all programs of one chunk."""
    m, block, step = options["M"], options["BLOCK"], options["STEP"]
    total = 0
    for offset in range(0, m, block):
        start, stop = 0, 2 * m
        as_keys = name == "backward_keys"
        if options["SORTED" if as_keys else "NEAR"]:
            start = offset
        if options["NEAR" if as_keys else "SORTED"]:
            stop = min(stop, m + offset + block)
        steps = -(-(stop - start) // step)
        total += min(2 * m, start + steps * step) - start
    return total


def count(length: int, rounds: int) -> tuple[Cost, Cost]:
    """(hash and sort, attention forward and backward) of one layer."""
    shape = BATCH, length, HEADS, HEAD_SIZE
    qk, v = (
        torch.empty(shape, dtype=torch.bfloat16, device="meta").transpose(1, 2).requires_grad_()
        for _ in "qv"
    )
    with sizes_alone(), pytest.MonkeyPatch.context() as patch:

        def counted(work: Callable[[], Any]) -> tuple[Any, Cost]:
            with Traffic() as traffic:
                patch.setattr(triton_road, "launch", traffic.launch)
                return work(), Cost(traffic.launches, traffic.bytes)

        options = {"n_hashes": rounds, "chunk_len": CHUNK}
        factors = bucket_factors(None, length, CHUNK)
        rotations = draw_rotations(HEADS, HEAD_SIZE, rounds, factors, None).to("meta")
        (plan, _), sort = counted(
            lambda: plan_attention(qk, rotations=rotations, road="triton", **options)
        )
        out, forward = counted(lambda: attend(qk, v, plan))
        upstream = torch.empty_like(out)
        _, backward = counted(lambda: torch.autograd.grad(out, (qk, v), upstream))
    return sort, Cost(*(sum(pair) for pair in zip(forward, backward, strict=True)))


def full_attention_flops(length: int) -> float:
    """Of causal full attention: two products of L x L x D forward and five backward, half of each
    below the diagonal.
    """
    return BATCH * HEADS * 7 * 2 * length**2 * HEAD_SIZE / 2


def table() -> list[str]:
    """The rows of docs/gpu.md, times in milliseconds."""
    lines = []
    for length in LENGTHS:
        flops = full_attention_flops(length)
        full = [f"{1e3 * flops / peak:.2f}" for peak in PEAK_FLOPS.values()]
        for rounds in ROUNDS:
            sort, attention = count(length, rounds)
            total = sort.bytes + attention.bytes
            cells = [
                f"{length:,}",
                str(rounds),
                str(attention.launches),
                f"{attention.bytes / 1e9:.2f}",
                str(sort.launches),
                f"{sort.bytes / 1e9:.2f}",
                *(f"{1e3 * total / bandwidth:.2f}" for bandwidth in BANDWIDTHS.values()),
                *full,
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
