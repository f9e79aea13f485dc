"""How torch's CUDA allocator lays out what lives: blocks, cut from segments of the GPU's memory.

It follows c10/core/AllocatorConfig.h and c10/cuda/CUDACachingAllocator.cpp of torch 2.13, without
the options of PYTORCH_ALLOC_CONF.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

KIB, MIB = 2**10, 2**20
BLOCK = 512  # every block is a multiple of it
SMALL = MIB  # blocks up to this size share the segments of SMALL_SEGMENT
SMALL_SEGMENT, LARGE_SEGMENT = 2 * MIB, 20 * MIB
LARGE = 10 * MIB  # from this size on a block has a segment of its own, in steps of SEGMENT_STEP
SEGMENT_STEP = 2 * MIB


class Peaks(NamedTuple):
    """In bytes, each at its own highest moment."""

    allocated: int  # blocks that are taken: torch.cuda.max_memory_allocated
    reserved: int  # segments of which some part is taken: what a GPU must have free


@dataclass(slots=True, eq=False)
class Block:
    """A part of a segment. `before` and `behind` are its neighbours there."""

    address: int
    size: int
    free: bool = False
    before: "Block | None" = None
    behind: "Block | None" = None

    @property
    def is_segment(self) -> bool:
        return self.before is None and self.behind is None


@dataclass
class Allocator:
    """Best fit, split, merge. Empty segments are given back before a new one is taken.

    torch gives them back when memory is short, so `reserved` is what it needs then.
    """

    free: dict[bool, list[tuple[int, int, Block]]] = field(
        default_factory=lambda: {True: [], False: []}
    )  # of small and of large blocks: (size, address, block), sorted
    reserved: int = 0
    next_address: int = 0

    def take(self, size: int) -> Block:
        size = block_bytes(size)
        small = size <= SMALL
        pool = self.free[small]
        place = bisect_left(pool, (size, -1))
        if place < len(pool):
            block = pool.pop(place)[2]
        else:
            self._give_back_empty_segments()
            block = Block(self.next_address, segment_bytes(size))
            self.next_address += block.size
            self.reserved += block.size
        block.free = False
        left = block.size - size
        if left >= BLOCK if small else left > SMALL:
            rest = Block(block.address + size, left, True, block, block.behind)
            if block.behind is not None:
                block.behind.before = rest
            block.size, block.behind = size, rest
            insort(pool, (rest.size, rest.address, rest))
        return block

    def release(self, block: Block, small: bool) -> None:
        pool = self.free[small]
        for other in (block.before, block.behind):
            if other is not None and other.free:
                del pool[bisect_left(pool, (other.size, other.address))]
        if block.behind is not None and block.behind.free:
            block.size += block.behind.size
            block.behind = block.behind.behind
        if block.before is not None and block.before.free:
            block.address = block.before.address
            block.size += block.before.size
            block.before = block.before.before
        if block.before is not None:
            block.before.behind = block
        if block.behind is not None:
            block.behind.before = block
        block.free = True
        insort(pool, (block.size, block.address, block))

    def _give_back_empty_segments(self) -> None:
        for small, pool in self.free.items():
            self.reserved -= sum(block.size for _, _, block in pool if block.is_segment)
            self.free[small][:] = [entry for entry in pool if not entry[2].is_segment]


def peaks(sizes: Sequence[int], events: Iterable[int]) -> Peaks:
    """The peaks of a trace: event i makes storage i of sizes[i] bytes, and ~i frees it."""
    allocator = Allocator()
    blocks: dict[int, Block] = {}
    allocated = most_allocated = most_reserved = 0
    for event in events:
        index = event if event >= 0 else ~event
        if not sizes[index]:
            continue  # torch takes no block for it
        if event >= 0:
            block = blocks[index] = allocator.take(sizes[index])
            allocated += block.size
            most_allocated = max(most_allocated, allocated)
            most_reserved = max(most_reserved, allocator.reserved)
        else:
            block = blocks.pop(index)
            allocated -= block.size
            allocator.release(block, block_bytes(sizes[index]) <= SMALL)
    return Peaks(most_allocated, most_reserved)


def block_bytes(size: int) -> int:
    """What an allocation of so many bytes takes."""
    return max(BLOCK, -(-size // BLOCK) * BLOCK)


def segment_bytes(size: int) -> int:
    """The segment that is taken for a block where none has room."""
    if size <= SMALL:
        return SMALL_SEGMENT
    return LARGE_SEGMENT if size < LARGE else -(-size // SEGMENT_STEP) * SEGMENT_STEP
