"""The rules between the values of a run.

Every illegal combination is refused here, with the sentence that says the fix.
"""

from reformer_pl.config.benchmark_rules import check_benchmark
from reformer_pl.config.local_path import local_path
from reformer_pl.config.phases import check_steps
from reformer_pl.config.rules import (
    ACCELERATORS,
    LOGGERS,
    MATMUL_PRECISIONS,
    MERGES,
    OPTIMIZERS,
    POSITIONS,
    PRECISIONS,
    RESIDUALS,
    SCHEDULES,
    SHARED_QK,
    SPLITS,
    STRATEGIES,
    TASKS,
    ConfigError,
    attention_pattern,
    axial_split,
    check_lsh,
    check_positive,
    check_word,
    recall_counts,
)
from reformer_pl.config.schema import RunConfig


def check_scored(config: RunConfig) -> None:
    """Raises ConfigError for a run that would show the test part while it trains."""
    if config.task.split != "held_out":
        raise ConfigError(
            f"task.split={config.task.split} is for evaluations, and a run that trains is watched "
            "on the held-out part: python -m experiments.evaluate RUN_DIR task.split=test, or an "
            "entry of evaluations"
        )


def check(config: RunConfig) -> RunConfig:
    """Every rule between values, in one place. Raises ConfigError.

    Returns the same config, with ~ expanded in its paths.
    """
    config.out_dir = local_path(config.out_dir, "out_dir")
    config.task.source = local_path(config.task.source, "task.source")
    model, task, optim, trainer = config.model, config.task, config.optim, config.trainer
    for name in ("d_model", "n_heads", "n_layers", "d_ff", "ff_chunks", "loss_chunks"):
        check_positive(f"model.{name}", getattr(model, name))
    if model.d_model % model.n_heads:
        raise ConfigError(
            f"model.n_heads {model.n_heads} does not divide model.d_model {model.d_model}"
        )
    if not 0 <= model.dropout < 1:
        raise ConfigError(f"model.dropout {model.dropout} must be at least 0 and below 1")
    check_word("model.residual", model.residual, RESIDUALS)
    check_word("model.merge", model.merge, MERGES)
    check_word("model.positions", model.positions, POSITIONS)
    if model.positions == "rotary" and model.d_model // model.n_heads % 2:
        raise ConfigError(
            "model.positions=rotary turns pairs of numbers: model.d_model / model.n_heads = "
            f"{model.d_model // model.n_heads} must be even"
        )
    attention_pattern(model.attention, model.n_layers)
    if model.merge == "concat" and model.residual != "reversible":
        raise ConfigError(
            f"model.merge=concat joins two streams and model.residual={model.residual} has one: "
            "use residual=reversible"
        )
    check_lsh(causal=True, **model.lsh.options())
    check_positive("model.lsh.eval_draws", model.lsh.eval_draws)
    if model.lsh.eval_draws > 1 and "lsh" not in attention_pattern(model.attention, model.n_layers):
        raise ConfigError(
            f"model.lsh.eval_draws={model.lsh.eval_draws} draws rotations, and "
            f"model.attention={model.attention} has none: use lsh in it, or model.lsh.eval_draws=1"
        )
    check_positive("model.local.chunk_len", model.local.chunk_len)
    check_positive("model.blocks.chunk_len", model.blocks.chunk_len)
    check_positive("model.blocks.top_k", model.blocks.top_k)
    check_positive("model.topk.n_keys", model.topk.n_keys)
    check_positive("model.sinks.window", model.sinks.window)
    if model.sinks.n_sinks < 0:
        raise ConfigError(
            f"model.sinks.n_sinks {model.sinks.n_sinks} must not be negative: 0 is a window alone"
        )

    check_word("task.name", task.name, TASKS)
    check_word("task.split", task.split, SPLITS)
    for name in ("length", "batch_size"):
        check_positive(f"task.{name}", getattr(task, name))
    if task.eval_sequences < (task.name != "enwik8"):
        raise ConfigError(
            f"task.eval_sequences {task.eval_sequences} must be at least 1 (enwik8 alone has 0, "
            "every whole window)"
        )
    if task.name == "duplication" and (task.length % 2 or task.length < 4):
        raise ConfigError(
            f"task.length {task.length} must be even and at least 4: an example is 0 w 0 w"
        )
    if task.name == "recall":
        recall_counts(task.length, task.pairs, task.noise)
    for name in ("ff_chunks", "loss_chunks"):
        if getattr(model, name) > task.length:
            raise ConfigError(
                f"model.{name} {getattr(model, name)} exceeds task.length {task.length}"
            )
    if task.curve_sequences < 0:
        raise ConfigError(f"task.curve_sequences {task.curve_sequences} must not be negative")
    if model.positions == "axial":
        axial_split(model.axial.shape, model.axial.dims, model.d_model, task.length)

    check_word("optim.name", optim.name, OPTIMIZERS)
    check_word("optim.schedule", optim.schedule, SCHEDULES)
    if not (
        0 < optim.lr < float("inf")
        and optim.warmup_steps >= 0
        and 0 <= optim.clip_norm < float("inf")
        and 0 <= optim.weight_decay < float("inf")
    ):
        raise ConfigError(
            "optim.lr must be positive and finite, "
            "optim.warmup_steps, optim.clip_norm and optim.weight_decay not negative"
        )
    if len(optim.betas) != 2 or not all(0 <= beta < 1 for beta in optim.betas):
        raise ConfigError(
            f"optim.betas {list(optim.betas)} must be two numbers of at least 0 and below 1"
        )

    check_positive("optim.accumulate", optim.accumulate)

    check_word("trainer.accelerator", trainer.accelerator, ACCELERATORS)
    check_word("trainer.strategy", trainer.strategy, STRATEGIES)
    check_word("trainer.precision", trainer.precision, PRECISIONS)
    check_word("trainer.matmul_precision", trainer.matmul_precision, MATMUL_PRECISIONS)
    for logger in trainer.loggers:
        check_word("trainer.loggers", logger, LOGGERS)
        if trainer.loggers.count(logger) > 1:
            raise ConfigError(f"trainer.loggers names {logger} twice: once is enough")
    for name in ("devices", "max_steps", "eval_every_steps", "log_every_steps"):
        check_positive(f"trainer.{name}", getattr(trainer, name))
    if trainer.coverage_every_steps < 0:
        raise ConfigError(
            f"trainer.coverage_every_steps {trainer.coverage_every_steps} must not be negative: "
            "0 is never"
        )
    if trainer.coverage_every_steps and not set(
        attention_pattern(model.attention, model.n_layers)
    ) & set(SHARED_QK):
        raise ConfigError(
            "trainer.coverage_every_steps asks what hashing reaches, "
            f"and model.attention={model.attention} has no layer whose queries are "
            f"its keys: use {' or '.join(SHARED_QK)} in it, or trainer.coverage_every_steps=0"
        )
    if trainer.devices > 1 and trainer.strategy != "ddp":
        raise ConfigError(
            f"trainer.devices {trainer.devices} needs trainer.strategy=ddp (or trainer=ddp)"
        )
    if task.batch_size % trainer.devices:
        raise ConfigError(
            f"task.batch_size {task.batch_size} counts all devices: "
            f"it must be a multiple of trainer.devices {trainer.devices}"
        )
    if task.batch_size % (trainer.devices * optim.accumulate):
        raise ConfigError(
            f"task.batch_size {task.batch_size} counts all micro-batches of all devices: it must "
            f"be a multiple of trainer.devices {trainer.devices} x "
            f"optim.accumulate {optim.accumulate}"
        )
    if trainer.threads < 0 or not 0 <= config.seed < 2**32:
        raise ConfigError(
            "trainer.threads must not be negative, and seed must be at least 0 and below 2**32"
        )
    check_steps(config)
    check_benchmark(config)
    return config
