"""A finished run sent to a tracking service: its config, the rows of metrics.jsonl and its result."""

from pathlib import Path


def send_run(directory: Path, study: str, cell: str, to: str) -> None:
    """Send the files of one finished run to `to`, which is "wandb" or "mlflow".

    The run is called `cell` there, in a project or experiment called `study`. The files stay as they
    are. Raises ConfigError where the package is missing, and where the run has no result.
    """
    raise NotImplementedError
