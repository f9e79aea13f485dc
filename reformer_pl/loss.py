"""The token loss, whole or in chunks (paper, section 3), and bits per dimension.

Shapes: B batch, L length, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchmetrics import MeanMetric


class TokenLoss(NamedTuple):
    """Sums over the scored tokens, so that chunks, batches and ranks add up."""

    nats: Tensor  # scalar, differentiable
    correct: Tensor  # scalar
    tokens: Tensor  # scalar

    def mean(self) -> Tensor:
        return self.nats / self.tokens


def token_loss(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    scored: Tensor,
    loss_chunks: int = 1,
) -> TokenLoss:
    """Cross-entropy in nats, summed over the tokens where `scored` (B, L) is True; hidden (B, L, d), targets (B, L).

    With loss_chunks > 1 one chunk's (B, L / loss_chunks, V) logits are alive at a time, in the backward pass too.
    """
    tokens = scored.sum()
    if loss_chunks == 1:
        nats, correct = _sums(hidden, head, targets, scored)
        return TokenLoss(nats, correct, tokens)
    parts = [x.chunk(loss_chunks, dim=1) for x in (hidden, targets, scored)]
    sums = [
        checkpoint(_sums, h, head, t, s, use_reentrant=False, preserve_rng_state=False)
        for h, t, s in zip(*parts, strict=True)
    ]
    nats, correct = (torch.stack(x).sum() for x in zip(*sums, strict=True))
    return TokenLoss(nats, correct, tokens)


def _sums(
    hidden: Tensor, head: Callable[[Tensor], Tensor], targets: Tensor, scored: Tensor
) -> tuple[Tensor, Tensor]:
    logits = head(hidden)
    nats = F.cross_entropy(
        logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)),
        targets.flatten(),
        reduction="none",
    )
    correct = (logits.argmax(-1) == targets) & scored
    return (nats * scored.flatten()).sum(), correct.sum()


class TokenMean(MeanMetric):
    """A mean over tokens of all batches and ranks. NaN is kept, so that a broken run shows.

    torchmetrics 1.9 drops the weights where it is told to keep NaN (nan_strategy="disable"): a last batch of one sequence would count as
    much as a whole one.
    """

    def update(self, value: Tensor, weight: Tensor) -> None:
        """value: mean of a batch; weight: its tokens."""
        self.mean_value += value * weight
        self.weight += weight


class BitsPerDim(TokenMean):
    """Mean nats over ln 2."""

    def compute(self) -> Tensor:
        return super().compute() / math.log(2)
