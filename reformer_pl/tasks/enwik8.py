"""Bytes of Wikipedia (section 5): language modelling, scored in bits per dimension.

A dimension is a byte.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.tasks.batches import Batch, SequenceData, generator
from reformer_pl.tasks.count_models import score_count_models
from reformer_pl.tasks.source import read_source


class Enwik8(SequenceData):
    """An example of length 8:   < t i t l e > A
    scored:                      x x x x x x x x

    The file is cut 90/5/5 by bytes (the published loader cuts by characters). Training windows
    start anywhere in the first part, drawn by (seed, step). Held out are whole, back-to-back
    windows of the second part, all or the first `task.eval_sequences`. With task.split=test they
    are windows of the third part.
    """

    vocab_size = 256

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.text = text = np.frombuffer(read_source(self.config.source), dtype=np.uint8)
        cut, end = int(len(text) * 0.90), int(len(text) * 0.95)
        self.train = text[:cut]
        self.scored = text[cut:end] if self.config.split == "held_out" else text[end:]
        if len(self.scored) < self.config.length:
            raise ConfigError(
                f"task.source={self.config.source} holds {len(text)} bytes: "
                f"the 5% of {self.config.split} are "
                f"shorter than one window of task.length {self.config.length}; "
                "give a longer file or a shorter length"
            )

    def identity(self) -> dict[str, Any]:
        """Of the text, so that a file that was only packed anew is the same."""
        return {"bytes": len(self.text), "sha256": hashlib.sha256(self.text).hexdigest()}

    @property
    def n_eval_sequences(self) -> int:
        whole = len(self.scored) // self.config.length
        return min(self.config.eval_sequences or whole, whole)

    def train_batch(self, step: int) -> Batch:
        starts = torch.randint(
            len(self.train) - self.config.length + 1,
            (self.config.batch_size,),
            generator=generator(self.seed, step),
        )
        return self._windows(self.train, starts.tolist())

    def held_out(self, numbers: Sequence[int]) -> Batch:
        return self._windows(self.scored, [number * self.config.length for number in numbers])

    def baseline(self) -> dict[str, float | str]:
        """Byte frequencies of the training part, scored on the held-out windows."""
        counts = np.bincount(self.train, minlength=256) + 1  # every byte stays possible
        held_out = self.scored[: self.n_eval_sequences * self.config.length]
        nats = float(-np.log(counts / counts.sum())[held_out].mean())
        accuracy = float((held_out == counts.argmax()).mean())
        return {
            "name": "byte frequencies",
            "loss_nats": nats,
            "bits_per_dim": nats / math.log(2),
            "accuracy": accuracy,
        }

    def count_models(self) -> dict[int, float]:
        windows = self.scored[: self.n_eval_sequences * self.config.length]
        return score_count_models(self.train, windows.reshape(-1, self.config.length))

    def _windows(self, part: np.ndarray, starts: list[int]) -> Batch:
        tokens = torch.from_numpy(
            np.stack([part[s : s + self.config.length] for s in starts]).astype(np.int64)
        )
        return Batch(tokens, torch.ones(tokens.shape, dtype=torch.bool))
