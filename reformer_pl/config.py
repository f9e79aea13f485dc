"""The typed configuration of one run: every default lives here, once, and every illegal combination is refused here.

This file imports neither torch nor Hydra, so that a sweep can check a thousand configs in seconds.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from reformer_pl.benchmark_rules import check_benchmark
from reformer_pl.rules import (
    ACCELERATORS,
    MERGES,
    OPTIMIZERS,
    PEER_PACKAGES,
    POSITIONS,
    PRECISIONS,
    RESIDUALS,
    SCHEDULES,
    SHARED_QK,
    STRATEGIES,
    TASKS,
    ConfigError,
    attention_pattern,
    axial_split,
    check_lsh,
    check_positive,
    check_word,
)


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
    curve_sequences: int = 0  # about so many of them, spread evenly, are scored during training; 0 is all


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
    coverage_every_steps: int = 0  # how much of full attention the hash buckets reach, into coverage.jsonl; 0 is never
    threads: int = 0  # CPU threads of one process; 0 leaves torch's choice


@dataclass
class BenchmarkConfig:
    """What `python -m experiments.benchmark` measures, without training. Length, batch, precision and threads are other groups' words."""

    measure: str = "none"  # none (a training run) | attention (the kernel, hash and sort included) | layer (with its projections) | step
    peer: str = "none"  # none (ours) | naive (full attention that stores its scores) | transformers | lucidrains (the public Reformers)
    paired: bool = False  # attention, layer: timed in turn with fused full attention of the same shape, for the ratio of the two
    repeats: int = 5  # timed repetitions at least, after a warm-up
    seconds: float = 1.0  # and at least so long, together
    memory_limit_gib: float = 0.0  # a case predicted above it does not start: status would_not_fit; 0 is no limit


@dataclass
class RunConfig:
    """One run. `evaluations` names further attention settings to score at the end: {LSH-8: [model.lsh.n_hashes=8]}."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    seed: int = 0
    out_dir: str = ""  # empty: below runs/single, named by the overrides
    evaluations: dict[str, list[str]] = field(default_factory=dict)


# The numbers of a run's result.json: null where a run failed. The last two are its overhead: from the start of the process to the first
# step, and from the end of the last one to the result, which the held-out scores are a part of.
RESULT_NUMBERS = (
    "steps", "loss_nats", "accuracy", "bits_per_dim", "peak_memory_gib", "step_seconds", "tokens_per_second", "parameters", "train_seconds",
    "startup_seconds", "closing_seconds",
)  # fmt: skip
# And of a benchmark's; times are medians, step_seconds is the whole, full_seconds and speedup (full / this) belong to `paired`.
BENCHMARK_NUMBERS = (
    "length", "batch_size", "n_layers", "n_repeats", "forward_seconds", "backward_seconds", "step_seconds", "step_seconds_iqr",
    "full_seconds", "speedup", "peak_memory_gib", "predicted_memory_gib", "tokens_per_second", "parameters",
)  # fmt: skip


def has_begun(directory: Path) -> bool:
    """Whether a run began to train there, so that there is something to lose."""
    return any((directory / name).exists() for name in ("metrics.jsonl", "checkpoints", "result.json"))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The plain dict that is saved: no dataclass or OmegaConf object ever reaches a checkpoint."""
    return asdict(config)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted keys, as overrides name them; tuples as lists, as YAML reads them back."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return out


def changes(before: RunConfig, after: RunConfig) -> str:
    """What differs in the training of two configs, or in what they measure: "model.d_ff 64 -> 128, seed 0 -> 1", or an empty string.

    Neither the place nor the evaluations count, for a trained model can be scored in further ways; nor a benchmark's memory limit.
    """
    old, new = (flat(to_dict(config) | {"out_dir": "", "evaluations": {}}) for config in (before, after))
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key) and key != "benchmark.memory_limit_gib"]
    return ", ".join(f"{key} {old.get(key)} -> {new.get(key)}" for key in keys)


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


def load_evaluation(trained: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The config that scores a trained model in another way. Raises ConfigError where its weights cannot be."""
    changed = load(to_dict(trained), overrides)
    words = (attention_pattern(config.model.attention, config.model.n_layers) for config in (trained, changed))
    for layer, (before, after) in enumerate(zip(*words, strict=False)):
        if (before in SHARED_QK) != (after in SHARED_QK):
            raise ConfigError(
                f"an evaluation keeps the weights: {' and '.join(SHARED_QK)} share queries and keys, the others do not, so a model trained "
                f"with {before} in layer {layer} cannot be scored with {after}"
            )
    return changed


def one_line(error: Exception) -> str:
    """An OmegaConf or Hydra error as one sentence that names the key."""
    key = getattr(error, "full_key", None)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and is_dataclass(error.object_type):
        return f"key {key} is unknown: {error.object_type.__name__} has {', '.join(f.name for f in fields(error.object_type))}"
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return f"{text} (key {key})" if key and str(key) not in text else text


def check(config: RunConfig) -> RunConfig:
    """Every rule between values, in one place. Raises ConfigError; returns the config unchanged."""
    model, task, optim, trainer = config.model, config.task, config.optim, config.trainer
    for name in ("d_model", "n_heads", "n_layers", "d_ff", "ff_chunks", "loss_chunks"):
        check_positive(f"model.{name}", getattr(model, name))
    if model.d_model % model.n_heads:
        raise ConfigError(f"model.n_heads {model.n_heads} does not divide model.d_model {model.d_model}")
    if not 0 <= model.dropout < 1:
        raise ConfigError(f"model.dropout {model.dropout} must be at least 0 and below 1")
    check_word("model.residual", model.residual, RESIDUALS)
    check_word("model.merge", model.merge, MERGES)
    check_word("model.positions", model.positions, POSITIONS)
    attention_pattern(model.attention, model.n_layers)
    if model.merge == "concat" and model.residual != "reversible":
        raise ConfigError(f"model.merge=concat joins two streams and model.residual={model.residual} has one: use residual=reversible")
    check_lsh(causal=True, **asdict(model.lsh))
    check_positive("model.local.chunk_len", model.local.chunk_len)

    check_word("task.name", task.name, TASKS)
    for name in ("length", "batch_size"):
        check_positive(f"task.{name}", getattr(task, name))
    if task.eval_sequences < (task.name == "duplication"):
        raise ConfigError(f"task.eval_sequences {task.eval_sequences} must be at least 1 (enwik8 alone has 0, every whole window)")
    if task.name == "duplication" and (task.length % 2 or task.length < 4):
        raise ConfigError(f"task.length {task.length} must be even and at least 4: an example is 0 w 0 w")
    for name in ("ff_chunks", "loss_chunks"):
        if getattr(model, name) > task.length:
            raise ConfigError(f"model.{name} {getattr(model, name)} exceeds task.length {task.length}")
    if task.curve_sequences < 0:
        raise ConfigError(f"task.curve_sequences {task.curve_sequences} must not be negative")
    if model.positions == "axial":
        axial_split(model.axial.shape, model.axial.dims, model.d_model, task.length)

    check_word("optim.name", optim.name, OPTIMIZERS)
    check_word("optim.schedule", optim.schedule, SCHEDULES)
    if not (0 < optim.lr < float("inf") and optim.warmup_steps >= 0 and 0 <= optim.clip_norm < float("inf")):
        raise ConfigError("optim.lr must be positive and finite, optim.warmup_steps and optim.clip_norm not negative")
    if len(optim.betas) != 2 or not all(0 <= beta < 1 for beta in optim.betas):
        raise ConfigError(f"optim.betas {list(optim.betas)} must be two numbers of at least 0 and below 1")

    check_word("trainer.accelerator", trainer.accelerator, ACCELERATORS)
    check_word("trainer.strategy", trainer.strategy, STRATEGIES)
    check_word("trainer.precision", trainer.precision, PRECISIONS)
    for name in ("devices", "max_steps", "eval_every_steps", "log_every_steps"):
        check_positive(f"trainer.{name}", getattr(trainer, name))
    if trainer.coverage_every_steps < 0:
        raise ConfigError(f"trainer.coverage_every_steps {trainer.coverage_every_steps} must not be negative: 0 is never")
    if trainer.coverage_every_steps and not set(attention_pattern(model.attention, model.n_layers)) & set(SHARED_QK):
        raise ConfigError(
            f"trainer.coverage_every_steps asks what hashing reaches, and model.attention={model.attention} has no layer whose queries are "
            f"its keys: use {' or '.join(SHARED_QK)} in it, or trainer.coverage_every_steps=0"
        )
    if trainer.devices > 1 and trainer.strategy != "ddp":
        raise ConfigError(f"trainer.devices {trainer.devices} needs trainer.strategy=ddp (or trainer=ddp)")
    if task.batch_size % trainer.devices:
        raise ConfigError(
            f"task.batch_size {task.batch_size} counts all devices: it must be a multiple of trainer.devices {trainer.devices}"
        )
    if trainer.threads < 0 or not 0 <= config.seed < 2**32:
        raise ConfigError("trainer.threads must not be negative, and seed must be at least 0 and below 2**32")
    check_benchmark(config)
    return config


def check_installed(config: RunConfig) -> None:
    """That the package of a peer is there: asked when something is about to start, for a config can be read without it."""
    package = PEER_PACKAGES.get(config.benchmark.peer)
    if package and find_spec(package) is None:
        raise ConfigError(
            f"benchmark.peer={config.benchmark.peer} needs the package {package}: pip install 'reformer-pl[peers]', or make peers"
        )
