"""`python -m ablations plan|run|status|report|export|compare STUDY`.

Bad input is one line on stderr and exit code 2.
"""

import argparse
import os
import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ablations.arguments.parser import parser
from ablations.arguments.sample_options import samples_of
from ablations.export import export, send
from ablations.launch.jobs import settle
from ablations.launch.launchers import launcher_of
from ablations.launch.local.gpus import find_gpus
from ablations.launch.options import Options
from ablations.launch.predicted_memory import Predictions, prediction_line, print_longest
from ablations.launch.run import dry_run, run, wait
from ablations.launch.views.plan import plan_end
from ablations.launch.views.status import print_status
from ablations.launch.views.study_lines import study_lines
from ablations.launch.views.tuning import tuning_lines
from ablations.study import Study, compose_cells, load_study
from ablations.study.folder import open_source
from ablations.study.problems import problem_lines
from ablations.study.runs.sample import draw
from ablations.study.runs.shared import one_cell_a_run
from ablations.study.tune.final_cells import tuning_study, with_choices
from experiments.log import READER_IS_GONE, printing
from experiments.terminal.lines import log_console, print_lines
from reformer_pl.config import ConfigError


def main(command_line: list[str] | None = None) -> int:
    with printing() as output:
        arguments = parser().parse_args(command_line)
        match arguments.command:
            case "run":
                output.is_all = arguments.dry_run
            case "export":
                output.is_all = arguments.to is None
        return _main(arguments)


def _main(arguments: argparse.Namespace) -> int:
    try:
        match arguments.command:
            case "export":
                return _export(arguments)
            case "compare":
                return _compare(arguments)
        studies = _load_studies(arguments)
        match arguments.command:
            case "plan":
                if arguments.budget is not None:
                    gpu = arguments.for_gpu
                    return max(print_longest(study, arguments.budget, gpu) for study in studies)
                return max(_plan(study, arguments.for_gpu) for study in studies)
            case "run":
                return _run(studies, arguments)
            case "status":
                return _status(studies)
            case _:
                return _report(studies, arguments)
    except ConfigError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # of --out /dev/stdout
            return READER_IS_GONE
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the first cell, or after the last
        return 130


def _load_studies(arguments: argparse.Namespace) -> list[Study]:
    asks = arguments.command in ("plan", "run")  # others show what has been drawn
    samples = samples_of(arguments) if asks else ()
    studies = [
        draw(load_study(name, arguments.runs_dir, arguments.max_cells, whole=asks), samples)
        for name in arguments.study
    ]
    repeated = [name for name, n in Counter(study.name for study in studies).items() if n > 1]
    if repeated:
        raise ConfigError(f"study {repeated[0]} is named twice")
    return studies


def _run(studies: list[Study], arguments: argparse.Namespace) -> int:
    launcher = launcher_of(arguments)
    gpus = () if arguments.gpus is None else find_gpus(arguments.gpus)
    options = Options(
        parallel=arguments.parallel,
        timeout_seconds=arguments.timeout,
        retry=arguments.retry,
        memory_limit_gib=arguments.memory_limit,
        force=arguments.force,
        extend=arguments.extend,
        gpus=gpus,
        gpus_per_cell=arguments.gpus_per_cell,
        cells_per_gpu=arguments.cells_per_gpu,
        round_minutes=arguments.round_minutes,
        until_quiet_minutes=arguments.until_quiet,
    )
    if arguments.dry_run:
        return dry_run(studies, options, launcher)
    code = run(studies, options, launcher)
    if not launcher.stays:
        _print_commands("how far they are", "status", arguments)
        if not arguments.wait:
            return code
        code = wait(studies)
        if code == 1 and any(study.tuning for study in studies):  # its values are chosen now
            run([with_choices(study) for study in studies], replace(options, force=False), launcher)
            code = wait(studies)
    if code < 2:
        _print_commands("tables and plots", "report", arguments)
    return code


def _status(studies: list[Study]) -> int:
    console = log_console(Console())
    for study in studies:
        if study.tuning is not None:
            tuned = tuning_study(study)
            print_status(tuned, compose_cells(tuned), console)
        print_status(study, compose_cells(study), console)
        print_lines(console, [*study_lines(study), *tuning_lines(study)])
    return 0


def _export(arguments: argparse.Namespace) -> int:
    sources, out = arguments.study, arguments.out
    if arguments.to is not None:
        n_runs = send(sources, arguments.to, arguments.runs_dir)
        print(f"{n_runs} runs sent to {arguments.to}")
        return 0
    print(f"{export(sources, arguments.format, out, arguments.runs_dir)} rows: {out}")
    return 0


def _print_commands(what: str, command: str, arguments: argparse.Namespace) -> None:
    runs_dir = arguments.runs_dir
    place = [] if runs_dir == Path("runs") else [f"--runs-dir={runs_dir}"]
    for name in arguments.study:
        print(f"{what}: python -m ablations {command} {shlex.join([name, *place])}", flush=True)


def _plan(study: Study, for_gpu: bool) -> int:
    """Each cell's command, below a comment with its predicted memory; then what all take together.

    Pasted into a shell, the comments do nothing. A cell whose value is not chosen yet has none.
    """
    predictions = Predictions(for_gpu)
    if study.tuning is not None:
        _plan_cells(tuning_study(study), predictions)
    _plan_cells(study, predictions)
    for line in (*study_lines(study), *tuning_lines(study)):
        print(f"# {line}", flush=True)
    return 0


def _plan_cells(study: Study, predictions: Predictions) -> None:
    study = one_cell_a_run(study)
    configs = compose_cells(study)
    for cell, config in zip(study.cells, configs, strict=True):
        program, *rest = cell.command()
        here = os.path.relpath(program)
        print(f"# {cell}: {prediction_line(predictions.of(config))}", flush=True)
        if not study.is_open(cell):
            print(shlex.join([program if here.startswith("..") else here, *rest]), flush=True)
    for line in plan_end(study, configs, predictions):
        print(f"# {line}", flush=True)


def _report(studies: list[Study], arguments: argparse.Namespace) -> int:
    # pandas and matplotlib take seconds to import
    from ablations.report.styles.style import drawn_in
    from ablations.report.styles.venue import venue_style
    from ablations.report.words import check_only

    for study in studies:
        check_only(study, arguments.only)
    if arguments.style is None:
        return max(_report_study(study, arguments) for study in studies)
    with drawn_in(venue_style(arguments.style)):
        return max(_report_study(study, arguments) for study in studies)


def _report_study(study: Study, arguments: argparse.Namespace) -> int:
    from ablations.report.report import load_report
    from ablations.report.write import write_report
    from ablations.report.writers.terminal import print_changed, print_sessions, print_tables

    settle(study.all_cells)
    report = load_report(study, arguments.only)
    out = arguments.out
    if out is not None and len(arguments.study) > 1:
        out = out / study.name
    path = write_report(report, out, arguments.format)
    print(f"{study.name}: {study.description}")
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print_tables(report)
    print_changed(report)
    print_sessions(report)
    print(f"report: {path}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from ablations.report.compare import (  # pandas and matplotlib take seconds to import
        comparison,
        write_comparison,
    )
    from ablations.report.writers.terminal import print_table

    before, after = (open_source(name, arguments.runs_dir) for name in arguments.study)
    table = comparison(before, after)
    path = write_comparison(table, after, arguments.out or after.directory / "report")
    print_table(table, "compare", Console())
    for line in (line for study in (before, after) for line in problem_lines(study)):
        print(f"warning: {line}", file=sys.stderr)
    print(f"table: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
