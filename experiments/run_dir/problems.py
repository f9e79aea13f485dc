"""What of a run directory cannot be read or is gone: a line for each file, with what to do.

What is left is still shown: a reader leaves out what is damaged, and says so.
"""

from pathlib import Path
from typing import Any

from experiments.run_dir.files import (
    COVERAGE,
    EVALUATIONS,
    LOG,
    METRICS,
    checkpoint_path,
    read_config_values,
)
from experiments.run_dir.outcome import Result, is_ok, read_scores, result_row
from experiments.run_dir.reading import has_file
from experiments.run_dir.rows import missing_coverage, missing_metrics, read_rows, steps_text
from reformer_pl.config import ConfigError


def problems(directory: Path, result: Result | None = None) -> list[str]:
    """One line a problem, without that of result.json, whose own row says it.

    `result` is the run's, where it has been read.
    """
    config, lines = _config(directory)
    for path in (directory / LOG, checkpoint_path(directory)):
        try:
            has_file(path)
        except ConfigError as error:
            lines.append(str(error))
    lines += _evaluations(directory)
    if result is None:
        result = result_row(directory)
    end = result.get("steps") if is_ok(result) else None
    lines += missing_rows(directory, config, end if isinstance(end, int) else None)
    return lines


def missing_rows(directory: Path, config: dict[str, Any], end: int | None = None) -> list[str]:
    """A line for each of the two files of rows that lacks some up to step `end`, or its last."""
    lines = []
    for name, missing in ((METRICS, missing_metrics), (COVERAGE, missing_coverage)):
        path = directory / name
        try:
            rows = read_rows(path)
        except ConfigError as error:
            lines.append(str(error))
            continue
        steps = missing(rows, config, end)
        if steps:
            present = (row["step"] for row in rows)
            lines.append(
                f"{path} lacks {steps_text(steps, present)}: curves have a gap there; "
                "the result and the checkpoint are not concerned"
            )
    return lines


def _evaluations(directory: Path) -> list[str]:
    """A line for each file of scores that cannot be read, and for their folder."""
    lines = []
    folder = directory / EVALUATIONS
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        paths = []
    except OSError as error:
        return [f"{folder} cannot be read ({error.strerror}): make it readable"]
    for path in paths:
        if path.suffix != ".json":
            continue
        try:
            read_scores(path)
        except ConfigError as error:
            lines.append(str(error))
    return lines


def _config(directory: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        return read_config_values(directory), []
    except ConfigError as error:
        return {}, [str(error)]
