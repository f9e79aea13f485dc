"""What `run` does with each cell, decided from its files before anything starts.

The launcher follows the decisions, and --dry-run only shows them.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.launch.job import Job, is_lost
from ablations.launch.options import Options
from ablations.launch.predicted_memory import too_large
from ablations.study import Study
from ablations.study.cell import Cell, numbers_of
from ablations.study.changed import changed_config
from experiments.run_dir.durable import replace_text
from experiments.run_dir.extend import check_extends, extend
from experiments.run_dir.files import (
    ASKED,
    CONFIG,
    checkpoint_path,
    has_begun,
    json_text,
    load_run_config,
    no_checkpoint,
)
from experiments.run_dir.outcome import (
    FAILED,
    OK,
    UNEVALUATED,
    UNREADABLE,
    WOULD_NOT_FIT,
    is_ok,
    missing_evaluations,
    read_result,
    result_row,
    write_failure,
)
from reformer_pl.config import ConfigError, RunConfig, check_installed, to_dict

STARTING = ("run", "resume", "retry", "evaluate", "extend", "start over")


@dataclass(frozen=True)
class Decision:
    """`word` is one of STARTING; or skip; or one of these, with its reason in `why`.

    refuse: it would not fit. changed: its directory holds another config. given: to a launcher.
    unreadable: a file of its directory cannot be read, which is its failure and no other cell's.
    """

    word: str
    why: str = ""
    predicted_gib: float | None = None  # of a cell that is refused
    status: str = ""  # of a cell that is skipped: how it ended

    @property
    def starts(self) -> bool:
        return self.word in STARTING

    def __str__(self) -> str:
        return f"{self.word} ({self.why})" if self.why else self.word


@dataclass(frozen=True)
class Plan:
    """A study with the configs of its cells, in their order, and the decision on each."""

    study: Study
    configs: list[RunConfig]
    decisions: dict[Cell, Decision]

    @property
    def starting(self) -> list[Cell]:
        return [cell for cell in self.study.cells if self.decisions[cell].starts]

    @property
    def readable(self) -> list[Cell]:
        return [cell for cell in self.study.cells if self.decisions[cell].word != UNREADABLE]

    @property
    def given(self) -> list[Cell]:
        return [cell for cell in self.study.cells if self.decisions[cell].word == "given"]

    @property
    def skipped(self) -> dict[Cell, str]:
        """How each cell ended that stays as it is."""
        return {
            cell: decision.status
            for cell, decision in self.decisions.items()
            if decision.word in ("skip", UNREADABLE)
        }


def decide(
    study: Study,
    configs: list[RunConfig],
    options: Options,
    jobs: dict[Cell, Job],
    signals: list[int],
    tried: frozenset[Path] = frozenset(),
) -> dict[Cell, Decision]:
    """One decision a cell; `jobs` are those that a launcher was given.

    `tried` are the directories whose run this command has started already: none is retried.

    The memory limit comes last, for it takes seconds. It ends early when one of `signals` comes.
    A config.yaml or a result that cannot be read is that cell's decision. Raises ConfigError for a
    run that cannot be extended.
    """
    decisions = {}
    for cell, config in zip(study.cells, configs, strict=True):
        try:
            again = replace(options, retry=options.retry and cell.directory not in tried)
            decisions[cell] = _decide(study, cell, config, again, jobs.get(cell))
        except ConfigError as error:
            decisions[cell] = Decision(UNREADABLE, str(error), status=UNREADABLE)
    for cell, config in zip(study.cells, configs, strict=True):
        if decisions[cell].word == "extend":  # or the whole study is refused
            check_extends(cell.directory, load_run_config(cell.directory), config)
    trains = {
        cell: config
        for cell, config in zip(study.cells, configs, strict=True)
        if _takes_memory(decisions[cell])
    }
    for cell, (error, predicted_gib) in too_large(
        trains, options.memory_limit_gib, signals, bool(options.gpus)
    ).items():
        decisions[cell] = Decision("refuse", error, predicted_gib)
    return decisions


def _takes_memory(decision: Decision) -> bool:
    return decision.starts and decision.word != "evaluate"


def _decide(
    study: Study, cell: Cell, config: RunConfig, options: Options, job: Job | None
) -> Decision:
    if job is not None and job.may_run:
        return Decision("given", str(job))
    if job is not None and job.state == UNREADABLE and not is_ok(result_row(cell.directory)):
        raise ConfigError(job.why)  # it may run
    if options.force:
        return Decision("start over") if cell.directory.exists() else Decision("run")
    changed = changed_config(study, cell, config)
    if changed and options.extend and cell.trains:
        return Decision("extend", changed)
    if changed:
        return Decision("changed", changed)
    result = read_result(cell.directory)
    if result is None and job is not None and is_lost(cell, job):  # not recorded yet
        result = {"status": FAILED}
    if result is None:
        return Decision("resume" if has_begun(cell.directory) else "run")
    status = result["status"]
    if status == OK:
        missing = missing_evaluations(cell.directory, study.evaluations_of(cell))
        if not missing:
            return Decision("skip", OK, status=OK)
        why = f"trained, without {', '.join(missing)}"
        checkpoint = checkpoint_path(cell.directory)
        if checkpoint.is_file() or not (cell.directory / CONFIG).exists():
            return Decision("evaluate", why)
        return Decision("skip", f"{why}: {no_checkpoint(checkpoint)}", status=UNEVALUATED)
    if options.retry or (status == WOULD_NOT_FIT and options.memory_limit_gib is not None):
        return Decision("retry", status)
    return Decision("skip", f"{status}, --retry runs it again", status=status)


def hand_over(plan: Plan) -> None:
    """Leave beside each cell that starts the config that it is to train, which it compares."""
    for cell, config in zip(plan.study.cells, plan.configs, strict=True):
        if plan.decisions[cell].starts:
            with suppress(OSError):  # in such a directory the cell cannot start, and says why
                replace_text(cell.directory / ASKED, json_text(to_dict(config)))


def extend_cells(plan: Plan) -> None:
    """Make the directories of the cells that are to go on those of longer runs (ConfigError)."""
    for cell, config in zip(plan.study.cells, plan.configs, strict=True):
        if plan.decisions[cell].word == "extend":
            extend(cell.directory, config)


def set_aside(cells: list[Cell]) -> None:
    """What --force starts over is renamed, never deleted. Raises ConfigError.

    The directory seed=0 becomes seed=0.before-YYYYMMDD-HHMMSS.
    """
    for directory in dict.fromkeys(cell.directory for cell in cells):
        if not directory.exists():
            continue
        try:
            os.rename(directory, kept(directory))
        except OSError as error:
            raise ConfigError(
                f"{directory} cannot be renamed ({error.strerror}), as --force does: move it away"
            ) from error


def kept(directory: Path) -> Path:
    """Where --force puts a directory now."""
    return directory.with_name(f"{directory.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")


def check_decisions(plan: Plan) -> None:
    """A finished or half-trained cell is never taken for one of another config (ConfigError).

    What a cell needs is installed, too.
    """
    for cell, config in zip(plan.study.cells, plan.configs, strict=True):
        decision = plan.decisions[cell]
        if decision.word == "changed":
            raise ConfigError(
                f"study {plan.study.name}: {cell.directory} holds a run of another config "
                f"({decision.why}): rename the study, move it away, "
                "start all cells over with --force, or, for more steps alone, --extend them"
            )
        if decision.starts:
            check_installed(config)


def record_refusals(plan: Plan, print_line: Callable[[str], None]) -> list[Cell]:
    """The cells that would not fit, recorded as rows like any failure, with a line each.

    A cell that cannot be read has a line, too, and its files stay as they are.
    """
    refused = []
    for cell, decision in plan.decisions.items():
        if decision.word == UNREADABLE:
            print_line(f"  {cell}: {UNREADABLE}, {decision.why}")
        if decision.status == UNEVALUATED:
            print_line(f"  {cell}: {decision.why}")
        if decision.word != "refuse" or decision.predicted_gib is None:
            continue
        refused.append(cell)
        unrecorded = ""
        try:
            write_failure(
                cell.directory,
                WOULD_NOT_FIT,
                decision.why,
                numbers_of(cell),
                predicted_memory_gib=decision.predicted_gib,
            )
        except OSError as error:  # its directory cannot be written
            unrecorded = f", which cannot be recorded: {error}"
        print_line(f"  {cell}: {WOULD_NOT_FIT}, {decision.why}{unrecorded}")
    return refused
