"""The trackers that trainer.loggers names, by Lightning's own logger classes.

The files of a run stay the truth: these are further views of it, which nothing here reads again.
Lightning counts their steps from 0: its step 9 is step 10 of metrics.jsonl. A run that was resumed
has an entry for each of its processes. `tensorboard` is no logger of Lightning's but our own file
(tensorboard.py), which shows each step once.

  csv      csv/version_N/ in the run's directory
  wandb    wandb/ in the run's directory, offline unless WANDB_MODE is set
  mlflow   mlflow/ in the run's directory, unless MLFLOW_TRACKING_URI is set
           (mlflow ui --backend-store-uri sqlite:///RUN_DIR/mlflow/mlflow.db shows it)
"""

import math
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger

from experiments.run_dir.files import safe_name
from experiments.run_dir.outcome import RESULT_NUMBERS
from reformer_pl.config import RunConfig, flat, to_dict
from reformer_pl.config.rules import LOGGERS, ConfigError

TENSORBOARD = "tensorboard"


def build_loggers(config: RunConfig, directory: Path) -> list[Logger]:
    """The loggers of a run, named by its directory.

    That of runs/STUDY/CELL/seed=N is called CELL/seed=N, in STUDY.
    """
    *_, study, cell, seed = ("runs", "run", *directory.resolve().parts)
    words = [word for word in config.trainer.loggers if word != TENSORBOARD]
    return [build_logger(word, directory, study, f"{cell}/{seed}") for word in words]


def build_logger(word: str, directory: Path, study: str, run: str) -> Logger:
    """One logger. `study` is the project of wandb or the experiment of mlflow, `run` a name there.

    Raises ConfigError for an unknown word.
    """
    match word:
        case "csv":
            return CSVLogger(_no_url(word, directory, "::"), name="csv")
        case "wandb":
            offline = "WANDB_MODE" not in os.environ
            return WandbLogger(run, directory, offline=offline, project=safe_name(study))
        case "mlflow":
            return _mlflow_logger(_no_url(word, directory, "?") / "mlflow", study, run)
        case _:
            raise ConfigError(f"trainer.loggers={word} is unknown: choose {', '.join(LOGGERS)}")


def _no_url(word: str, directory: Path, part: str) -> Path:
    """The directory as a path that the logger takes for no URL.

    Raises ConfigError where a part of it is one in any case.
    """
    path = directory.resolve()
    if part in str(path):
        raise ConfigError(
            f"trainer.loggers={word} takes {part} in {path} for a part of a URL: "
            f"give another out_dir, or leave {word} out"
        )
    return path


def _mlflow_logger(folder: Path, study: str, run: str) -> Logger:
    """SQLite in a folder: mlflow refuses to write plain files since version 3.7."""
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address:
        return MLFlowLogger(study, run_name=run, tracking_uri=address)
    folder.mkdir(parents=True, exist_ok=True)
    place, artifacts = f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts")
    return MLFlowLogger(study, run_name=run, tracking_uri=place, artifact_location=artifacts)


def log_result(loggers: list[Logger], result: dict[str, Any]) -> None:
    """The finite numbers of a result, as final/NAME: scores of the whole held-out part, where the
    curves may be scored on a part of it. Lightning does so on the first rank alone.
    """
    numbers = {f"final/{name}": result.get(name) for name in RESULT_NUMBERS}
    finite = {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    for logger in loggers:
        logger.log_metrics(finite, result["steps"] - 1)
        logger.save()


def log_config(loggers: list[Logger], config: RunConfig) -> None:
    """Every key of the config under its dotted name. Lightning does so on the first rank alone."""
    for logger in loggers:
        logger.log_hyperparams(flat(to_dict(config)))
