"""The valid words, and the rules between values.

Each rule returns what follows from the values, or raises ConfigError with the fix. They are plain
functions of plain values, so that the config, the tensor functions and a user's own code obey the
same rules.
"""

import math
from collections.abc import Sequence
from typing import Any

ATTENTIONS = ("full", "shared_full", "lsh", "local", "sinks", "blocks", "topk")
SHARED_QK = (
    "shared_full",
    "lsh",
)  # these have the same parameters, and each can score a model trained with the other
RESIDUALS = ("standard", "checkpoint", "reversible")
MERGES = ("mean", "concat")
PARTS = {"held_out": "held-out part", "test": "test part"}  # of the data, which are scored
SPLITS = tuple(PARTS)
POSITIONS = ("learned", "axial", "rotary", "none")
ANY_LENGTH = ("rotary", "none")  # positions without weights: a model of them takes any length
WINDOWS = ("chunk", "causal", "wrap")
ROADS = ("auto", "triton", "efficient", "flash", "plain")
TASKS = ("duplication", "enwik8", "recall")
OPTIMIZERS = ("adam", "adafactor")
SCHEDULES = ("constant", "rsqrt", "cosine")
RECALL_KEYS = 64  # of the vocabulary of task.name=recall
PRECISIONS = ("32-true", "bf16-mixed", "64-true")
MATMUL_PRECISIONS = ("highest", "high", "medium")
ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("auto", "ddp")
LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")
TRACKERS = {  # the packages that a logger needs: an extra of its name installs them
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
MEASURES = ("none", "attention", "layer", "step")
PEERS = ("none", "naive", "transformers", "lucidrains")
PEER_PACKAGES = {"transformers": "transformers", "lucidrains": "reformer_pytorch"}  # extra `peers`


class ConfigError(ValueError):
    """Bad input: one sentence that says the fix. The command line prints it and exits with 2."""


def attention_pattern(attention: str, n_layers: int) -> list[str]:
    """The attention word of each layer: the pattern cycled over n_layers."""
    words = attention.split()
    for word in words or [""]:
        check_word("model.attention", word, ATTENTIONS)
    return [words[i % len(words)] for i in range(n_layers)]


def recall_counts(length: int, pairs: int, noise: float) -> tuple[int, int]:
    """(queries, fillers) of task.name=recall: tokens that pairs and queries leave are fillers.

    Raises ConfigError where there is no room for one query.
    """
    if not 1 <= pairs <= RECALL_KEYS:
        raise ConfigError(f"task.pairs {pairs} must be 1 to {RECALL_KEYS}, the number of keys")
    if not 0 <= noise < 1:
        raise ConfigError(f"task.noise {noise} is a share of the tokens: at least 0 and below 1")
    fillers = round(noise * length)
    queries = (length - fillers - 2 * pairs) // 2
    if queries < 1:
        raise ConfigError(
            f"task.length {length} has no room for a query: {pairs} pairs take {2 * pairs} tokens, "
            f"task.noise={noise} takes {fillers}, a query takes 2"
        )
    return queries, length - 2 * (pairs + queries)


def axial_split(
    shape: Sequence[int], dims: Sequence[int], d_model: int, length: int
) -> tuple[list[int], list[int]]:
    """(shape, dims) of axial positions.

    Where empty, shape is the squarest factors of length, and dims are equal parts of d_model.
    """
    shape = list(shape)
    if not shape:
        small = next(n for n in range(math.isqrt(length), 0, -1) if length % n == 0)
        shape = [small, length // small]
    check_positive("model.axial.shape", *shape)
    if math.prod(shape) != length:
        rows = math.prod(shape[1:])
        grid = "x".join(map(str, shape))
        reason = (
            f"task.length {length} is not a multiple of {rows}"
            if length % rows
            else f"they hold {math.prod(shape)}"
        )
        raise ConfigError(
            f"model.axial.shape {grid} does not fit: {reason}; "
            f"its product must be task.length {length}"
        )
    if not dims:
        dims = [d_model // len(shape)] * (len(shape) - 1)
        dims = [*dims, d_model - sum(dims)]
    check_positive("model.axial.dims", *dims)
    if len(dims) != len(shape) or sum(dims) != d_model:
        raise ConfigError(
            f"model.axial.dims {list(dims)} must be {len(shape)} numbers that add up to d_model "
            f"{d_model}"
        )
    return shape, list(dims)


def bucket_factors(n_buckets: Any, length: int, chunk_len: int) -> tuple[int, ...]:
    """The factors of the number of buckets, least significant first (paper, section 2).

    Where n_buckets is None they follow from the length, by the rule of the published code.
    """
    if n_buckets is None:
        n = 2 * max(1, length // chunk_len)
        if n <= 128:
            return (n,)
        first = 2 ** math.ceil(math.log2(math.sqrt(n)))
        return (first, 2 * (n // (2 * first)))
    factors = (n_buckets,) if isinstance(n_buckets, int) else tuple(n_buckets)
    if not factors or any(
        isinstance(f, bool) or not isinstance(f, int) or f < 2 or f % 2 for f in factors
    ):
        raise ConfigError(
            f"n_buckets {n_buckets} must be even: each projection and its negative are two buckets"
        )
    return factors


def check_lsh(
    *,
    n_hashes: int,
    chunk_len: int,
    n_buckets: Any,
    causal: bool,
    bucket_mask: bool,
    dedupe: bool,
    window: str,
    road: str,
) -> None:
    """Refuse every illegal mode of LSH attention with the sentence that says why."""
    check_positive("n_hashes", n_hashes)
    check_positive("chunk_len", chunk_len)
    if n_buckets is not None and not isinstance(n_buckets, int | list | tuple):
        raise ConfigError(
            f"n_buckets must be null, an even integer or a list of even factors, not {n_buckets!r}"
        )
    bucket_factors(n_buckets, chunk_len, chunk_len)
    check_word("window", window, WINDOWS)
    check_word("road", road, ROADS)
    if window == "causal" and not (causal and bucket_mask):
        raise ConfigError(
            "window=causal reaches the keys before a token in its own bucket: "
            "it needs causal=true and bucket_mask=true"
        )
    if window == "wrap" and (bucket_mask or dedupe):
        raise ConfigError(
            "window=wrap is one ring over all rounds, as the published code: "
            "it needs bucket_mask=false and dedupe=false"
        )


def check_word(key: str, word: str, valid: tuple[str, ...]) -> None:
    if word not in valid:
        raise ConfigError(f"{key}={word or repr(word)} is unknown: choose {', '.join(valid)}")


def check_positive(key: str, *numbers: int) -> None:
    if any(number < 1 for number in numbers):
        raise ConfigError(
            f"{key} must be at least 1, not {numbers[0] if len(numbers) == 1 else list(numbers)}"
        )
