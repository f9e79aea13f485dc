"""Multi-query associative recall: which value came with this key?

The task of zoology (arXiv 2312.04927), with the filler tokens of MAD's noisy recall (arXiv
2403.17844). A model must look back by content: position alone does not say where a pair stood.

Shapes: B sequences, L length, P pairs, Q queries, U = P + Q units of two tokens, F fillers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.config.rules import RECALL_KEYS as N_KEYS
from reformer_pl.config.rules import recall_counts
from reformer_pl.metrics import RECALL_SLICES
from reformer_pl.tasks.batches import Batch, SequenceData, generator

N_VALUES = 64
N_FILLERS = 16
TRAIN = 0
SCORED = {"held_out": 1, "test": 2}  # another draw for each part
N_SLICES = len(RECALL_SLICES)


class RecallLoss(NamedTuple):
    """Cross-entropy, and the accuracy by the distance that the model had to look back."""

    nats: Tensor  # scalar, differentiable
    correct: Tensor  # (slices,)
    tokens: Tensor  # (slices,)

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, scored: Tensor) -> Self:
        """`scored` holds the number of the slice, from 1; 0 is not scored."""
        nats = F.cross_entropy(
            logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)),
            targets.flatten(),
            reduction="none",
        )
        member = F.one_hot(scored.flatten().long(), N_SLICES + 1)[:, 1:]  # (B*l, slices)
        correct = (logits.argmax(-1) == targets).flatten()[:, None] & member.bool()
        return cls((nats * (scored.flatten() > 0)).sum(), correct.sum(0), member.sum(0))

    def mean(self) -> Tensor:
        """Nats per scored token; 0 where there is none."""
        return self.nats / self.tokens.sum().clamp(min=1)

    def values(self) -> dict[str, tuple[Tensor, Tensor]]:
        """loss_nats, accuracy (0-1), and the accuracy of each slice, which may be empty."""
        tokens = self.tokens.sum()
        by_slice = self.correct / self.tokens.clamp(min=1)
        return {
            "loss_nats": (self.mean().detach().float(), tokens),
            "accuracy": (self.correct.sum() / tokens.clamp(min=1), tokens),
        } | {metric.name: (by_slice[i], self.tokens[i]) for i, metric in enumerate(RECALL_SLICES)}


class Recall(SequenceData):
    """An example of length 12, with 2 pairs (keys a b, values 1 2) and 4 fillers (~):

        a 1 ~ b 2 ~ b 2 ~ a 1 ~
    scored:
        . . . . . . . x . . x .

    First come task.pairs pairs of a key and a value, then the keys again, in another order, each
    followed by its value. Only these values are scored. Where there is room for more queries than
    pairs, the keys are asked again, in a new order. task.noise is the share of the tokens that are
    fillers, between pairs and queries. Keys are 0 to 63, values 64 to 127, fillers 128 to 143.

    Training sequences are drawn by (seed, step). The held-out ones are the same for every seed.
    """

    vocab_size = N_KEYS + N_VALUES + N_FILLERS
    loss = RecallLoss

    def train_batch(self, step: int) -> Batch:
        return self._draw(self.config.batch_size, TRAIN, self.seed, step)

    def held_out(self, numbers: Sequence[int]) -> Batch:
        rows = [self._draw(1, SCORED[self.config.split], number) for number in numbers]
        return Batch(*(torch.cat(parts) for parts in zip(*rows, strict=True)))

    def baseline(self) -> dict[str, float | str]:
        chance = 1 / N_VALUES
        return {
            "name": f"chance, 1/{N_VALUES}",
            "loss_nats": math.log(N_VALUES),
            "accuracy": chance,
        } | {metric.name: chance for metric in RECALL_SLICES}

    def _draw(self, size: int, *words: int) -> Batch:
        length, pairs = self.config.length, self.config.pairs
        queries, fillers = recall_counts(length, pairs, self.config.noise)
        draw = generator(*words)
        keys = _orders(size, N_KEYS, draw)[:, :pairs]  # (B, P), all distinct
        values = torch.randint(N_KEYS, N_KEYS + N_VALUES, (size, pairs), generator=draw)
        n_orders = math.ceil(queries / pairs)
        orders = torch.stack([_orders(size, pairs, draw) for _ in range(n_orders)], 1)
        asked = orders.flatten(1)[:, :queries]  # (B, Q): which pair
        pair = torch.cat([torch.arange(pairs).expand(size, -1), asked], 1)  # (B, U)

        # Where each unit begins: the fillers are some of the slots, and one token wide.
        is_filler = _orders(size, pairs + queries + fillers, draw) < fillers
        begin = (2 - is_filler.long()).cumsum(1) - 2 + is_filler.long()
        begin = begin[~is_filler].view(size, -1)  # (B, U)
        tokens = torch.randint(N_KEYS + N_VALUES, self.vocab_size, (size, length), generator=draw)
        tokens.scatter_(1, begin, keys.gather(1, pair))
        tokens.scatter_(1, begin + 1, values.gather(1, pair))

        # The unit that had the same key last: the pair, or its query in the order before.
        place = orders.argsort(-1).flatten(1)  # (B, orders * P): where an order asks for a pair
        before = torch.arange(queries) // pairs - 1  # (Q,)
        earlier = place.gather(1, before.clamp(min=0) * pairs + asked) + pairs * (before + 1)
        last = torch.where(before < 0, asked, earlier)
        distance = begin[:, pairs:] - begin.gather(1, last)
        slices = 1 + (distance * N_SLICES - 1).div(length, rounding_mode="floor")
        scored = torch.zeros(size, length, dtype=torch.uint8)
        scored.scatter_(1, begin[:, pairs:] + 1, slices.to(torch.uint8))
        return Batch(tokens, scored)


def _orders(size: int, n: int, draw: torch.Generator) -> Tensor:
    """(size, n): a random order of 0 to n - 1 in each row."""
    return torch.rand(size, n, generator=draw).argsort(1)
