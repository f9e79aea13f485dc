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
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from experiments.run_dir.durable import is_blank, make_folder, replace_text
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
ROUNDS = "rounds.jsonl"
JOB = "slurm.json"
ASKED = "asked.json"  # the config that a study's driver composed for its cell
OWNER = ".owner"  # host and process of who has the directory
DATA = "data.json"  # size and hash of the file that was read
SESSIONS = "sessions.jsonl"  # each process that trained a part of it
CHECKPOINTS = "checkpoints"
CHECKPOINT = "last.ckpt"  # below checkpoints/
PREVIOUS = "previous.ckpt"  # the one before, until the run has ended
EVALUATIONS = "evaluations"
SHOWN = (CONFIG, LOG, METRICS, RESULT, ROUNDS)  # what a report links to
MARKS = (CONFIG, RESULT)  # a folder with one of them is a run's
FILES = (CONFIG, LOG, METRICS, COVERAGE, RESULT, JOB, DATA, SESSIONS)  # of a run, and no folders


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


def previous_checkpoint_path(directory: Path) -> Path:
    return directory / CHECKPOINTS / PREVIOUS


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
        stem = safe_name(f"{stem}-{short_hash(name)}")
    return directory / EVALUATIONS / f"{stem}.json"


def plain_evaluation_path(directory: Path, name: str) -> Path:
    """Where the scores of an evaluation were written before its file had a hash."""
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


def json_text(values: Any, indent: int | None = 2) -> str:
    """The one JSON writer: numbers that are not finite become null, for NaN is not JSON."""
    return json.dumps(_finite(values), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case float() if not math.isfinite(value):
            return None
    return value


def write_json(path: Path, values: dict[str, Any]) -> None:
    replace_text(path, json_text(values))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file, or a blank one. Raises ConfigError."""
    data = read_bytes(path)
    if data is None or is_blank(data):
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
        file.write("".join(json_text(row, indent=None) for row in rows))


def drop_rows_after(
    path: Path, step: int, parse: Callable[[str], dict[str, Any] | None] = parse_row
) -> list[dict[str, Any]]:
    """Keep the rows of a JSON-lines file up to a step, and return them.

    A row that a crash cut short goes too, and so does a damaged one. Raises ConfigError for a file
    that cannot be read.
    """
    kept = []
    for line in (read_bytes(path) or b"").decode(errors="replace").splitlines():
        row = parse(line)
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
    """A text as a file name: letters, digits and =._- stay. Two long texts share no name."""
    name = "".join(c if c.isalnum() or c in "=._-" else "-" for c in text)
    return shortened(name, text, 120)


def shortened(name: str, text: str, n_letters: int, n_bytes: int = 200) -> str:
    """Of a long name the start, with a hash of the text that it stands for.

    A file system counts 255 bytes, of which a Chinese letter has three; a file that is being
    written has a longer name than the one it replaces.
    """
    data = name.encode(errors="surrogatepass")
    if len(name) <= n_letters and len(data) <= n_bytes:
        return name
    start = data[: n_letters - 9].decode(errors="ignore")
    return f"{start}-{short_hash(text)}"


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def claim_directory(config: RunConfig) -> Path:
    """Make config.out_dir and leave config.yaml in it.

    Raises ConfigError for a directory in which a run of another config has begun to train.
    """
    directory = Path(config.out_dir)
    path = directory / CONFIG
    try:
        make_folder(directory)
        if has_config(directory) and has_begun(directory):
            before = load_run_config(directory)
            reason = changes(before, config)
            if reason:
                raise ConfigError(
                    f"out_dir={directory} holds a run with another config ({reason}): "
                    f"give another out_dir{_or_extend(before, config)}"
                )
            if to_dict(before) | {"out_dir": ""} == to_dict(config) | {"out_dir": ""}:
                return directory
        replace_text(path, config_text(config))
    except OSError as error:
        raise ConfigError(
            f"out_dir={directory} cannot be written ({error.strerror}): give another out_dir"
        ) from error
    return directory


def _or_extend(before: RunConfig, config: RunConfig) -> str:
    longer = deepcopy(before)
    longer.trainer.max_steps = config.trainer.max_steps
    more = config.trainer.max_steps > before.trainer.max_steps and not changes(longer, config)
    return ", or go on to more steps with --extend" if more else ", or move it away to start over"


def has_config(directory: Path) -> bool:
    """Whether a run has left its config there, and no power cut has emptied it."""
    return not is_blank(read_bytes(directory / CONFIG) or b"")


def config_text(config: RunConfig) -> str:
    """A config as config.yaml has it."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def read_config(directory: Path, overrides: list[str]) -> RunConfig:
    """The config a run was made with, changed by overrides for an evaluation and checked again."""
    if not has_config(directory):
        raise ConfigError(f"{directory} is no run directory: it has no {CONFIG}")
    return load_evaluation(load_run_config(directory), overrides)


def load_run_config(directory: Path) -> RunConfig:
    """The config a run was made with. Raises ConfigError."""
    values = read_config_values(directory)
    if not values:
        raise ConfigError(f"{directory / CONFIG} is no config: {_restore(directory)}")
    try:
        return load(values)
    except ConfigError as error:
        raise ConfigError(
            f"{directory / CONFIG} cannot be read ({error}): {_restore(directory)}"
        ) from error


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
