"""`python -m ablations run`, the same for every launcher: lock, ask, refuse, decide, check, start.

Finished cells are skipped and unfinished ones resume, so that typing the same command again is
always right.
"""

import time
from collections import Counter
from contextlib import ExitStack

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
from ablations.study import Study, compose_cells
from ablations.study.cell import Cell
from experiments.run_dir.outcome import OK
from reformer_pl.config import RunConfig

WAIT_SECONDS = (2.0, 30.0)  # between two looks: while much happens, and while nothing does


def run(studies: list[Study], options: Options, launcher: Launcher) -> int:
    """Everything is checked before the first cell starts (ConfigError).

    Exit code: 0; 1 where a cell is not ok and nobody has it; 130 after Ctrl-C, 143 after SIGTERM.
    """
    launcher.check_tools()
    grids = _compose(studies, options, launcher)
    cells = [cell for study in studies for cell in study.cells]
    stop, codes = Stop(), []
    with ExitStack() as stack:
        for study in studies:
            stack.enter_context(locked(study))
        jobs = settle(cells)
        refuse_unknown(jobs)
        refuse_live(jobs, launcher, options.force)
        if launcher.stays:
            stack.enter_context(stop.listening())
        plans = _decide(studies, grids, options, jobs, stop)
        for plan in plans:
            check_decisions(plan)
        if options.force and not stop.signals:
            set_aside([cell for plan in plans for cell in plan.readable if cell.directory.exists()])
        for plan in plans:
            if not stop.signals:
                extend_cells(plan)
                hand_over(plan)
                forget_jobs(plan.starting)
            codes.append(launcher.start(plan, options, stop))
            if stop.signals:
                return 128 + stop.signals[0]
    return max(codes)


def dry_run(studies: list[Study], options: Options, launcher: Launcher) -> int:
    """Print what `run` would do with each cell; start, lock and write nothing.

    Raises ConfigError where `run` would. Exit code: 0, or 2 where a config has changed.
    """
    grids = _compose(studies, options, launcher)
    jobs = read_jobs(cell for study in studies for cell in study.cells)
    refuse_unknown(jobs)
    refuse_live(jobs, launcher, options.force)
    plans = _decide(studies, grids, options, jobs, Stop())
    return max([print_decisions(plan) for plan in plans])


def wait(studies: list[Study]) -> int:
    """Until no launcher has any of the cells. Ctrl-C ends the waiting and cancels nothing.

    Exit code: 0 all cells are ok, 1 some are not, 130 after Ctrl-C.
    """
    cells = [cell for study in studies for cell in study.cells]
    shown, pause = "", WAIT_SECONDS[0]
    while True:
        jobs = settle(cells)
        counts = Counter(
            state(study, cell, jobs.get(cell)) for study in studies for cell in study.cells
        )
        line = ", ".join(f"{number} {word}" for word, number in counts.items())
        if line != shown:
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            shown, pause = line, WAIT_SECONDS[0]
        if not any(job.may_run for job in jobs.values()):
            return 0 if counts[OK] == len(cells) else 1
        try:
            time.sleep(pause)
        except KeyboardInterrupt:
            commands = "; ".join(cancel_commands(jobs).values())
            print(f"the jobs go on; {commands} ends them", flush=True)
            return 130
        pause = min(1.5 * pause, WAIT_SECONDS[1])


def _compose(studies: list[Study], options: Options, launcher: Launcher) -> list[list[RunConfig]]:
    """The configs of each study's cells. ConfigError where the launcher cannot run them."""
    grids = [compose_cells(study) for study in studies]
    for study, configs in zip(studies, grids, strict=True):
        launcher.check(study, configs, options)
    return grids


def _decide(
    studies: list[Study],
    grids: list[list[RunConfig]],
    options: Options,
    jobs: dict[Cell, Job],
    stop: Stop,
) -> list[Plan]:
    return [
        Plan(study, configs, decide(study, configs, options, jobs, stop.signals))
        for study, configs in zip(studies, grids, strict=True)
    ]
