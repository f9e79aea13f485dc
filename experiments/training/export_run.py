"""A finished run sent to wandb or mlflow: its config, the rows of metrics.jsonl and its result."""

import math
from pathlib import Path
from typing import Any

from experiments.run_dir.files import METRICS, RESULT, load_run_config
from experiments.run_dir.outcome import RESULT_NUMBERS, is_ok, read_result
from experiments.run_dir.rows import read_rows
from reformer_pl.config import ConfigError, check_tracker

PLACE = ("step", "split")  # where a row stands; the rest of it are values


def send_run(directory: Path, study: str, cell: str, to: str) -> None:
    """Send the files of one finished run to `to`, which is "wandb" or "mlflow".

    The run is called `cell` there, in a project or experiment called `study`. The files of the run
    stay as they are. Without WANDB_MODE or MLFLOW_TRACKING_URI it goes to wandb/ or mlflow/ in the
    run's directory, as in training. Raises ConfigError where the package is missing, and where the
    run has no result.
    """
    check_tracker(to)
    result = read_result(directory)
    if result is None:
        raise ConfigError(f"{directory} has no {RESULT}: a run is sent when it has ended")
    config, rows = load_run_config(directory), read_rows(directory / METRICS)
    from experiments.training.loggers import build_logger, log_config  # these import torch

    logger = build_logger(to, directory, study, cell)
    log_config([logger], config)
    for row in rows:
        values = {name: value for name, value in row.items() if name not in PLACE}
        logger.log_metrics(_numbers(values, row["split"]), row["step"])
    costs = {name: result.get(name) for name in RESULT_NUMBERS}
    logger.log_metrics(_numbers(costs, "final"), result.get("steps") or 0)
    logger.finalize("success" if is_ok(result) else "failed")
    if to == "wandb":  # Lightning leaves it open until the process ends, and the next run needs one
        logger.experiment.finish()


def _numbers(values: dict[str, Any], group: str) -> dict[str, float]:
    """The finite numbers, as group/name."""
    return {
        f"{group}/{name}": float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
