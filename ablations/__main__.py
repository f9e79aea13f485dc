"""`python -m ablations plan|run|status|report|export|compare STUDY`. Bad input is one line on stderr and exit code 2."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from ablations.arguments import parser
from ablations.export import export
from ablations.launch.local.sweep import dry_run, run
from ablations.launch.machine import read_gpus
from ablations.launch.options import Options
from ablations.launch.predicted_memory import Predictions, told
from ablations.launch.slurm.queue import settle
from ablations.launch.slurm.settings import Slurm, load_slurm
from ablations.study import Study, compose_cells, load_study
from ablations.study.folder import open_source
from reformer_pl.config import ConfigError


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        match given.command:
            case "export":
                print(
                    f"{export(given.study, given.format, given.out, given.runs_dir)} rows: {given.out}"
                )
                return 0
            case "compare":
                return _compare(
                    *(open_source(name, given.runs_dir) for name in given.study), given.out
                )
        studies = [load_study(name, given.runs_dir) for name in given.study]
        twice = {
            study.name
            for study in studies
            if sum(study.name == other.name for other in studies) > 1
        }
        if twice:
            raise ConfigError(f"study {twice.pop()} is named twice")
        match given.command:
            case "plan":
                return max(_plan(study) for study in studies)
            case "run":
                gpus = () if given.gpus is None else read_gpus(given.gpus)
                slurm = _slurm(given)
                options = Options(
                    given.parallel,
                    given.timeout,
                    given.retry,
                    given.memory_limit,
                    given.force,
                    gpus,
                    given.gpus_per_cell,
                )
                if slurm is not None:
                    return _run_on_slurm(studies, options, slurm, given)
                if given.dry_run:
                    return dry_run(studies, options)
                code = run(studies, options, Console())
                if code < 2:
                    _print_commands("tables and plots", "report", given)
                return code
            case "status":
                from ablations.launch.status import print_status

                for study in studies:
                    print_status(
                        study,
                        compose_cells(study),
                        Console(width=None if sys.stdout.isatty() else 140),
                    )
                return 0
            case _:
                return max(_report(study) for study in studies)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the first cell, or after the last
        return 130


def _slurm(given: argparse.Namespace) -> Slurm | None:
    """What is asked of SLURM; None where the cells run here. An option of the one launcher is refused with the other (ConfigError)."""
    here = {
        "--parallel": given.parallel,
        "--gpus": given.gpus,
        "--gpus-per-cell": given.gpus_per_cell,
        "--timeout": given.timeout,
    }
    if given.launcher == "slurm":
        for name in (name for name, value in here.items() if value is not None):
            raise ConfigError(
                f"{name} is of --launcher local: on SLURM write at_once, gpus and time into the file of --slurm"
            )
        return load_slurm(given.slurm)
    for name in (
        name
        for name, value in {"--slurm": given.slurm, "--wait": given.wait or None}.items()
        if value is not None
    ):
        raise ConfigError(f"{name} is of --launcher slurm: add that, or leave {name} out")
    return None


def _run_on_slurm(
    studies: list[Study], options: Options, slurm: Slurm, given: argparse.Namespace
) -> int:
    from ablations.launch.slurm.submit import places, submit, wait

    if given.dry_run:
        places(studies, [compose_cells(study) for study in studies], slurm)
        return dry_run(studies, options, on_slurm=True)
    code = submit(studies, options, slurm)
    _print_commands("how far they are", "status", given)
    if given.wait:
        code = wait(studies)
        if code < 2:
            _print_commands("tables and plots", "report", given)
    return code


def _print_commands(what: str, command: str, given: argparse.Namespace) -> None:
    place = [] if given.runs_dir == Path("runs") else ["--runs-dir", str(given.runs_dir)]
    for name in given.study:
        print(f"{what}: python -m ablations {command} {shlex.join([name, *place])}", flush=True)


def _plan(study: Study) -> int:
    """Each cell's command below a comment that says what it will need: pasted into a shell, the comments do nothing."""
    configs, predictions = compose_cells(study), Predictions()
    for cell, config in zip(study.cells, configs, strict=True):
        program, *rest = cell.command()
        here = os.path.relpath(program)
        print(f"# {cell}: {told(predictions.of(config))}")
        print(shlex.join([program if here.startswith("..") else here, *rest]), flush=True)
    return 0


def _report(study: Study) -> int:
    # pandas and matplotlib take seconds to import
    from ablations.report.report import load_report
    from ablations.report.write import write_report
    from ablations.report.writers.terminal import print_tables

    settle(study.cells)
    report = load_report(study)
    path = write_report(report)
    print(f"{study.name}: {study.description}")
    print_tables(report)
    print(f"report: {path}")
    return 0


def _compare(before: Study, after: Study, out: Path | None) -> int:
    from ablations.report.compare import (  # pandas and matplotlib take seconds to import
        comparison,
        write_comparison,
    )
    from ablations.report.writers.terminal import print_table

    table = comparison(before, after)
    path = write_comparison(table, after, out or after.directory / "report")
    print_table(table, "compare", Console())
    print(f"table: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
