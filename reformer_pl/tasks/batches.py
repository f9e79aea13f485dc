"""What every task shares: batches as a pure function of (seed, step).

So a resumed run sees what an undisturbed one would have seen. Shapes: B sequences, L length.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.cuda import set_device
from torch.utils.data import DataLoader, IterableDataset

from reformer_pl.config import RunConfig
from reformer_pl.loss import Loss, TokenLoss


class Batch(NamedTuple):
    """Some sequences, and which of their tokens count."""

    tokens: Tensor  # (B, L) int64 ids
    scored: Tensor  # (B, L) bool; or uint8, 0 or the slice that a scored token counts for

    def rows(self, rank: int, world_size: int) -> "Batch":
        """One rank's sequences, as views of the whole batch."""
        return Batch(*(part[rank::world_size] for part in self))


def generator(*words: int) -> torch.Generator:
    """A CPU generator that depends on every word and on nothing else."""
    seed = 0
    for word in words:
        seed = (seed * 6364136223846793005 + word + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(seed)


class SequenceData(LightningDataModule):
    """A task: its batches, its loss and its baseline. `reformer_pl.metrics` names its scores.

    train_batch and held_out are pure functions. Ranks share each batch row by row.
    """

    vocab_size: int
    loss: type[Loss] = TokenLoss

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.config = config.task
        self.seed = config.seed
        # Sequences scored at a time: as many as are trained on at a time, so that memory suffices.
        self.scored_at_once = max(1, config.task.batch_size // config.optim.accumulate)

    @abstractmethod
    def train_batch(self, step: int) -> Batch:
        """All task.batch_size sequences of one step."""

    @abstractmethod
    def held_out(self, numbers: Sequence[int]) -> Batch:
        """The held-out sequences of these numbers, which count from 0 to n_eval_sequences - 1.

        A number names one sequence, whatever the seed and the batch size.
        """

    def eval_batch(self, index: int) -> Batch:
        """The held-out sequences in their order, task.batch_size at a time."""
        first = index * self.config.batch_size
        return self.held_out(
            range(first, min(first + self.config.batch_size, self.n_eval_sequences))
        )

    @abstractmethod
    def baseline(self) -> dict[str, float | str]:
        """What a model that has learnt nothing from context scores: its name, and each metric."""

    def count_models(self) -> dict[int, float]:
        """Bits per dimension of count models by their bytes of context; empty where none apply."""
        return {}

    def identity(self) -> dict[str, Any]:
        """The bytes that the task read, as their number and SHA-256; empty where it draws all."""
        return {}

    @property
    def n_eval_sequences(self) -> int:
        return self.config.eval_sequences

    @property
    def n_eval_batches(self) -> int:
        return math.ceil(self.n_eval_sequences / self.config.batch_size)

    def train_dataloader(self) -> DataLoader:
        start = self.trainer.global_step * self.trainer.accumulate_grad_batches
        return self._loader(_TrainBatches(self, *self._place(), start))

    def val_dataloader(self) -> DataLoader:
        """Every held-out sequence.

        While training, only as many as task.curve_sequences asks for, spread evenly. Which ones
        does not depend on the batch size.
        """
        whole = wanted = self.n_eval_sequences
        if self.config.curve_sequences and self.trainer.state.fn == "fit":
            wanted = min(whole, self.config.curve_sequences)
        numbers = [i * whole // wanted for i in range(wanted)]
        return self._loader(_EvalBatches(self, *self._place(), numbers))

    def _loader(self, batches: IterableDataset) -> DataLoader:
        device = self.trainer.strategy.root_device
        if device.type == "cuda":
            batches = _MadeAhead(batches, device)
        return DataLoader(batches, batch_size=None)

    def _place(self) -> tuple[int, int]:
        return self.trainer.global_rank, self.trainer.world_size


class _MadeAhead(IterableDataset):
    """The same batches, each made and pinned in a thread while the GPU works on the one before."""

    def __init__(self, batches: IterableDataset, device: torch.device) -> None:
        self.batches, self.device = batches, device

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.batches)

        def pinned() -> Batch | None:
            batch = next(batches, None)
            return None if batch is None else Batch(*(part.pin_memory() for part in batch))

        # A thread that pins would else make itself a context on the first GPU.
        with ThreadPoolExecutor(1, initializer=set_device, initargs=(self.device,)) as thread:
            waiting = thread.submit(pinned)
            while (batch := waiting.result()) is not None:
                waiting = thread.submit(pinned)
                yield batch


class _TrainBatches(IterableDataset):
    """Endless, from the batch the trainer stands at: a resumed run continues where it was."""

    def __init__(self, task: SequenceData, rank: int, world: int, start: int) -> None:
        self.task, self.rank, self.world, self.step = task, rank, world, start

    def __iter__(self) -> Iterator[Batch]:
        step = self.step
        while True:
            yield self.task.train_batch(step).rows(self.rank, self.world)
            step += 1


class _EvalBatches(IterableDataset):
    """A rank's rows of each batch, for a whole one would need the memory of all devices."""

    def __init__(self, task: SequenceData, rank: int, world: int, numbers: Sequence[int]) -> None:
        self.task, self.rank, self.world, self.numbers = task, rank, world, numbers

    def __iter__(self) -> Iterator[Batch]:
        size = self.task.scored_at_once
        for first in range(0, len(self.numbers), size):
            batch = self.task.held_out(self.numbers[first : first + size])
            if self.rank < len(batch.tokens):  # the last one may have fewer rows than ranks
                yield batch.rows(self.rank, self.world)
