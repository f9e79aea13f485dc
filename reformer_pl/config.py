"""The typed configuration of one run: every default lives here, once; `run_rules.check` refuses every illegal combination.

This file imports neither torch nor Hydra, so that a sweep can check a thousand configs in seconds.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from reformer_pl.rules import PEER_PACKAGES, ConfigError
from reformer_pl.run_rules import check


@dataclass
class LSHConfig:
    """LSH attention, section 2 of the paper. `reformer_pl.lsh.lsh_attention` explains each word."""

    n_hashes: int = 4  # rounds
    chunk_len: int = 64  # tokens
    n_buckets: Any = None  # null: 2 * length / chunk_len; an even int; or a list of even factors
    bucket_mask: bool = True  # a query reaches its own bucket only
    dedupe: bool = True  # a key that several rounds reach counts once
    window: str = "chunk"  # chunk | causal | wrap


@dataclass
class LocalConfig:
    """Local attention: each chunk sees itself and the chunk before."""

    chunk_len: int = 64  # tokens


@dataclass
class AxialConfig:
    """Axial positions: `shape` multiplies to task.length, `dims` adds up to d_model; empty means the squarest split."""

    shape: list[int] = field(default_factory=list)  # its product is task.length; empty is the squarest
    dims: list[int] = field(default_factory=list)  # they add up to d_model; empty is equal parts


@dataclass
class ModelConfig:
    d_model: int = 256
    n_heads: int = 4
    n_layers: int = 1
    d_ff: int = 256  # width within the feed-forward layers
    dropout: float = 0.0  # 0 to 1
    attention: str = "lsh"  # a word, or a pattern cycled over the layers: "local local lsh local"
    residual: str = "standard"  # standard | checkpoint | reversible
    merge: str = "mean"  # how the two reversible streams end: mean | concat
    ff_chunks: int = 1  # of the tokens, one after the other through the feed-forward layers; 1 is plain
    loss_chunks: int = 1  # of the tokens, one after the other through the output and the loss; 1 is plain
    positions: str = "learned"  # learned | axial
    lsh: LSHConfig = field(default_factory=LSHConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    axial: AxialConfig = field(default_factory=AxialConfig)


@dataclass
class TaskConfig:
    name: str = "duplication"  # duplication | enwik8
    source: str = "sample"  # enwik8 only: a path (plain, zip, gz, bz2, xz), or "sample"
    length: int = 1024  # tokens of a sequence
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
    clip_norm: float = 0.0  # of all gradients together; 0 is no clipping


@dataclass
class TrainerConfig:
    accelerator: str = "auto"  # auto | cpu | gpu
    devices: int = 1  # processes, over all nodes: how many nodes they are on is SLURM's to say, and no part of a config
    strategy: str = "auto"  # auto | ddp
    precision: str = "32-true"  # 32-true | bf16-mixed | 64-true
    max_steps: int = 1000
    eval_every_steps: int = 100  # each evaluation also leaves a checkpoint
    log_every_steps: int = 10  # a row of metrics.jsonl
    coverage_every_steps: int = 0  # how much of full attention the hash buckets reach, into coverage.jsonl; 0 is never
    threads: int = 0  # CPU threads of one process; 0 leaves torch's choice


@dataclass
class BenchmarkConfig:
    """What `python -m experiments.benchmark` measures, without training. Length, batch, precision and threads are other groups' words."""

    measure: str = "none"  # none (a training run) | attention (the kernel, hash and sort included) | layer (with its projections) | step
    peer: str = "none"  # none (ours) | naive (full attention that stores its scores) | transformers | lucidrains (the public Reformers)
    paired: bool = False  # attention, layer: timed in turn with fused full attention of the same shape, for the ratio of the two
    repeats: int = 5  # timed repetitions at least, after a warm-up
    seconds: float = 1.0  # and at least so many seconds of them
    memory_limit_gib: float = 0.0  # a case predicted above it does not start: status would_not_fit; 0 is no limit


@dataclass
class RunConfig:
    """One run. `evaluations` names further attention settings to score at the end: {LSH-8: [model.lsh.n_hashes=8]}."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    seed: int = 0  # of the weights, the data and the hash rotations
    out_dir: str = ""  # empty: below runs/single, named by the overrides
    evaluations: dict[str, list[str]] = field(default_factory=dict)  # +evaluations={NAME:[key=value]} adds some


# The numbers of a run's result.json: null where a run failed. The last two are its overhead: from the start of the process to the first
# step, and from the end of the last one to the result, which the held-out scores are a part of. Seconds of a step, and of training, are
# forward, backward and update, without making the batch.
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
    old, new = _that_count(to_dict(before)), _that_count(to_dict(after))
    return ", ".join(f"{key} {old.get(key)} -> {new.get(key)}" for key in sorted(old | new) if old.get(key) != new.get(key))


def changes_since(path: Path, config: RunConfig) -> str:
    """`changes` from a config.yaml to a config. Raises OSError, YAMLError and ConfigError for a file that cannot be read."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError("it holds no config")
    same = _that_count(values) == _that_count(to_dict(config))  # as it nearly always is: a load takes ten times as long
    return "" if same else changes(load(values), config)


def _that_count(values: dict[str, Any]) -> dict[str, Any]:
    counted = flat({key: value for key, value in values.items() if key not in ("out_dir", "evaluations")})
    counted.pop("benchmark.memory_limit_gib", None)
    return counted


def read_yaml(path: Path) -> Any:
    """By libyaml, where PyYAML has it, ten times as fast. Raises OSError and YAMLError, the latter also for what is no UTF-8."""
    return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def load(values: dict[str, Any], overrides: Iterable[str] = ()) -> RunConfig:
    """Plain values, then dotted overrides, into a checked RunConfig. Unknown keys and wrong types raise ConfigError."""
    return check(typed(values, overrides))


def typed(values: dict[str, Any], overrides: Iterable[str] = ()) -> RunConfig:
    """`load` without the rules between values, for one that is to be changed before it is checked."""
    try:
        merged = OmegaConf.merge(_schema(), values)
        for override in overrides:
            merged.merge_with(_dotted(override))
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    config.optim.betas = tuple(config.optim.betas)
    return config


@cache
def _schema() -> DictConfig:
    """Made once, for it takes as long as all the rest."""
    return OmegaConf.structured(RunConfig)


@cache
def _dotted(override: str) -> DictConfig:
    """One override as values. Raises ConfigError where it is none."""
    if "=" not in override:
        raise ConfigError(f"override '{override}' is not of the form key=value")
    try:
        return OmegaConf.from_dotlist([override])
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{override}' cannot be read: put quotes around its value") from error


@cache
def override_values(override: str) -> dict[str, Any]:
    """One override, as flat values. Raises ConfigError where it is none."""
    return flat(OmegaConf.to_container(_dotted(override)))


def one_line(error: Exception) -> str:
    """An OmegaConf or Hydra error as one sentence that names the key."""
    key = getattr(error, "full_key", None)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and is_dataclass(error.object_type):
        return f"key {key} is unknown: {error.object_type.__name__} has {', '.join(f.name for f in fields(error.object_type))}"
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return f"{text} (key {key})" if key and str(key) not in text else text


def check_installed(config: RunConfig) -> None:
    """That the package of a peer is there: asked when something is about to start, for a config can be read without it."""
    package = PEER_PACKAGES.get(config.benchmark.peer)
    if package and find_spec(package) is None:
        raise ConfigError(f"benchmark.peer={config.benchmark.peer} needs the package {package}: pip install -e '.[peers]', or make peers")
