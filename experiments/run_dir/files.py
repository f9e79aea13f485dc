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

from reformer_pl.config import ConfigError, RunConfig, changes, load, read_yaml, to_dict
from reformer_pl.config.evaluations import load_evaluation
from reformer_pl.config.saved import CONFIG_FILE as CONFIG

LOG = "log.txt"
METRICS = "metrics.jsonl"
COVERAGE = "coverage.jsonl"
RESULT = "result.json"
JOB = "slurm.json"
ASKED = "asked.json"  # the config that a study's driver composed for its cell
OWNER = ".owner"  # host and process of who has the directory
DATA = "data.json"  # size and hash of the file that was read
SESSIONS = "sessions.jsonl"  # each process that trained a part of it
CHECKPOINTS = "checkpoints"
CHECKPOINT = "last.ckpt"  # below checkpoints/
EVALUATIONS = "evaluations"
SHOWN = (CONFIG, LOG, METRICS, RESULT)  # what a report links to
MARKS = (CONFIG, RESULT)  # a folder with one of them is a run's


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


def no_checkpoint(path: Path) -> str:
    """The sentence for a checkpoint that is not there, such as one deleted to save space."""
    return (
        f"{path} is not there, and the weights with it: its numbers stay, "
        "but to score it once more, train the run again in another out_dir"
        if (path.parent.parent / RESULT).exists()
        else f"{path} is missing: train the run first"
    )


def evaluation_path(directory: Path, name: str) -> Path:
    """Of a name that is no file name as it stands, such as "a b", with a hash: "a-b" is another."""
    stem = safe_name(name)
    if stem != name and len(stem) == len(name):
        stem = safe_name(f"{stem}-{_short_hash(name)}")
    return directory / EVALUATIONS / f"{stem}.json"


def plain_evaluation_path(directory: Path, name: str) -> Path:
    """Where the scores of an evaluation were written before its file had a hash."""
    return directory / EVALUATIONS / f"{safe_name(name)}.json"


def has_begun(directory: Path) -> bool:
    """Whether a run began to train there, so that there is something to lose."""
    return any((directory / name).exists() for name in (METRICS, CHECKPOINTS, RESULT))


def written_at(path: Path) -> int | None:
    """Nanoseconds; None of a file that is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
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
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{path} is not JSON ({error}): delete it and the cell runs again"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is no JSON object: delete it and the cell runs again")
    return values


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none where there is no such file.

    What follows the last newline is half a row of a run that is writing or was killed. Raises
    ConfigError for a damaged row.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [_read_row(line, path) for line in lines]


def _read_row(line: str, path: Path) -> dict[str, Any]:
    advice = "delete the run's directory and run it again"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is damaged ({error.msg}: {line[:60]}): {advice}") from error
    if not isinstance(row, dict):
        raise ConfigError(f"{path} is damaged (no object: {line[:60]}): {advice}")
    return row


def last_rows(path: Path, size: int) -> list[dict[str, Any]]:
    """The rows in the last `size` bytes of a JSON-lines file, without those that are cut."""
    rows = []
    for line in tail(path, size).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.write("".join(f"{json.dumps(row)}\n" for row in rows))


def drop_rows_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Keep the rows of a JSON-lines file up to a step, and return them.

    A row that a crash cut short goes too.
    """
    kept = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            if int(row["step"]) <= step:
                kept.append((line, row))
        except (ValueError, KeyError):
            continue
    if path.is_file():
        replace_text(path, "".join(f"{line}\n" for line, _ in kept))
    return [row for _, row in kept]


def tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a file; nothing of one that does not exist."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - size))
        return file.read()


def log_tail(directory: Path, n_lines: int) -> list[str]:
    """The last non-empty lines of the run's log; of a progress bar, only its last state."""
    text = tail(directory / LOG, 8192).decode(errors="replace")
    lines = [line.rstrip().rsplit("\r", 1)[-1].strip() for line in text.splitlines(keepends=False)]
    return [line[:500] for line in lines if line][-n_lines:]


def safe_name(text: str) -> str:
    """A text as a file name: letters, digits and =._- stay.

    Of a text of more than 120 bytes the start stays, with a hash of all of it: two share no name.
    """
    name = "".join(c if c.isalnum() or c in "=._-" else "-" for c in text)
    data = name.encode()
    if len(data) <= 120:
        return name
    return f"{data[:111].decode(errors='ignore')}-{_short_hash(text)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def claim_directory(config: RunConfig) -> Path:
    """Make config.out_dir and leave config.yaml in it.

    Raises ConfigError for a directory in which a run of another config has begun to train.
    """
    directory = Path(config.out_dir)
    path = directory / CONFIG
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.is_file() and has_begun(directory):
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
        raise ConfigError(
            f"{directory / CONFIG} is no config: move {directory} away and train again"
        )
    return load(values)


def read_config_values(directory: Path) -> dict[str, Any]:
    """A run's config.yaml as plain values; empty where there is none.

    Raises ConfigError for one that is no YAML.
    """
    path = directory / CONFIG
    try:
        values = read_yaml(path) if path.exists() else {}
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} is not YAML: move {path.parent} away and run it again"
        ) from error
    return values if isinstance(values, dict) else {}
