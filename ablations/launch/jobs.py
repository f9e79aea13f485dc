"""What the launchers have of the cells of a study, all launchers taken together."""

from collections.abc import Iterable
from contextlib import suppress

from ablations.launch.job import Job, is_lost
from ablations.launch.launchers import LAUNCHERS, Launcher, build_launcher
from ablations.study.cell import Cell, numbers_of
from experiments.run_dir.files import log_tail
from experiments.run_dir.outcome import write_failure
from reformer_pl.config import ConfigError


def read_jobs(cells: Iterable[Cell]) -> dict[Cell, Job]:
    """The job of each cell that was ever handed over and has not been started here since.

    A damaged record is an unreadable job.
    """
    asked, jobs = list(cells), {}
    for word in LAUNCHERS:
        jobs |= build_launcher(word).read_jobs(asked)
    return jobs


def settle(cells: Iterable[Cell]) -> dict[Cell, Job]:
    """`read_jobs`; a cell whose job has ended without a result becomes a row like any failure."""
    jobs = read_jobs(cells)
    for cell, job in jobs.items():
        if is_lost(cell, job):
            _record_lost(cell, job)
    return jobs


def _record_lost(cell: Cell, job: Job) -> None:
    """A result that has come meanwhile stays."""
    reason = f" ({job.why})" if job.why else ""
    how = f"{job.kind} {job.id} ended without a result{reason}"
    error = ": ".join([how, *log_tail(cell.directory, 1)])
    try:
        write_failure(cell.directory, job.status, error, numbers_of(cell), replace=False)
    except OSError:
        # Another user's study, or a full disk: status shows the cell as lost.
        return


def forget_jobs(cells: Iterable[Cell]) -> None:
    """The records of jobs that have ended, before their cells start anew."""
    for path in (build_launcher(word).record_path(cell) for cell in cells for word in LAUNCHERS):
        if path is not None:
            with suppress(OSError):  # in such a directory the cell cannot start, and says why
                path.unlink(missing_ok=True)


def refuse_unknown(jobs: dict[Cell, Job]) -> None:
    """A cell that may still run is not started beside itself (ConfigError)."""
    for cell, job in jobs.items():
        if job.state == "unknown":
            record = build_launcher(job.launcher).record_path(cell)
            raise ConfigError(
                f"{cell} was started as {job.kind} {job.id}, and nobody knows whether it "
                f"still runs ({job.why}): ask where the queue answers, "
                f"or delete {record} if it does not run"
            )


def refuse_live(jobs: dict[Cell, Job], launcher: Launcher, force: bool) -> None:
    """ConfigError where another launcher has a cell, or --force would start over what runs."""
    for cell, job in jobs.items():
        own = job.launcher == launcher.word
        if job.is_live and (force or not own):
            command = build_launcher(job.launcher).cancel_command([job])
            aim = "starting over" if own else f"it runs {launcher.where}"
            raise ConfigError(f"{cell} is {job}: wait for it, or {command} before {aim}")


def cancel_commands(jobs: dict[Cell, Job]) -> dict[str, str]:
    """For each launcher that has live jobs: its name, and the command that ends them."""
    commands = {}
    for launcher in map(build_launcher, LAUNCHERS):
        live = [job for job in jobs.values() if job.is_live and job.launcher == launcher.word]
        if live:
            commands[launcher.name] = launcher.cancel_command(live)
    return commands
