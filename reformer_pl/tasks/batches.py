"""What every task shares: batches as a pure function of (seed, step), so that a resumed run sees what an undisturbed one would have seen.

Shapes: B sequences, L length. A batch is (tokens (B, L) int64, scored (B, L) bool).
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from reformer_pl.config import RunConfig

Batch = tuple[Tensor, Tensor]


def generator(*words: int) -> torch.Generator:
    """A CPU generator that depends on every word and on nothing else."""
    seed = 0
    for word in words:
        seed = (seed * 6364136223846793005 + word + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(seed)


class SequenceData(LightningDataModule):
    """A task: train_batch and eval_batch are pure functions, and ranks share each batch row by row."""

    vocab_size: int

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.config = config.task
        self.seed = config.seed

    @abstractmethod
    def train_batch(self, step: int) -> Batch:
        """All task.batch_size sequences of one step."""

    @abstractmethod
    def eval_batch(self, index: int) -> Batch:
        """The held-out batch of that index; all of them together are fixed."""

    @abstractmethod
    def baseline(self) -> dict[str, float | str]:
        """What a model that has learnt nothing from context scores: name, loss_nats, bits_per_dim, accuracy (0-1)."""

    @property
    def n_eval_sequences(self) -> int:
        return self.config.eval_sequences

    @property
    def n_eval_batches(self) -> int:
        return math.ceil(self.n_eval_sequences / self.config.batch_size)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            _TrainBatches(self, *self._place(), self.trainer.global_step), batch_size=None
        )

    def val_dataloader(self) -> DataLoader:
        """Every held-out batch; while training, as many as task.curve_sequences asks for, spread evenly."""
        batches = wanted = self.n_eval_batches
        if self.config.curve_sequences and self.trainer.state.fn == "fit":
            wanted = min(batches, math.ceil(self.config.curve_sequences / self.config.batch_size))
        return DataLoader(
            _EvalBatches(self, *self._place(), [i * batches // wanted for i in range(wanted)]),
            batch_size=None,
        )

    def _place(self) -> tuple[int, int]:
        return self.trainer.global_rank, self.trainer.world_size


class _TrainBatches(IterableDataset):
    """Endless, from the step the trainer stands at: a resumed run continues where it was."""

    def __init__(self, task: SequenceData, rank: int, world: int, start: int) -> None:
        self.task, self.rank, self.world, self.step = task, rank, world, start

    def __iter__(self) -> Iterator[Batch]:
        step = self.step
        while True:
            tokens, scored = self.task.train_batch(step)
            yield tokens[self.rank :: self.world], scored[self.rank :: self.world]
            step += 1


class _EvalBatches(IterableDataset):
    """A rank's rows of each batch, as in training: a whole batch would need the memory of all devices."""

    def __init__(self, task: SequenceData, rank: int, world: int, indices: Sequence[int]) -> None:
        self.task, self.rank, self.world, self.indices = task, rank, world, indices

    def __iter__(self) -> Iterator[Batch]:
        for index in self.indices:
            tokens, scored = self.task.eval_batch(index)
            if self.rank < len(tokens):  # the last batch may have fewer rows than there are ranks
                yield tokens[self.rank :: self.world], scored[self.rank :: self.world]
