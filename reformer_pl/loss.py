"""The loss of a task, whole or in chunks (paper, section 3), and its means over a run.

Shapes: B batch, L length, l tokens of one chunk, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchmetrics import MeanMetric


class Loss(Protocol):
    """What a task offers as its loss: a tuple of sums, so that chunks add up field by field.

    A field is a scalar, or (B,) where something is counted within each sequence.
    """

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, scored: Tensor) -> Self:
        """The sums of one chunk: logits (B, l, V), targets (B, l) ids, scored (B, l) bool."""

    def mean(self) -> Tensor:
        """The training loss, a differentiable scalar; finite where no token is scored."""

    def values(self) -> dict[str, tuple[Tensor, Tensor]]:
        """(mean, its weight) for each metric of the task, by name; the training loss first.

        Batches of a step, and ranks, are joined by these weights.
        """


class TokenLoss(NamedTuple):
    """Cross-entropy: sums over the scored tokens, so that chunks, batches and ranks add up."""

    nats: Tensor  # scalar, differentiable
    correct: Tensor  # scalar
    tokens: Tensor  # scalar

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, scored: Tensor) -> Self:
        tokens = scored.sum()
        nats = F.cross_entropy(
            logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)),
            targets.flatten(),
            reduction="none",
        )
        correct = (logits.argmax(-1) == targets) & scored
        return cls((nats * scored.flatten()).sum(), correct.sum(), tokens)

    def mean(self) -> Tensor:
        """Nats per scored token; 0 where there is none."""
        return self.nats / self.tokens.clamp(min=1)

    def values(self) -> dict[str, tuple[Tensor, Tensor]]:
        """loss_nats and accuracy (0-1), and the nats again, of which bits_per_dim is made."""
        nats, accuracy = self.mean().detach().float(), self.correct / self.tokens.clamp(min=1)
        return {
            "loss_nats": (nats, self.tokens),
            "accuracy": (accuracy, self.tokens),
            "bits_per_dim": (nats, self.tokens),
        }


def token_loss(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    scored: Tensor,
    loss_chunks: int = 1,
    loss: type[Loss] = TokenLoss,
) -> Loss:
    """The loss of the tokens where `scored` (B, L) is True; hidden (B, L, d), targets (B, L).

    With loss_chunks > 1 one chunk's (B, L / loss_chunks, V) logits are alive at a time, in the
    backward pass too.
    """

    def chunk_loss(hidden: Tensor, targets: Tensor, scored: Tensor) -> Loss:
        return loss.of(head(hidden), targets, scored)

    if loss_chunks == 1:
        return chunk_loss(hidden, targets, scored)
    parts = [x.chunk(loss_chunks, dim=1) for x in (hidden, targets, scored)]
    sums = [
        checkpoint(chunk_loss, *part, use_reentrant=False, preserve_rng_state=False)
        for part in zip(*parts, strict=True)
    ]
    return loss(*(torch.stack(field).sum(0) for field in zip(*sums, strict=True)))


class WeightedMean(MeanMetric):
    """A mean over all batches and ranks, over `divisor`. NaN is kept, so that a broken run shows.

    torchmetrics 1.9 drops the weights where it keeps NaN (nan_strategy="disable"): a last batch of
    one sequence would count as much as a whole one.
    """

    def __init__(self, divisor: float = 1.0) -> None:
        super().__init__()
        self.divisor = divisor

    def update(self, value: Tensor, weight: Tensor) -> None:
        """value: mean of a batch; weight: what it is a mean over, such as its tokens."""
        self.mean_value += value * weight
        self.weight += weight

    def compute(self) -> Tensor:
        return super().compute() / self.divisor
