"""The rules of benchmark.*: what can be measured, and which configs a peer can express.

A peer is measured only under a config that describes it. So a config.yaml never says one thing
while another ran.
"""

import math
from typing import Any

from reformer_pl.config.rules import (
    MEASURES,
    PEER_PACKAGES,
    PEERS,
    ConfigError,
    attention_pattern,
    check_positive,
    check_word,
)
from reformer_pl.config.schema import RunConfig

# Both public Reformers attend as the published code does, count duplicates, and have no other
# attention to be compared with.
AS_PUBLISHED = {
    "model.attention": "lsh",
    "model.lsh.window": "wrap",
    "model.lsh.bucket_mask": False,
    "model.lsh.dedupe": False,
}
PLAIN = {
    "model.residual": "reversible",
    "model.positions": "learned",
    "model.loss_chunks": 1,
    "model.dropout": 0.0,
}  # of a whole step
NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("naive", "attention"): {"model.attention": "full"},
    ("transformers", "layer"): AS_PUBLISHED,
    ("transformers", "step"): AS_PUBLISHED | PLAIN | {"model.merge": "concat"},
    ("lucidrains", "layer"): AS_PUBLISHED
    | {"model.lsh.n_buckets": None},  # it always has length / chunk_len buckets
    ("lucidrains", "step"): AS_PUBLISHED
    | PLAIN
    | {"model.lsh.n_buckets": None, "model.merge": "mean"},
}


def check_benchmark(config: RunConfig) -> None:
    """Refuse what cannot be measured. Raises ConfigError with the sentence that says the fix."""
    benchmark, measure, peer = config.benchmark, config.benchmark.measure, config.benchmark.peer
    check_word("benchmark.measure", measure, MEASURES)
    check_word("benchmark.peer", peer, PEERS)
    check_positive("benchmark.repeats", benchmark.repeats)
    if not (0 < benchmark.seconds < math.inf and 0 <= benchmark.memory_limit_gib < math.inf):
        raise ConfigError(
            "benchmark.seconds must be positive and finite, "
            "benchmark.memory_limit_gib finite and not negative (0: no limit)"
        )
    if benchmark.paired and measure not in ("attention", "layer"):
        raise ConfigError(
            "benchmark.paired compares one attention with full attention: "
            f"it needs measure=attention or layer, not {measure}"
        )
    if peer != "none":
        check_peer(config)
    if benchmark.predict_only and peer in PEER_PACKAGES:
        raise ConfigError(
            f"benchmark.predict_only=true: nothing predicts the memory of benchmark.peer={peer}: "
            "leave one of them out"
        )
    if measure == "none":
        return
    if config.evaluations:
        raise ConfigError(
            f"benchmark.measure={measure} trains nothing that evaluations could score: "
            "leave them out"
        )
    if config.phases:
        raise ConfigError(
            f"benchmark.measure={measure} trains nothing, and so has no phases: leave them out"
        )
    if config.trainer.devices > 1 or config.trainer.strategy == "ddp":
        raise ConfigError(
            f"benchmark.measure={measure} measures one process: "
            "it needs trainer.devices=1 and trainer.strategy=auto"
        )
    if config.optim.accumulate != 1:
        raise ConfigError(
            f"benchmark.measure={measure} takes the batch at once: it needs optim.accumulate=1"
        )
    if config.trainer.compile and (measure == "attention" or peer != "none"):
        raise ConfigError(
            "trainer.compile=true compiles the parts of a layer around its attention kernel: "
            "it needs benchmark.measure=layer or step, and benchmark.peer=none"
        )
    if (
        measure != "step"
        and len(set(attention_pattern(config.model.attention, config.model.n_layers))) > 1
    ):
        raise ConfigError(
            f"benchmark.measure={measure} is one layer: "
            f"model.attention={config.model.attention} must be one word"
        )


def check_peer(config: RunConfig) -> None:
    """Refuse a peer that does not work as the config says."""
    model, length, peer = config.model, config.task.length, config.benchmark.peer
    if (peer, config.benchmark.measure) not in NEEDS:
        where = " or ".join(measure for other, measure in NEEDS if other == peer)
        raise ConfigError(
            f"benchmark.peer={peer} can be measured as benchmark.measure={where}, "
            f"not {config.benchmark.measure}"
        )
    needed = NEEDS[peer, config.benchmark.measure]
    unmet = [f"{key}={_yaml(value)}" for key, value in needed.items() if _at(config, key) != value]
    if unmet:
        raise ConfigError(
            f"benchmark.peer={peer} works as {' '.join(unmet)} says, and in no other way: add it"
        )
    if peer not in PEER_PACKAGES:
        return
    unit = model.lsh.chunk_len * (2 if peer == "lucidrains" else 1)
    if length % unit or length == model.lsh.chunk_len:
        raise ConfigError(
            f"benchmark.peer={peer} needs whole chunks: "
            f"task.length {length} must be a multiple of {unit}, of at least two chunks"
        )
    if config.benchmark.measure == "step" and peer == "transformers" and length % model.ff_chunks:
        raise ConfigError(
            f"benchmark.peer={peer} cuts equal chunks: "
            f"model.ff_chunks {model.ff_chunks} must divide task.length {length}"
        )
    if config.benchmark.measure == "step" and peer == "lucidrains" and model.d_ff % model.d_model:
        raise ConfigError(
            f"benchmark.peer={peer} has d_ff as a multiple of d_model: "
            f"model.d_ff {model.d_ff} must be one of {model.d_model}"
        )


def _at(config: RunConfig, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _yaml(value: Any) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
