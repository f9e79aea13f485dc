"""`python -m ablations run`, the same for every launcher: lock, ask, refuse, decide, check, start.

Finished cells are skipped and unfinished ones resume, so that typing the same command again is
always right.
"""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ablations.launch.decide import (
    Plan,
    check_decisions,
    decide,
    extend_cells,
    hand_over,
    set_aside,
)
from ablations.launch.job import Job
from ablations.launch.jobs import (
    cancel_commands,
    forget_jobs,
    read_jobs,
    refuse_live,
    refuse_unknown,
    settle,
)
from ablations.launch.launchers import Launcher
from ablations.launch.local.stop import Stop
from ablations.launch.options import Options
from ablations.launch.pace import state
from ablations.launch.study_lock import locked
from ablations.launch.views.dry_run import print_decisions
from ablations.launch.views.study_lines import study_lines
from ablations.launch.views.tuning import tuning_lines
from ablations.study import Study, compose_cells
from ablations.study.cell import Cell
from ablations.study.runs.sample import record_samples
from ablations.study.runs.shared import one_cell_a_run
from ablations.study.tune.final_cells import known, stages, unlike_any_choice, with_choices
from experiments.run_dir.outcome import OK
from reformer_pl.config import ConfigError, RunConfig

Stage = tuple[Study, list[RunConfig]]  # cells that run in turn with those of others

WAIT_SECONDS = (2.0, 30.0)  # between two looks: while much happens, and while nothing does


def run(studies: list[Study], options: Options, launcher: Launcher) -> int:
    """Everything is checked before the first cell starts (ConfigError).

    A study that tunes runs its tuning cells first, and then its own cells at the values that these
    choose. Exit code: 0; 1 where a cell is not ok and nobody has it; 130 after Ctrl-C, 143 after
    SIGTERM. A tuning cell that failed is a value that was not chosen.
    """
    launcher.check_tools()
    grids = [_compose(study, options, launcher) for study in studies]
    stop, codes = Stop(), []
    with ExitStack() as stack:
        for study in studies:
            stack.enter_context(locked(study))
        jobs = settle(cell for study in studies for cell in study.all_cells)
        refuse_unknown(jobs)
        refuse_live(jobs, launcher, options.force)
        if launcher.stays:
            stack.enter_context(stop.listening())
        planned = [[_plan(stage, options, jobs, stop) for stage in grid] for grid in grids]
        for plan in chain.from_iterable(planned):
            check_decisions(plan)
        if not options.force and not options.extend:
            _check_waiting(studies)
        if options.force and not stop.signals:
            readable = [cell for plans in planned for plan in plans for cell in plan.readable]
            waiting = [cell for study in studies for cell in study.cells if study.is_open(cell)]
            set_aside([*readable, *waiting])
        for study, plans in zip(studies, planned, strict=True):
            if not stop.signals:
                record_samples(study)
            _print(study_lines(study))
            if study.tuning is None:
                codes.append(_start(plans[0], options, launcher, stop))
            else:
                codes.append(_tune_and_run(study, plans[0], options, launcher, jobs, stop))
            if stop.signals:
                return 128 + stop.signals[0]
    return max(codes)


def dry_run(studies: list[Study], options: Options, launcher: Launcher) -> int:
    """Print what `run` would do with each cell; start, lock and write nothing.

    Raises ConfigError where `run` would. Exit code: 0, or 2 where a config has changed.
    """
    grids = [_compose(study, options, launcher) for study in studies]
    jobs = read_jobs(cell for study in studies for cell in study.all_cells)
    refuse_unknown(jobs)
    refuse_live(jobs, launcher, options.force)
    planned = [[_plan(stage, options, jobs, Stop()) for stage in grid] for grid in grids]
    if not options.force and not options.extend:
        _check_waiting(studies)
    code = 0
    for study, plans in zip(studies, planned, strict=True):
        code = max(code, *[print_decisions(plan) for plan in plans if plan.study.cells])
        _print([*study_lines(study), *tuning_lines(study)])
    return code


def wait(studies: list[Study]) -> int:
    """Until no launcher has any of the cells. Ctrl-C ends the waiting and cancels nothing.

    Exit code: 0 all cells are ok, tuning cells aside; 1 some are not, 130 after Ctrl-C.
    """
    studies = [with_choices(study) for study in studies]
    placed = [(stage, cell) for study in studies for stage in stages(study) for cell in stage.cells]
    shown, pause = "", WAIT_SECONDS[0]
    while True:
        jobs = settle(cell for _, cell in placed)
        states = {(stage.name, cell): state(stage, cell, jobs.get(cell)) for stage, cell in placed}
        counts = Counter(states.values())
        line = ", ".join(f"{number} {word}" for word, number in counts.items())
        if line != shown:
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            shown, pause = line, WAIT_SECONDS[0]
        if not any(job.may_run for job in jobs.values()):
            own = [states.get((study.name, cell)) for study in studies for cell in study.cells]
            return 0 if all(word == OK for word in own) else 1
        try:
            time.sleep(pause)
        except KeyboardInterrupt:
            commands = "; ".join(cancel_commands(jobs).values())
            print(f"the jobs go on; {commands} ends them", flush=True)
            return 130
        pause = min(1.5 * pause, WAIT_SECONDS[1])


def _compose(study: Study, options: Options, launcher: Launcher) -> list[Stage]:
    """A study's stages, which run in turn. ConfigError where the launcher cannot run them."""
    composed = []
    for stage in stages(study):
        configs = dict(zip(stage.cells, compose_cells(stage), strict=True))
        launcher.check(stage, list(configs.values()), options)
        ready = one_cell_a_run(known(stage))
        composed.append((ready, [configs[cell] for cell in ready.cells]))
    return composed


def _plan(
    stage: Stage,
    options: Options,
    jobs: dict[Cell, Job],
    stop: Stop,
    tried: frozenset[Path] = frozenset(),
) -> Plan:
    study, configs = stage
    return Plan(study, configs, decide(study, configs, options, jobs, stop.signals, tried))


def _tune_and_run(
    study: Study,
    plan: Plan,
    options: Options,
    launcher: Launcher,
    jobs: dict[Cell, Job],
    stop: Stop,
) -> int:
    """`plan` is that of the tuning cells. What they choose is read from the disk afterwards."""
    alone = replace(options, parallel=1) if study.timed else options
    _print(tuning_lines(study)[:1])
    _start(plan, alone, launcher, stop)
    if stop.signals:
        return 1
    study = with_choices(study)
    _print(tuning_lines(study)[1:])
    ready = _compose(study, options, launcher)[1]
    if launcher.stays:  # else a queue may not list yet what it has just been given
        jobs = settle(study.all_cells)
    tried = frozenset(cell.directory for cell in plan.starting)
    later = replace(options, force=False)  # what was there has been renamed
    final = _plan(ready, later, jobs, stop, tried)
    check_decisions(final)
    code = _start(final, later, launcher, stop)
    is_open = any(study.is_open(cell) for cell in study.cells)
    return 1 if is_open and launcher.stays else code


def _check_waiting(studies: list[Study]) -> None:
    """Before hours of tuning: the final cells can then be run (ConfigError)."""
    for study in studies:
        for cell, reason in unlike_any_choice(study).items():
            raise ConfigError(
                f"study {study.name}: {cell.directory} holds a run of another config than any "
                f"that tune can choose ({reason}): rename the study, move it away, or start all "
                "cells over with --force"
            )


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _start(plan: Plan, options: Options, launcher: Launcher, stop: Stop) -> int:
    if not plan.study.cells:
        return 0
    if not stop.signals:
        extend_cells(plan)
        hand_over(plan)
        forget_jobs(plan.starting)
    return launcher.start(plan, options, stop)
