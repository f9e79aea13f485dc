"""The paper's synthetic task (section 2.1): say the word again."""

import math
from collections.abc import Sequence

import torch

from reformer_pl.tasks.batches import Batch, SequenceData, generator

N_SYMBOLS = 127
TRAIN = 0
SCORED = {"held_out": 1, "test": 2}  # another draw for each part


class Duplication(SequenceData):
    """An example of length 8:   0 5 3 9   0 5 3 9
    scored (w's second copy):    . . . .   . x x x

    w is uniform over {1..127}, so a model that does not look back is right once in 127. Training
    words are drawn by (seed, step). The held-out words are the same for every seed.
    """

    vocab_size = N_SYMBOLS + 1

    def train_batch(self, step: int) -> Batch:
        return self._draw(self.config.batch_size, TRAIN, self.seed, step)

    def held_out(self, numbers: Sequence[int]) -> Batch:
        words = [self._draw(1, SCORED[self.config.split], number) for number in numbers]
        return Batch(*(torch.cat(parts) for parts in zip(*words, strict=True)))

    def baseline(self) -> dict[str, float | str]:
        nats = math.log(N_SYMBOLS)
        return {
            "name": "chance, 1/127",
            "loss_nats": nats,
            "bits_per_dim": nats / math.log(2),
            "accuracy": 1 / N_SYMBOLS,
        }

    def _draw(self, size: int, *key: int) -> Batch:
        half = self.config.length // 2
        word = torch.randint(1, N_SYMBOLS + 1, (size, half), generator=generator(*key))
        word[:, 0] = 0
        scored = torch.zeros(size, 2 * half, dtype=torch.bool)
        scored[:, half + 1 :] = True
        return Batch(torch.cat([word, word], 1), scored)
