"""How many keys a query reaches: one axis for LSH and for its rivals.

Keys per token are the mean number of distinct keys that one query reaches, over positions, heads,
layers and sequences. A key that several rounds reach counts once.

Shapes: B batch, H heads, N = B*H sequences, R rounds, L length, P = L padded to a multiple of the
chunk, m chunk_len; a tile is g sequences x T chunks of m queries, each over 2m keys.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reformer_pl.attention import LSHAttention
from reformer_pl.config import ModelConfig
from reformer_pl.config.rules import attention_pattern
from reformer_pl.lsh.budget import tile_bytes
from reformer_pl.lsh.masks import pairs
from reformer_pl.lsh.plan import Plan
from reformer_pl.model import SequenceModel


def keys_by_place(word: str, config: ModelConfig, length: int) -> Tensor | None:
    """(L,) int64: how many keys the query at each place reaches, where no data decide it.

    `word` is one of `model.attention`. None of `lsh`, whose keys are counted (`keys_reached`), and
    of an attention without a case here.
    """
    place = torch.arange(length)
    match word:
        case "full":
            return place + 1
        case "shared_full":  # itself only where there is nothing else
            return place.clamp(min=1)
        case "local":
            m = config.local.chunk_len
            return place + 1 - m * (place // m - 1).clamp(min=0)
        case "sinks":
            window = config.sinks.window
            return (place + 1).clamp(max=window) + (place + 1 - window).clamp(
                0, config.sinks.n_sinks
            )
        case "blocks":
            m = config.blocks.chunk_len
            return place % m + 1 + m * (place // m).clamp(max=config.blocks.top_k)
        case "topk":
            return (place + 1).clamp(max=config.topk.n_keys)
        case _:
            return None


@torch.no_grad()
def keys_reached(plan: Plan) -> Tensor:
    """(N, P) int64: how many distinct keys each query reaches, in all rounds of a plan together.

    By position; 0 of padding. A query that reaches no other token attends to itself: 1. Time is
    O(N P m R^2), as that of the masks of LSH attention is. Memory is O(N P), and one tile.
    """
    n, rounds, p = plan.code.shape
    m, device = plan.chunk_len, plan.code.device
    padded = None
    if plan.padded is not None:
        padded = plan.padded.repeat_interleave(n // len(plan.padded), 0)
    counts = torch.zeros(n, p, dtype=torch.int64, device=device)
    at_once = max(1, tile_bytes(device) // (8 * m * m))  # chunks, of 2m keys of 4 bytes a query
    n_rows, width = max(1, at_once * m // p), min(at_once, p // m)
    for first, r in itertools.product(range(0, n, n_rows), range(rounds)):
        some = slice(first, first + n_rows)
        # The chunk before the first is the last of the round before, as window="wrap" has it.
        ring = torch.cat([plan.order[some, r - 1, p - m :], plan.order[some, r]], 1).long()
        hidden = None if padded is None else padded[some].gather(1, ring)
        codes = [plan.code[some, e].gather(1, ring) for e in range(rounds)]
        for c in range(0, p // m, width):
            stop = min(c + width, p // m)
            new = _first_reached(plan, r, codes, ring, c, stop)
            if hidden is not None:
                new &= ~pairs(hidden, m, c, stop)[0]
            queries = ring[:, (c + 1) * m : (stop + 1) * m]
            counts[some].scatter_add_(1, queries, new.sum(-1).flatten(1))
    counts.clamp_(min=1)
    return counts if padded is None else counts.masked_fill(padded, 0)


def _first_reached(
    plan: Plan, r: int, codes: list[Tensor], ring: Tensor, c: int, stop: int
) -> Tensor:
    """(g, T, m, 2m) of chunks c to stop: whether round r is the first to reach each pair.

    A ring has a number for each sorted token of round r: `ring` its position, `codes` its code in
    every round. Padding counts as any other token.
    """
    m = plan.chunk_len
    key, query = pairs(ring, m, c, stop)
    new = key < query if plan.causal else key != query
    if plan.window != "wrap":  # where the whole of the two chunks is reached
        new &= _in_reach(plan, codes, r, c, stop)
    if c == 0 and plan.window == "wrap":  # a key of both rounds' chunks counts once
        new[:, 0, :, :m] &= codes[r][:, None, :m] != 0
    elif c == 0:
        new[:, 0, :, :m] = False
    for earlier in range(r):
        new &= ~_in_reach(plan, codes, earlier, c, stop)
    return new


def _in_reach(plan: Plan, codes: list[Tensor], r: int, c: int, stop: int) -> Tensor:
    """(g, T, m, 2m): whether round r reaches the pairs of another round's tile, by their codes."""
    m = plan.chunk_len
    lowest, highest = (1, m) if plan.window == "causal" else (0, 1)
    key, query = pairs(codes[r], m, c, stop)
    back = query - key
    hit = (back >= lowest) & (back <= highest)
    if plan.window == "wrap":  # codes are chunks, and the first looks back to the round before
        last = plan.code.shape[2] // m - 1
        hit |= (query == 0) & (pairs(codes[r - 1], m, c, stop)[0] == last)
    return hit


class KeyCount:
    """Keys per token of a model: by the definition where it says them, else counted meanwhile."""

    def __init__(self, model: SequenceModel) -> None:
        words = attention_pattern(model.config.attention, model.config.n_layers)
        self.by_layer = {
            layer: keys_by_place(word, model.config, model.length)
            for layer, word in enumerate(words)
            if word != "lsh"
        }
        self.n_layers = len(words)
        self.counted = torch.zeros(2, dtype=torch.int64)  # keys and queries of layers of lsh

    def add(self, plan: Plan) -> None:
        """One forward pass of one layer of lsh."""
        keys = keys_reached(plan)
        both = torch.stack([keys.sum(), (keys > 0).sum()])
        self.counted = self.counted.to(both.device) + both

    def mean(
        self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda counted: counted
    ) -> float | None:
        """The mean over all layers.

        None where a layer's attention says nothing of its keys, or no forward pass was counted.
        """
        if any(keys is None for keys in self.by_layer.values()):
            return None
        total = sum(float(keys.double().mean()) for keys in self.by_layer.values())
        n_counted = self.n_layers - len(self.by_layer)
        if n_counted:
            keys, queries = sum_over_ranks(self.counted).tolist()
            if not queries:
                return None
            total += n_counted * keys / queries
        return total / self.n_layers


@contextmanager
def counted_keys(model: SequenceModel) -> Iterator[KeyCount]:
    """Counts in every forward pass of the model inside. Nothing is left on the modules."""
    count = KeyCount(model)

    def hook(attention: nn.Module, inputs: Any, output: Any) -> None:
        count.add(output[1].plan)

    hooks = [
        attention.register_forward_hook(hook)
        for _, attention, _ in model.attentions()
        if isinstance(attention, LSHAttention)
    ]
    try:
        yield count
    finally:
        for handle in hooks:
            handle.remove()
