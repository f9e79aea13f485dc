"""One training process: build the parts of a config, fit, score, and gather the result."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything

from experiments import STARTED
from experiments.device import set_threads
from experiments.run_dir.files import checkpoint_path
from experiments.run_dir.outcome import OK, forget_result, write_evaluation
from experiments.training.callbacks import Checkpoints, Cost, MetricsFile
from experiments.training.coverage_file import CoverageFile
from experiments.training.scoring import load_checkpoint, load_weights, score
from experiments.training.tensorboard import Board
from experiments.training.trainer import build_trainer, device_name
from reformer_pl.config import RunConfig
from reformer_pl.config.evaluations import load_named_evaluation
from reformer_pl.config.rules import attention_pattern
from reformer_pl.measure import GIB
from reformer_pl.metrics import score_names
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import SequenceData


def train(config: RunConfig, directory: Path) -> dict[str, Any] | None:
    """Fit from the newest checkpoint, score the model as trained and under each of config.evaluations. None when interrupted."""
    data = build_task(config)
    set_threads(config)
    seed_everything(config.seed, verbose=False)
    module = LitSequenceModel(config, data.vocab_size)
    with torch.device("meta"):  # an evaluation that cannot be is refused before anything is trained
        shapes = LitSequenceModel(config, data.vocab_size).state_dict()
        for name in config.evaluations:
            load_weights(
                LitSequenceModel(load_named_evaluation(config, name), data.vocab_size), shapes, name
            )
    checkpoint = checkpoint_path(directory)
    step = (
        load_checkpoint(checkpoint)["global_step"] if checkpoint.is_file() else 0
    )  # refuses a corrupt file before anything is started

    tokens_per_step = config.task.batch_size * config.task.length
    cost, checkpoints = Cost(), Checkpoints(directory, config.trainer.eval_every_steps)
    metrics = MetricsFile(directory, cost, tokens_per_step, config.trainer.log_every_steps)
    coverage = [CoverageFile(directory, config)] if config.trainer.coverage_every_steps else []
    trainer = build_trainer(config, callbacks=[cost, metrics, *coverage, checkpoints], logger=False)
    parameters = sum(p.numel() for p in module.parameters())
    if trainer.is_global_zero:
        layers = ", ".join(attention_pattern(config.model.attention, config.model.n_layers))
        where = f"from step {step} of" if step else "for"
        print(
            f"{directory}: {parameters:,} parameters, attention {layers}, on {device_name(trainer)}"
        )
        print(f"training {where} {config.trainer.max_steps} steps", flush=True)
        metrics.board = Board(directory, config, metrics.drop_after(step))
        for file in coverage:
            file.drop_after(step)
        forget_result(directory)
    trainer.fit(
        module,
        datamodule=data,
        ckpt_path=checkpoint if checkpoint.is_file() else None,
        weights_only=True,
    )
    if checkpoints.interrupted:
        return None

    own = score(trainer, module, data)
    scores = {name: own[name] for name in score_names(config.task.name)}
    broken = [value for value in scores.values() if not math.isfinite(value)]
    if broken:  # the training loss may have been finite when it was last looked at
        raise FloatingPointError(
            f"the held-out loss is {broken[0]} at the end: lower optim.lr or set optim.clip_norm"
        )
    _evaluate(trainer, config, data, module.state_dict(), directory, config.evaluations)

    result = {
        "status": OK,
        "error": None,
        "steps": config.trainer.max_steps,
        **scores,
        "peak_memory_gib": cost.peak_bytes / GIB,
        "step_seconds": cost.median_step_seconds,
        "tokens_per_second": tokens_per_step / cost.median_step_seconds,
        "parameters": parameters,
        "train_seconds": cost.train_seconds,
        "startup_seconds": cost.first_started
        - STARTED,  # of the process that ended the run, where it was resumed
        "closing_seconds": time.perf_counter() - cost.ended,
        "baseline": data.baseline(),
        "device": device_name(trainer),
        "threads": torch.get_num_threads(),
    }
    if metrics.board is not None:
        metrics.board.finish(result)
    return result


def evaluate_again(config: RunConfig, directory: Path, names: Iterable[str]) -> None:
    """Score a trained run under evaluations that were added to its config since."""
    weights = load_checkpoint(checkpoint_path(directory))["state_dict"]
    data = build_task(config)
    set_threads(config)
    _evaluate(build_trainer(config, logger=False), config, data, weights, directory, names)


def _evaluate(
    trainer: Trainer,
    config: RunConfig,
    data: SequenceData,
    weights: dict[str, Any],
    directory: Path,
    names: Iterable[str],
) -> None:
    for name in names:
        module = LitSequenceModel(load_named_evaluation(config, name), data.vocab_size)
        load_weights(module, weights, name)
        values = score(trainer, module, data)
        if trainer.is_global_zero:
            write_evaluation(directory, name, config.evaluations[name], values)
