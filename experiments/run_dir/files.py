"""The files of a run directory: their names, and how they are read and replaced.

A crash leaves either the old file or the new one. Every function takes the run's directory, or a
path in it.
"""

import hashlib
import json
import math
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import yaml

from experiments.run_dir.plain_text import plain_text
from experiments.run_dir.reading import has_file, read_bytes, unreadable
from experiments.run_dir.rows import parse_row
from reformer_pl.config import ConfigError, RunConfig, changes, load, read_yaml, to_dict
from reformer_pl.config.evaluations import load_evaluation
from reformer_pl.config.saved import CONFIG_FILE as CONFIG

LOG = "log.txt"
METRICS = "metrics.jsonl"
COVERAGE = "coverage.jsonl"
RESULT = "result.json"
JOB = "slurm.json"
CHECKPOINTS = "checkpoints"
CHECKPOINT = "last.ckpt"  # below checkpoints/
EVALUATIONS = "evaluations"
SHOWN = (CONFIG, LOG, METRICS, RESULT)  # what a report links to
MARKS = (CONFIG, RESULT)  # a folder with one of them is a run's
FILES = (CONFIG, LOG, METRICS, COVERAGE, RESULT, JOB)  # of a run, and no folders


# What torch.load raises for a file that is no whole checkpoint.
CORRUPT_CHECKPOINT = (
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def checkpoint_path(directory: Path) -> Path:
    return directory / CHECKPOINTS / CHECKPOINT


def evaluation_path(directory: Path, name: str) -> Path:
    return directory / EVALUATIONS / f"{safe_name(name)}.json"


def has_begun(directory: Path) -> bool:
    """Whether a run began to train there, so that there is something to lose."""
    return any(os.path.lexists(directory / name) for name in (METRICS, CHECKPOINTS, RESULT))


def written_at(path: Path) -> int | None:
    """Nanoseconds; None of a file that is not there, or whose folder cannot be read."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises OSError, for a full disk say, and leaves no rest."""
    partial = write_partial(path, text)
    os.replace(partial, path)


def write_partial(path: Path, text: str) -> Path:
    """Write the text into a file that is then to take the place of `path`.

    Raises OSError and leaves nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return partial


def json_text(values: dict[str, Any]) -> str:
    """Numbers that are not finite become null: NaN is not JSON."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
    return json.dumps(clean, indent=2) + "\n"


def write_json(path: Path, values: dict[str, Any]) -> None:
    replace_text(path, json_text(values))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file. Raises ConfigError."""
    data = read_bytes(path)
    if data is None:
        return None
    advice = "move it away, and the next run makes it anew"
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}): {advice}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is no JSON object: {advice}")
    return values


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.write("".join(f"{json.dumps(row)}\n" for row in rows))


def drop_rows_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Keep the rows of a JSON-lines file up to a step, and return them.

    A row that a crash cut short goes too, and so does a damaged one. Raises ConfigError for a file
    that cannot be read.
    """
    kept = []
    for line in (read_bytes(path) or b"").decode(errors="replace").splitlines():
        row = parse_row(line)
        if row is not None and row["step"] <= step:
            kept.append((line, row))
    if has_file(path):
        replace_text(path, "".join(f"{line}\n" for line, _ in kept))
    return [row for _, row in kept]


def log_tail(directory: Path, n_lines: int) -> list[str]:
    """The last non-empty lines of the run's log; of a progress bar, only its last state.

    Escape sequences are left out. Where the log cannot be read, one line says so.
    """
    try:
        text = (read_bytes(directory / LOG, last=8192) or b"").decode(errors="replace")
    except ConfigError as error:
        return [str(error)][:n_lines]
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    lines = [plain_text(line).strip()[:500] for line in lines]
    return [line for line in lines if line][-n_lines:]


def safe_name(text: str) -> str:
    """A text as a file name: letters, digits and =._- stay.

    Of a long text the start stays, with a hash of all of it: two texts share no name.
    """
    name = "".join(c if c.isalnum() or c in "=._-" else "-" for c in text)
    return (
        name
        if len(name) <= 120
        else f"{name[:111]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    )


def claim_directory(config: RunConfig) -> Path:
    """Make config.out_dir and leave config.yaml in it.

    Raises ConfigError for a directory in which a run of another config has begun to train.
    """
    directory = Path(config.out_dir)
    path = directory / CONFIG
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if has_begun(directory) and has_file(path):
            before = load_run_config(directory)
            reason = changes(before, config)
            if reason:
                raise ConfigError(
                    f"out_dir={directory} holds a run with another config ({reason}): "
                    "give another out_dir, or delete it to start over"
                )
            if to_dict(before) | {"out_dir": ""} == to_dict(config) | {"out_dir": ""}:
                return directory
        replace_text(path, config_text(config))
    except OSError as error:
        raise ConfigError(
            f"out_dir={directory} cannot be written ({error.strerror}): give another out_dir"
        ) from error
    return directory


def config_text(config: RunConfig) -> str:
    """A config as config.yaml has it."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def read_config(directory: Path, overrides: list[str]) -> RunConfig:
    """The config a run was made with, changed by overrides for an evaluation and checked again."""
    path = directory / CONFIG
    if not path.is_file():
        raise ConfigError(f"{directory} is no run directory: it has no {CONFIG}")
    return load_evaluation(load_run_config(directory), overrides)


def load_run_config(directory: Path) -> RunConfig:
    """The config a run was made with. Raises ConfigError."""
    values = read_config_values(directory)
    if not values:
        raise ConfigError(f"{directory / CONFIG} is no config: {_restore(directory)}")
    return load(values)


def read_config_values(directory: Path) -> dict[str, Any]:
    """A run's config.yaml as plain values; empty where there is none.

    Raises ConfigError for one that cannot be read, or is no YAML of keys and values.
    """
    path = directory / CONFIG
    if not has_file(path):
        return {}
    try:
        values = read_yaml(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {_restore(directory)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} holds no config: {_restore(directory)}")
    return values


def _restore(directory: Path) -> str:
    return f"put back the file that the run wrote, or move {directory} away and run it again"
