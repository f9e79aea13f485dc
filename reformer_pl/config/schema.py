"""The typed configuration of one run: every default lives here, once.

`run_rules.check` refuses illegal combinations. The help of a key is what `--help` says of it.
"""

from dataclasses import dataclass, field
from typing import Any


def key(default: Any, help: str) -> Any:
    """A field with its default and its help."""
    return field(default=default, metadata={"help": help})


@dataclass
class LSHConfig:
    """LSH attention, section 2 of the paper. `reformer_pl.lsh.lsh_attention` explains each word."""

    n_hashes: int = key(4, "rounds")
    chunk_len: int = key(64, "tokens")
    n_buckets: Any = field(
        default=None,
        metadata={"help": "null: 2 * length / chunk_len; an even int; or a list of even factors"},
    )
    bucket_mask: bool = key(True, "a query reaches its own bucket only")
    dedupe: bool = key(True, "a key that several rounds reach counts once")
    window: str = key("chunk", "chunk | causal | wrap")
    road: str = key(
        "auto",
        "which kernels attend: auto (the fastest that fits and agrees with plain) "
        "| triton | efficient | flash | plain; the same numbers but for rounding",
    )
    eval_draws: int = key(1, "draws of rotations that a held-out score is the mean of")

    def options(self) -> dict[str, Any]:
        """What `lsh_attention` takes: all but what concerns scoring."""
        return {name: value for name, value in vars(self).items() if name != "eval_draws"}


@dataclass
class LocalConfig:
    """Local attention: each chunk sees itself and the chunk before."""

    chunk_len: int = key(64, "tokens")


@dataclass
class SinksConfig:
    """Sliding-window attention with sinks: the last `window` keys and the first `n_sinks`."""

    window: int = key(64, "tokens, a query's own among them")
    n_sinks: int = key(4, "first tokens of a sequence that every query sees; 0 is a window alone")


@dataclass
class BlocksConfig:
    """Mixture of block attention: the own block, and the earlier ones of the best mean key."""

    chunk_len: int = key(64, "tokens of a block")
    top_k: int = key(3, "earlier blocks that each query of each head chooses")


@dataclass
class TopKConfig:
    """Attention to the keys of the highest score: the ceiling of every selector, and quadratic."""

    n_keys: int = key(64, "keys of each query, its own among the candidates")


@dataclass
class AxialConfig:
    """Axial positions: `shape` multiplies to task.length, `dims` adds up to d_model.

    Empty means the squarest split.
    """

    shape: list[int] = field(
        default_factory=list, metadata={"help": "its product is task.length; empty is the squarest"}
    )
    dims: list[int] = field(
        default_factory=list, metadata={"help": "they add up to d_model; empty is equal parts"}
    )


@dataclass
class ModelConfig:
    """One word per slot of the model, and its sizes."""

    d_model: int = 256
    n_heads: int = 4
    n_layers: int = 1
    d_ff: int = key(256, "width within the feed-forward layers")
    dropout: float = key(0.0, "0 to 1")
    attention: str = key(
        "lsh", 'a word, or a pattern cycled over the layers: "local local lsh local"'
    )
    residual: str = key("standard", "standard | checkpoint | reversible")
    merge: str = key("mean", "how the two reversible streams end: mean | concat")
    ff_chunks: int = key(
        1, "of the tokens, one after the other through the feed-forward layers; 1 is plain"
    )
    loss_chunks: int = key(
        1, "of the tokens, one after the other through the output and the loss; 1 is plain"
    )
    positions: str = key(
        "learned", "learned | axial (added to the embedding) | rotary (queries and keys) | none"
    )
    lsh: LSHConfig = field(default_factory=LSHConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    sinks: SinksConfig = field(default_factory=SinksConfig)
    blocks: BlocksConfig = field(default_factory=BlocksConfig)
    topk: TopKConfig = field(default_factory=TopKConfig)
    axial: AxialConfig = field(default_factory=AxialConfig)


@dataclass
class TaskConfig:
    """What is learned, and from how many sequences of which length."""

    name: str = key("duplication", "duplication | enwik8 | recall")
    source: str = key("sample", 'enwik8 only: a path (plain, zip, gz, bz2, xz, tar), or "sample"')
    length: int = key(1024, "tokens of a sequence")
    pairs: int = key(16, "recall only: of a key and its value, 1 to 64")
    noise: float = key(0.0, "recall only: share of the tokens that are fillers")
    batch_size: int = key(8, "sequences a step, over all devices together")
    eval_sequences: int = key(64, "held-out sequences scored; enwik8: 0 is every whole window")
    split: str = key(
        "held_out",
        "the part that an evaluation scores: held_out, which curves and choices are made from "
        "| test, which is left for the end",
    )
    curve_sequences: int = key(
        0, "about so many of them, spread evenly, are scored during training; 0 is all"
    )


@dataclass
class OptimConfig:
    """The optimiser and its learning rate over the steps."""

    name: str = key("adam", "adam | adamw | adafactor")
    lr: float = key(1e-3, "at the end of the warm-up")
    betas: tuple[float, float] = key((0.9, 0.98), "adam and adamw")
    weight_decay: float = key(
        0.1, "adamw: of all matrices, tables of embeddings too; a step takes lr times it off"
    )
    warmup_steps: int = 100
    schedule: str = key("constant", "after the warm-up: constant | rsqrt | cosine")
    clip_norm: float = key(0.0, "of all gradients together; 0 is no clipping")
    accumulate: int = key(
        1,
        "micro-batches that a step's batch is cut into, one after the other: the same numbers, "
        "but for draws of dropout, in less memory",
    )


@dataclass
class TrainerConfig:
    """Where and how long a run trains, and how often it writes."""

    accelerator: str = key("auto", "auto | cpu | gpu")
    devices: int = key(
        1,
        "processes, over all nodes: how many nodes they are on is SLURM's to say, "
        "and no part of a config",
    )
    strategy: str = key("auto", "auto | ddp")
    precision: str = key("32-true", "32-true | bf16-mixed | 64-true")
    matmul_precision: str = key(
        "highest",
        "of float32 products on a GPU: highest (float32) | high (TF32) | medium (TF32 or less); "
        "it changes nothing on a CPU or in 64-true",
    )
    compile: bool = key(
        False, "torch.compile makes the norms, projections and feed-forward layers; needs g++"
    )
    max_steps: int = 1000
    eval_every_steps: int = key(100, "each evaluation also leaves a checkpoint")
    log_every_steps: int = key(10, "a row of metrics.jsonl")
    coverage_every_steps: int = key(
        0, "how much of full attention the hash buckets reach, into coverage.jsonl; 0 is never"
    )
    threads: int = key(0, "CPU threads of one process; 0 leaves torch's choice")
    loggers: list[str] = field(
        default_factory=lambda: ["tensorboard"],
        metadata={"help": "any of tensorboard, csv, wandb, mlflow; [] is none"},
    )


@dataclass
class BenchmarkConfig:
    """What `python -m experiments.benchmark` measures, without training.

    Length, batch, precision and threads are other groups' words.
    """

    measure: str = key(
        "none",
        "none (a training run) | attention (the kernel, hash and sort included) "
        "| layer (with its projections) | step",
    )
    peer: str = key(
        "none",
        "none (ours) | naive (full attention that stores its scores) "
        "| transformers | lucidrains (the public Reformers)",
    )
    paired: bool = key(
        False,
        "attention, layer: timed in turn with fused full attention of the same shape, "
        "for the ratio of the two",
    )
    repeats: int = key(5, "timed repetitions at least, after a warm-up")
    seconds: float = key(1.0, "and at least so many seconds of them")
    memory_limit_gib: float = key(
        0.0, "a case predicted above it does not start: status would_not_fit; 0 is no limit"
    )
    predict_only: bool = key(False, "predicts the memory, of any size, and runs nothing")


@dataclass
class RunConfig:
    """One run.

    `evaluations` names further attention settings to score at the end:
    {LSH-8: [model.lsh.n_hashes=8]}.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    seed: int = key(0, "of the weights, the data and the hash rotations")
    out_dir: str = key("", "empty: below runs/single, named by the overrides")
    phases: dict[int, list[str]] = field(
        default_factory=dict,
        metadata={
            "help": "from which step on the model has other settings, in quotes: "
            '"phases={600: [model.lsh.n_hashes=4]}"'
        },
    )
    evaluations: dict[str, list[str]] = field(
        default_factory=dict,
        metadata={"help": "added in quotes: \"+evaluations={LSH-8:['model.lsh.n_hashes=8']}\""},
    )
