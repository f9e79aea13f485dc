"""A run made longer: its directory becomes that of a stopped run that has more steps to do.

What it then trains is bit for bit a run that had these steps from the start. Its result and its
evaluations so far are kept under another name, which no reader takes for those of the longer run.
"""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from experiments.run_dir.durable import replace_text
from experiments.run_dir.files import (
    CONFIG,
    COVERAGE,
    EVALUATIONS,
    METRICS,
    RESULT,
    checkpoint_path,
    config_text,
    has_begun,
    json_text,
    load_run_config,
)
from experiments.run_dir.identity import can_be_longer
from experiments.run_dir.rows import read_rows
from reformer_pl.config import ConfigError, RunConfig, changes


def extend(directory: Path, config: RunConfig) -> None:
    """Let the run of a directory go on to config.trainer.max_steps. Raises ConfigError."""
    if not (directory / CONFIG).is_file() or not has_begun(directory):
        raise ConfigError(f"{directory} holds no run to extend: out_dir names the run's directory")
    before = load_run_config(directory)
    if not changes(before, config):
        return
    check_extends(directory, before, config)
    steps = before.trainer.max_steps
    kept = directory / f"{Path(RESULT).stem}.at-step-{steps}.json"
    for path, place in (
        (directory / RESULT, kept),
        (directory / EVALUATIONS, directory / f"{EVALUATIONS}.at-step-{steps}"),
    ):
        if path.exists():
            os.rename(path, place)
    # A longer run has no evaluation where the shorter one ended.
    _drop_last(directory / METRICS, steps, before.trainer.eval_every_steps, split="valid")
    _drop_last(directory / COVERAGE, steps, before.trainer.coverage_every_steps)
    replace_text(directory / CONFIG, config_text(config))


def check_extends(directory: Path, before: RunConfig, after: RunConfig) -> None:
    """Raises ConfigError where the run that `before` describes cannot go on as `after`."""
    old, new = before.trainer.max_steps, after.trainer.max_steps
    longer = deepcopy(before)
    longer.trainer.max_steps = new
    reason = changes(longer, after)
    if reason:
        why = f"more than trainer.max_steps differs ({reason})"
    elif new <= old:
        why = f"it has {old} steps already, and trainer.max_steps={new} is not more"
    elif not can_be_longer(before):
        why = (
            f"optim.schedule={before.optim.schedule} falls to 0 at trainer.max_steps, so that a "
            "longer run differs from its first steps on: train it from the start, "
            "in another out_dir, or as a cell of a study with run --force"
        )
    elif (directory / RESULT).exists() and not checkpoint_path(directory).is_file():
        why = (
            f"{checkpoint_path(directory)} is not there: put it back, or train the longer run from "
            "the start, under another name"
        )
    else:
        return
    raise ConfigError(f"{directory} cannot be extended: {why}")


def _drop_last(path: Path, step: int, every: int, **marks: Any) -> None:
    """The rows of the last step, unless they were due there anyway."""
    if every == 0 or step % every == 0 or not path.is_file():
        return
    rows = [
        row
        for row in read_rows(path)
        if row.get("step") != step or any(row.get(key) != mark for key, mark in marks.items())
    ]
    replace_text(path, "".join(json_text(row, indent=None) for row in rows))
