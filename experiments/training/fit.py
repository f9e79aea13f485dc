"""One training process: build the parts of a config, fit, score, and gather the result."""

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer, seed_everything

from experiments import STARTED
from experiments.device import set_matmul_precision, set_threads
from experiments.run_dir.files import METRICS, checkpoint_path
from experiments.run_dir.identity import (
    begin_session,
    check_data,
    check_trained_by,
    read_sessions,
)
from experiments.run_dir.outcome import (
    OK,
    NotEvaluated,
    first_line,
    forget_result,
    write_evaluation,
)
from experiments.run_dir.problems import missing_rows
from experiments.run_dir.rounds import forget_rounds
from experiments.training.callbacks import Checkpoints, Cost, LeaveInTime, MetricsFile
from experiments.training.checkpoint import newest_checkpoint, trained_checkpoint
from experiments.training.count_models import count_models
from experiments.training.coverage_file import CoverageFile
from experiments.training.loggers import TENSORBOARD, build_loggers, log_config, log_result
from experiments.training.scoring import load_weights, score
from experiments.training.tensorboard import TensorBoardFile
from experiments.training.trainer import build_trainer, device_name
from reformer_pl.config import RunConfig, to_dict
from reformer_pl.config.evaluations import load_named_evaluation
from reformer_pl.config.rules import attention_pattern
from reformer_pl.config.run_rules import check_scored
from reformer_pl.measure import GIB
from reformer_pl.metrics import DRAWS, KEYS_PER_TOKEN, score_names
from reformer_pl.module import LitSequenceModel
from reformer_pl.out_of_memory import is_out_of_memory
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import SequenceData


@dataclass(frozen=True)
class Parts:
    """What one training process is made of. `step` is where it goes on: 0, or its checkpoint's."""

    config: RunConfig
    directory: Path
    data: SequenceData
    module: LitSequenceModel
    step: int
    resumed_from: Path | None
    cost: Cost
    metrics: MetricsFile
    coverage: CoverageFile | None
    checkpoints: Checkpoints
    trainer: Trainer

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    @property
    def tokens_per_step(self) -> int:
        return self.config.task.batch_size * self.config.task.length


def train(
    config: RunConfig, directory: Path, callbacks: Iterable[Callback] = ()
) -> dict[str, Any] | None:
    """Train from the newest checkpoint, then score as trained and under config.evaluations.

    `callbacks` are the caller's own. Their state is in the checkpoint. Returns what result.json
    says of a run that is ok; None when it was interrupted. Raises ConfigError before anything is
    trained, FloatingPointError where the loss is not finite, and NotEvaluated where a trained model
    was out of memory in an evaluation.
    """
    parts = build_parts(config, directory, callbacks)
    if parts.trainer.is_global_zero:
        begin(parts)
    loggers = parts.trainer.loggers
    fit(parts)
    if parts.checkpoints.interrupted:
        return None
    scores = final_scores(parts)
    weights = parts.module.state_dict()
    left_out = evaluate(parts.trainer, config, parts.data, weights, directory, config.evaluations)
    result = gather_result(parts, scores)
    parts.checkpoints.forget_previous(parts.trainer)
    log_result(loggers, result)
    if parts.metrics.tensorboard is not None:
        parts.metrics.tensorboard.finish(result)
    if left_out is not None:
        raise NotEvaluated(result) from left_out
    return result


def build_parts(config: RunConfig, directory: Path, callbacks: Iterable[Callback]) -> Parts:
    """Raises ConfigError for a corrupt checkpoint and for an evaluation that cannot be."""
    check_scored(config)
    data = build_task(config)
    check_data(directory, config.task.source, data.identity(), keep=False)
    set_threads(config)
    set_matmul_precision(config)
    seed_everything(config.seed, verbose=False)
    module = LitSequenceModel(config, data.vocab_size)
    check_evaluations(config, data.vocab_size)
    step, resumed_from = 0, None
    newest = newest_checkpoint(directory)
    if newest is not None:
        resumed_from, checkpoint = newest
        check_trained_by(resumed_from, checkpoint, config)
        step = checkpoint["global_step"]
    options, tokens = config.trainer, config.task.batch_size * config.task.length
    cost, checkpoints = Cost(), Checkpoints(directory, options.eval_every_steps, resumed_from)
    metrics = MetricsFile(directory, cost, tokens, options.log_every_steps)
    coverage = CoverageFile(directory, config) if options.coverage_every_steps else None
    # First Cost, which stops its clock before the others work; last Checkpoints, with their state.
    ordered = [
        cost,
        LeaveInTime(),
        metrics,
        *([coverage] if coverage else []),
        *callbacks,
        checkpoints,
    ]
    logger = build_loggers(config, directory)
    trainer = build_trainer(config, callbacks=ordered, logger=logger)
    return Parts(
        config, directory, data, module, step, resumed_from,
        cost, metrics, coverage, checkpoints, trainer,
    )  # fmt: skip


def check_evaluations(config: RunConfig, vocab_size: int) -> None:
    """Raises ConfigError for one that the trained weights would not fit. No memory is allocated."""
    with torch.device("meta"):
        shapes = LitSequenceModel(config, vocab_size).state_dict()
        for name in config.evaluations:
            module = LitSequenceModel(load_named_evaluation(config, name), vocab_size)
            load_weights(module, shapes, name)


def begin(parts: Parts) -> None:
    """Print what is about to be trained, and drop the rows that it will repeat. For one rank."""
    config, directory, step = parts.config, parts.directory, parts.step
    layers = ", ".join(attention_pattern(config.model.attention, config.model.n_layers))
    size, device = f"{parts.parameters:,} parameters", device_name(parts.trainer)
    print(f"{directory}: {size}, attention {layers}, on {device}")
    products = set_matmul_precision(config)
    if products:
        print(products)
    if not step and (directory / METRICS).exists():
        print(f"{checkpoint_path(directory)} is not there: the run starts over at step 0")
    where = f"from step {step} of" if step else "for"
    print(f"training {where} {config.trainer.max_steps} steps", flush=True)
    check_data(directory, config.task.source, parts.data.identity(), keep=True)
    begin_session(directory, step, device_name(parts.trainer), torch.get_num_threads())
    rows = parts.metrics.drop_after(step)
    for line in missing_rows(directory, to_dict(config), step):
        print(f"warning: {line}", flush=True)
    if TENSORBOARD in config.trainer.loggers:
        parts.metrics.tensorboard = TensorBoardFile(directory, config, rows)
    if parts.coverage is not None:
        parts.coverage.drop_after(step)
    forget_result(directory)
    forget_rounds(directory)
    log_config(parts.trainer.loggers, config)


def fit(parts: Parts) -> None:
    """Train to the last step, or until Ctrl-C. Loggers get the rows of training alone."""
    resumed = parts.resumed_from and parts.resumed_from.absolute()  # no name of a registry
    parts.trainer.fit(parts.module, datamodule=parts.data, ckpt_path=resumed, weights_only=True)
    parts.trainer.loggers = []  # the scores of evaluations would look like rows of training


def final_scores(parts: Parts) -> dict[str, float]:
    """The scores of the task at the end, held out. Raises FloatingPointError for a broken loss."""
    values = score(parts.trainer, parts.module, parts.data)
    names = (*score_names(parts.config.task.name), *DRAWS, KEYS_PER_TOKEN.name)
    return {name: values[name] for name in names if name in values}


def evaluate(
    trainer: Trainer,
    config: RunConfig,
    data: SequenceData,
    weights: dict[str, Any],
    directory: Path,
    names: Iterable[str],
) -> Exception | None:
    """Score trained weights under named evaluations of the config, each into its own file.

    One that is out of memory does not keep the others from being made, where there is one process:
    several would wait for each other. Returns the first such error.
    """
    left_out = None
    for name in names:
        evaluated = load_named_evaluation(config, name)
        module = LitSequenceModel(evaluated, data.vocab_size)
        load_weights(module, weights, name)
        scored = data if evaluated.task == config.task else build_task(evaluated)
        try:
            values = score(trainer, module, scored)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            print(f"evaluation {name}: {first_line(error)}", file=sys.stderr, flush=True)
            left_out = left_out or error.with_traceback(None)  # its frames hold tensors
            if trainer.world_size > 1:
                break
            continue
        if trainer.is_global_zero:
            write_evaluation(directory, name, config.evaluations[name], values)
    return left_out


def evaluate_again(config: RunConfig, directory: Path, names: Iterable[str]) -> None:
    """Score a trained run under evaluations that were added to its config since."""
    path, checkpoint = trained_checkpoint(directory)
    check_trained_by(path, checkpoint, config)
    data = build_task(config)
    check_data(directory, config.task.source, data.identity(), keep=False)
    set_threads(config)
    set_matmul_precision(config)
    weights = checkpoint["state_dict"]
    left_out = evaluate(build_trainer(config), config, data, weights, directory, names)
    if left_out is not None:
        raise left_out


def gather_result(parts: Parts, scores: dict[str, float]) -> dict[str, Any]:
    """What result.json says of a run that is ok; times in seconds, losses in nats."""
    cost = parts.cost
    numbers = cost.steps.numbers()
    # NaN when the run was too short to time a step: null in result.json.
    step_seconds = math.nan if numbers["step_seconds"] is None else numbers["step_seconds"]
    return {
        "status": OK,
        "error": None,
        "steps": parts.config.trainer.max_steps,
        **scores,
        "peak_memory_gib": cost.peak_bytes / GIB,
        **numbers,
        "step_seconds": step_seconds,
        "tokens_per_second": parts.tokens_per_step / step_seconds,
        "parameters": parts.parameters,
        "train_seconds": cost.train_seconds,
        # Of the process that ended the run, where it was resumed.
        "startup_seconds": cost.first_started - STARTED,
        "closing_seconds": time.perf_counter() - cost.ended,
        "baseline": parts.data.baseline(),
        # For the first rank alone: its result is the one that is written.
        "count_models": count_models(parts.data) if parts.trainer.is_global_zero else [],
        "device": device_name(parts.trainer),
        "threads": torch.get_num_threads(),
        "sessions": read_sessions(parts.directory),
    }
