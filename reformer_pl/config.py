"""The typed configuration of one run: every default lives here, once, and every illegal combination is refused here.

This file imports neither torch nor Hydra, so that a sweep can check a thousand configs in seconds.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

ATTENTIONS = ("full", "shared_full", "lsh", "local")
RESIDUALS = ("standard", "checkpoint", "reversible")
MERGES = ("mean", "concat")
POSITIONS = ("learned", "axial")
WINDOWS = ("chunk", "causal", "wrap")
TASKS = ("duplication", "enwik8")
OPTIMIZERS = ("adam", "adafactor")
SCHEDULES = ("constant", "rsqrt", "cosine")
PRECISIONS = ("32-true", "bf16-mixed", "64-true")
ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("auto", "ddp")


class ConfigError(ValueError):
    """Bad input, told in one sentence that says the fix. The command line prints it and exits with 2."""


@dataclass
class LSHConfig:
    """LSH attention, section 2 of the paper. `reformer_pl.lsh.lsh_attention` explains each word."""

    n_hashes: int = 4
    chunk_len: int = 64
    n_buckets: Any = None  # None: 2 * length / chunk_len; an even int; or a list of even factors
    bucket_mask: bool = True
    dedupe: bool = True
    window: str = "chunk"  # chunk | causal | wrap


@dataclass
class LocalConfig:
    """Local attention: each chunk sees itself and the chunk before."""

    chunk_len: int = 64


@dataclass
class AxialConfig:
    """Axial positions: `shape` multiplies to task.length, `dims` adds up to d_model; empty means the squarest split."""

    shape: list[int] = field(default_factory=list)
    dims: list[int] = field(default_factory=list)


@dataclass
class ModelConfig:
    d_model: int = 256
    n_heads: int = 4
    n_layers: int = 1
    d_ff: int = 256
    dropout: float = 0.0
    attention: str = "lsh"  # a word, or a pattern cycled over the layers: "local local lsh local"
    residual: str = "standard"  # standard | checkpoint | reversible
    merge: str = "mean"  # how the two reversible streams end: mean | concat
    ff_chunks: int = 1  # 1 is plain
    loss_chunks: int = 1  # 1 is plain
    positions: str = "learned"  # learned | axial
    lsh: LSHConfig = field(default_factory=LSHConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    axial: AxialConfig = field(default_factory=AxialConfig)


@dataclass
class TaskConfig:
    name: str = "duplication"  # duplication | enwik8
    source: str = "sample"  # enwik8 only: a path (plain, zip, gz, bz2, xz), or "sample"
    length: int = 1024
    batch_size: int = 8  # sequences a step, over all devices together
    eval_sequences: int = 64  # held-out sequences scored; enwik8: 0 is every whole window


@dataclass
class OptimConfig:
    name: str = "adam"  # adam | adafactor
    lr: float = 1e-3  # at the end of the warm-up
    betas: tuple[float, float] = (0.9, 0.98)  # adam only
    warmup_steps: int = 100
    schedule: str = "constant"  # after the warm-up: constant | rsqrt | cosine
    clip_norm: float = 0.0  # 0 is no clipping


@dataclass
class TrainerConfig:
    accelerator: str = "auto"  # auto | cpu | gpu
    devices: int = 1
    strategy: str = "auto"  # auto | ddp
    precision: str = "32-true"  # 32-true | bf16-mixed | 64-true
    max_steps: int = 1000
    eval_every_steps: int = 100  # each evaluation also leaves a checkpoint
    log_every_steps: int = 10
    threads: int = 0  # CPU threads of one process; 0 leaves torch's choice


@dataclass
class RunConfig:
    """One run. `evaluations` names further attention settings to score at the end: {LSH-8: [model.lsh.n_hashes=8]}."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    out_dir: str = ""  # empty: below runs/single, named by the overrides
    evaluations: dict[str, list[str]] = field(default_factory=dict)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The plain dict that is saved: no dataclass or OmegaConf object ever reaches a checkpoint."""
    return asdict(config)


def load(values: dict[str, Any], overrides: Iterable[str] = ()) -> RunConfig:
    """Plain values, then dotted overrides, into a checked RunConfig. Unknown keys and wrong types raise ConfigError."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), values)
        for override in overrides:
            if "=" not in override:
                raise ConfigError(f"override '{override}' is not of the form key=value")
            merged = OmegaConf.merge(merged, OmegaConf.from_dotlist([override]))
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    config.optim.betas = tuple(config.optim.betas)
    return check(config)


def one_line(error: Exception) -> str:
    """An OmegaConf or Hydra error as one sentence that names the key."""
    key = getattr(error, "full_key", None)
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return f"{text} (key {key})" if key and str(key) not in text else text


def attention_pattern(model: ModelConfig) -> list[str]:
    """The attention word of each layer: the pattern cycled over n_layers."""
    words = model.attention.split()
    for word in words or [""]:
        _word("model.attention", word, ATTENTIONS)
    return [words[i % len(words)] for i in range(model.n_layers)]


def axial_split(model: ModelConfig, length: int) -> tuple[list[int], list[int]]:
    """(shape, dims) of axial positions: as configured, or the squarest factors of length and two equal halves."""
    shape = list(model.axial.shape)
    if not shape:
        small = next(n for n in range(math.isqrt(length), 0, -1) if length % n == 0)
        shape = [small, length // small]
    _positive("model.axial.shape", *shape)
    if math.prod(shape) != length:
        rows = math.prod(shape[1:])
        said = "x".join(map(str, shape))
        reason = f"task.length {length} is not a multiple of {rows}" if length % rows else f"they hold {math.prod(shape)}"
        raise ConfigError(f"model.axial.shape {said} does not fit: {reason}; its product must be task.length {length}")
    dims = list(model.axial.dims) or [model.d_model // len(shape)] * (len(shape) - 1)
    if not model.axial.dims:
        dims.append(model.d_model - sum(dims))
    _positive("model.axial.dims", *dims)
    if len(dims) != len(shape) or sum(dims) != model.d_model:
        raise ConfigError(f"model.axial.dims {dims} must be {len(shape)} numbers that add up to d_model {model.d_model}")
    return shape, dims


def bucket_factors(n_buckets: Any, length: int, chunk_len: int) -> tuple[int, ...]:
    """The factors of the number of buckets, least significant first (paper section 2, the published code's rule)."""
    if n_buckets is None:
        n = 2 * max(1, length // chunk_len)
        if n <= 128:
            return (n,)
        first = 2 ** math.ceil(math.log2(math.sqrt(n)))
        return (first, 2 * (n // (2 * first)))
    factors = (n_buckets,) if isinstance(n_buckets, int) else tuple(n_buckets)
    if not factors or any(isinstance(f, bool) or not isinstance(f, int) or f < 2 or f % 2 for f in factors):
        raise ConfigError(f"n_buckets {n_buckets} must be even: each projection and its negative are two buckets")
    return factors


def check_lsh(*, n_hashes: int, chunk_len: int, n_buckets: Any, causal: bool, bucket_mask: bool, dedupe: bool, window: str) -> None:
    """Refuse every illegal mode of LSH attention with the sentence that says why."""
    _positive("n_hashes", n_hashes)
    _positive("chunk_len", chunk_len)
    if n_buckets is not None and not isinstance(n_buckets, int | list | tuple):
        raise ConfigError(f"n_buckets must be null, an even integer or a list of even factors, not {n_buckets!r}")
    bucket_factors(n_buckets, chunk_len, chunk_len)
    _word("window", window, WINDOWS)
    if window == "causal" and not (causal and bucket_mask):
        raise ConfigError("window=causal reaches the keys before a token in its own bucket: it needs causal=true and bucket_mask=true")
    if window == "wrap" and (bucket_mask or dedupe):
        raise ConfigError("window=wrap is one ring over all rounds, as the published code: it needs bucket_mask=false and dedupe=false")


def check(config: RunConfig) -> RunConfig:
    """Every rule between values, in one place. Raises ConfigError; returns the config unchanged."""
    model, task, optim, trainer = config.model, config.task, config.optim, config.trainer
    for name in ("d_model", "n_heads", "n_layers", "d_ff", "ff_chunks", "loss_chunks"):
        _positive(f"model.{name}", getattr(model, name))
    if model.d_model % model.n_heads:
        raise ConfigError(f"model.n_heads {model.n_heads} does not divide model.d_model {model.d_model}")
    if not 0 <= model.dropout < 1:
        raise ConfigError(f"model.dropout {model.dropout} must be at least 0 and below 1")
    _word("model.residual", model.residual, RESIDUALS)
    _word("model.merge", model.merge, MERGES)
    _word("model.positions", model.positions, POSITIONS)
    attention_pattern(model)
    if model.merge == "concat" and model.residual != "reversible":
        raise ConfigError(f"model.merge=concat joins two streams and model.residual={model.residual} has one: use residual=reversible")
    check_lsh(causal=True, **asdict(model.lsh))
    _positive("model.local.chunk_len", model.local.chunk_len)

    _word("task.name", task.name, TASKS)
    for name in ("length", "batch_size"):
        _positive(f"task.{name}", getattr(task, name))
    if task.eval_sequences < (task.name == "duplication"):
        raise ConfigError(f"task.eval_sequences {task.eval_sequences} must be at least 1 (enwik8 alone has 0, every whole window)")
    if task.name == "duplication" and (task.length % 2 or task.length < 4):
        raise ConfigError(f"task.length {task.length} must be even and at least 4: an example is 0 w 0 w")
    for name in ("ff_chunks", "loss_chunks"):
        if getattr(model, name) > task.length:
            raise ConfigError(f"model.{name} {getattr(model, name)} exceeds task.length {task.length}")
    if model.positions == "axial":
        axial_split(model, task.length)

    _word("optim.name", optim.name, OPTIMIZERS)
    _word("optim.schedule", optim.schedule, SCHEDULES)
    if not (optim.lr > 0 and optim.warmup_steps >= 0 and optim.clip_norm >= 0):
        raise ConfigError("optim.lr must be positive, optim.warmup_steps and optim.clip_norm not negative")

    _word("trainer.accelerator", trainer.accelerator, ACCELERATORS)
    _word("trainer.strategy", trainer.strategy, STRATEGIES)
    _word("trainer.precision", trainer.precision, PRECISIONS)
    for name in ("devices", "max_steps", "eval_every_steps", "log_every_steps"):
        _positive(f"trainer.{name}", getattr(trainer, name))
    if trainer.devices > 1 and trainer.strategy != "ddp":
        raise ConfigError(f"trainer.devices {trainer.devices} needs trainer.strategy=ddp (or trainer=ddp)")
    if task.batch_size % trainer.devices:
        raise ConfigError(
            f"task.batch_size {task.batch_size} counts all devices: it must be a multiple of trainer.devices {trainer.devices}"
        )
    if trainer.threads < 0 or config.seed < 0:
        raise ConfigError("trainer.threads and seed must not be negative")
    return config


def _word(key: str, word: str, valid: tuple[str, ...]) -> None:
    if word not in valid:
        raise ConfigError(f"{key}={word or repr(word)} is unknown: choose {', '.join(valid)}")


def _positive(key: str, *numbers: int) -> None:
    if any(number < 1 for number in numbers):
        raise ConfigError(f"{key} must be at least 1, not {numbers[0] if len(numbers) == 1 else list(numbers)}")
