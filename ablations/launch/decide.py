"""What `run` does with each cell, decided from its files before anything starts: the sweep follows it, and --dry-run only shows it."""

import os
import pickle
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from ablations.launch.options import Options
from ablations.launch.predicted_memory import too_large
from ablations.launch.slurm.queue import Job, is_lost
from ablations.study import Study
from ablations.study.grid import Cell
from experiments.run_dir.files import CONFIG, checkpoint_path, has_begun
from experiments.run_dir.lock import is_running
from experiments.run_dir.outcome import FAILED, OK, WOULD_NOT_FIT, missing_evaluations, read_result
from reformer_pl.config import ConfigError, RunConfig, changes_since

STARTING = (
    "run",
    "resume",
    "retry",
    "evaluate",
    "start over",
)  # what makes a cell start; skip, refuse and changed do not


@dataclass(frozen=True)
class Decision:
    word: str  # one of STARTING, or skip, refuse (it would not fit), changed (its directory holds another config), given (to SLURM)
    why: str = ""
    predicted_gib: float | None = None  # of a cell that is refused
    status: str = ""  # of a cell that is skipped: how it ended

    @property
    def starts(self) -> bool:
        return self.word in STARTING

    def __str__(self) -> str:
        return f"{self.word} ({self.why})" if self.why else self.word


def decide(
    study: Study,
    configs: list[RunConfig],
    options: Options,
    jobs: dict[Cell, Job],
    signals: list[int],
) -> dict[Cell, Decision]:
    """One decision a cell; `jobs` are those that SLURM was given. The memory limit comes last: it takes seconds, and ends with a signal.

    Raises ConfigError for a config.yaml or a result that cannot be read.
    """
    decisions = {
        cell: _decide(study, cell, config, options, jobs.get(cell))
        for cell, config in zip(study.cells, configs, strict=True)
    }
    trains = {
        cell: config
        for cell, config in zip(study.cells, configs, strict=True)
        if _takes_memory(decisions[cell])
    }
    for cell, (error, predicted_gib) in too_large(
        trains, options.memory_limit_gib, signals
    ).items():
        decisions[cell] = Decision("refuse", error, predicted_gib)
    return decisions


def _takes_memory(decision: Decision) -> bool:
    return decision.starts and decision.word != "evaluate"


def _decide(
    study: Study, cell: Cell, config: RunConfig, options: Options, job: Job | None
) -> Decision:
    if job is not None and (job.is_live or job.state == "unknown"):
        return Decision("given", str(job))
    if options.force:
        return Decision("start over") if cell.directory.exists() else Decision("run")
    changed = changed_config(study, cell, config)
    if changed:
        return Decision("changed", changed)
    result = read_result(cell.directory)
    if result is None and job is not None and is_lost(cell, job):  # not recorded yet
        result = {"status": FAILED}
    if result is None:
        return Decision("resume" if has_begun(cell.directory) else "run")
    status = result["status"]
    if status == OK:
        missing = missing_evaluations(cell.directory, study.evaluations)
        return (
            Decision("evaluate", f"trained, without {', '.join(missing)}")
            if missing
            else Decision("skip", OK, status=OK)
        )
    if options.retry or (status == WOULD_NOT_FIT and options.memory_limit_gib is not None):
        return Decision("retry", status)
    return Decision("skip", f"{status}, --retry runs it again", status=status)


def changed_config(study: Study, cell: Cell, config: RunConfig) -> str:
    """How the config of a finished or half-trained cell differs from the study's. One that never began to train holds nothing to lose."""
    path = cell.directory / CONFIG
    if not path.exists() or not has_begun(cell.directory):
        return ""
    try:
        return changes_since(path, config)
    except (yaml.YAMLError, OSError, ConfigError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"study {study.name}: {path} cannot be read ({reason}): move {cell.directory} away"
        ) from error


def set_aside(cells: list[Cell]) -> None:
    """What --force starts over is renamed, never deleted: seed=0 becomes seed=0.before-YYYYMMDD-HHMMSS. Raises ConfigError."""
    for cell in cells:
        try:
            os.rename(cell.directory, kept(cell.directory))
        except OSError as error:
            raise ConfigError(
                f"{cell.directory} cannot be renamed ({error.strerror}), as --force does: move it away"
            ) from error


def kept(directory: Path) -> Path:
    """Where --force puts a directory now."""
    return directory.with_name(f"{directory.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")


def print_decisions(study: Study, configs: list[RunConfig], decisions: dict[Cell, Decision]) -> int:
    """A line for each cell: what would happen. Exit code: 0, or 2 where a config has changed, for then `run` refuses."""
    starting = sum(decision.starts for decision in decisions.values())
    print(f"{study.name}: {len(study.cells)} cells, {starting} would start")
    for cell, config in zip(study.cells, configs, strict=True):
        decision = decisions[cell]
        match decision.word:
            case _ if is_running(cell.directory):
                said = "skip (it is running now)"
            case "resume" | "retry":
                said = f"{decision} {_where(cell, config)}"
            case "start over":
                said = f"start over, and keep what is there as {cell.directory.name}.before-TIME"
            case "given":
                said = f"skip (it is {decision.why})"
            case "changed":
                said = f"refuse, for its config changed: {decision.why}"
            case _:
                said = str(decision)
        print(f"  {cell}: {said}", flush=True)
    return 2 if any(decision.word == "changed" for decision in decisions.values()) else 0


def _where(cell: Cell, config: RunConfig) -> str:
    """The step from which a cell would go on."""
    path = checkpoint_path(cell.directory)
    if not path.is_file():
        return "from the start" + (", for it left no checkpoint" if cell.trains else "")
    import torch  # takes seconds; only --dry-run comes here

    try:
        step = torch.load(path, map_location="meta", mmap=True, weights_only=True)["global_step"]
    except (
        RuntimeError,
        EOFError,
        OSError,
        LookupError,
        ValueError,
        TypeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        return f"from its checkpoint, which is refused as corrupt ({type(error).__name__}): delete {path} to train it again"
    return f"from step {step} of {config.trainer.max_steps}"
