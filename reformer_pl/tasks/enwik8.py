"""Bytes of Wikipedia (section 5): language modelling, scored in bits per dimension.

A dimension is a byte.
"""

import bz2
import gzip
import hashlib
import lzma
import math
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.tasks.batches import Batch, SequenceData, generator

# 6 MB of the XML that enwik8 is cut from; the gensim package ships it
SAMPLE = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


class Enwik8(SequenceData):
    """An example of length 8:   < t i t l e > A
    scored:                      x x x x x x x x

    The file is cut 90/5/5 by bytes (the published loader cuts by characters). Training windows
    start anywhere in the first part, drawn by (seed, step). Held out are whole, back-to-back
    windows of the second part, all or the first `task.eval_sequences`. The third part is left for a
    final test.
    """

    vocab_size = 256

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        text = np.frombuffer(read_source(self.config.source), dtype=np.uint8)
        self.text = text
        cut, end = int(len(text) * 0.90), int(len(text) * 0.95)
        self.train, self.valid = text[:cut], text[cut:end]
        if len(self.valid) < self.config.length:
            raise ConfigError(
                f"task.source={self.config.source} holds {len(text)} bytes: "
                "its 5% held-out part is "
                f"shorter than one window of task.length {self.config.length}; "
                "give a longer file or a shorter length"
            )

    def identity(self) -> dict[str, Any]:
        """Of the text, so that a file that was only packed anew is the same."""
        return {"bytes": len(self.text), "sha256": hashlib.sha256(self.text).hexdigest()}

    @property
    def n_eval_sequences(self) -> int:
        whole = len(self.valid) // self.config.length
        return min(self.config.eval_sequences or whole, whole)

    def train_batch(self, step: int) -> Batch:
        starts = torch.randint(
            len(self.train) - self.config.length + 1,
            (self.config.batch_size,),
            generator=generator(self.seed, step),
        )
        return self._windows(self.train, starts.tolist())

    def eval_batch(self, index: int) -> Batch:
        first = index * self.config.batch_size
        stop = min(first + self.config.batch_size, self.n_eval_sequences)
        return self._windows(self.valid, [i * self.config.length for i in range(first, stop)])

    def baseline(self) -> dict[str, float | str]:
        """Byte frequencies of the training part, scored on the held-out windows."""
        counts = np.bincount(self.train, minlength=256) + 1  # every byte stays possible
        held_out = self.valid[: self.n_eval_sequences * self.config.length]
        nats = float(-np.log(counts / counts.sum())[held_out].mean())
        accuracy = float((held_out == counts.argmax()).mean())
        return {
            "name": "byte frequencies",
            "loss_nats": nats,
            "bits_per_dim": nats / math.log(2),
            "accuracy": accuracy,
        }

    def _windows(self, part: np.ndarray, starts: list[int]) -> Batch:
        tokens = torch.from_numpy(
            np.stack([part[s : s + self.config.length] for s in starts]).astype(np.int64)
        )
        return Batch(tokens, torch.ones(tokens.shape, dtype=torch.bool))


def read_source(source: str) -> bytes:
    """The bytes of task.source: "sample", or a plain, zip, gz, bz2 or xz file.

    Raises ConfigError for one that cannot be read.
    """
    try:
        path = _sample() if source == "sample" else Path(source).expanduser()
        there = path.is_file()
    except (OSError, RuntimeError) as error:  # a folder not to be searched, a long name, ~nobody
        raise ConfigError(
            f"task.source={source} cannot be read ({error}): "
            "give the path of enwik8, or task.source=sample"
        ) from error
    if not there:
        raise ConfigError(
            f"task.source={source} is not a file: give the path of enwik8 "
            "(plain, zip, gz, bz2 or xz), or task.source=sample"
        )
    try:
        match path.suffix:
            case ".gz":
                data = gzip.decompress(path.read_bytes())
            case ".bz2":
                data = bz2.decompress(path.read_bytes())
            case ".xz":
                data = lzma.decompress(path.read_bytes())
            case ".zip":
                with zipfile.ZipFile(path) as archive:
                    members = [name for name in archive.namelist() if not name.endswith("/")]
                    data = archive.read(members[0])
            case _:
                data = path.read_bytes()
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        IndexError,
        lzma.LZMAError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ConfigError(
            f"task.source={source} cannot be read ({error}): fetch the file again"
        ) from error
    if not data:
        raise ConfigError(f"task.source={source} is empty: fetch the file again")
    return data


def _sample() -> Path:
    package = find_spec("gensim")  # found without importing it: only its data is wanted
    if package is None or package.origin is None:
        raise ConfigError("task.source=sample needs the sample text: pip install -e '.[samples]'")
    return Path(package.origin).parent / SAMPLE
