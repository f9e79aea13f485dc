"""`python -m ablations plan|run|status|report|export|compare STUDY`. Bad input is one line on stderr and exit code 2."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from ablations.devices import read_gpus
from ablations.export import FORMATS, export
from ablations.options import Options
from ablations.prediction import Predictions, told
from ablations.sources import open_source
from ablations.study import Study, compose_cells, load_study
from ablations.sweep import dry_run, run
from reformer_pl.config import ConfigError


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


RUN = "Run the cells that are not finished; interrupted ones resume from their last checkpoint. Ctrl-C stops, and loses nothing."
PARALLEL = "cells at a time, the CPU threads divided (default: 1, or with --gpus as many as fit; a timed study runs one at a time)"
FORCE = "start every cell over, finished ones too; nothing is deleted: the directory seed=0 is renamed seed=0.before-YYYYMMDD-HHMMSS"
DRY_RUN = (
    "say for each cell what would happen (skip, resume from step N, run, retry, evaluate, refuse), start nothing; 2 if a config changed"
)


def parser() -> Parser:
    main = Parser(prog="python -m ablations", description="Run a grid of experiments and report it.")
    commands = main.add_subparsers(dest="command", required=True, metavar="plan|run|status|report|export|compare")
    study_help = "a name from configs/study, or the path of a YAML file"

    def command(name: str, text: str, n_studies: str | int = "+") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("study", nargs=n_studies, help=study_help)
        sub.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where the studies are kept (default: runs)")
        return sub

    command("plan", "Check the study, and list its cells as commands that can be pasted into a shell, each with its predicted memory.")
    sub = command("run", RUN)
    sub.add_argument("--parallel", type=int, metavar="N", help=PARALLEL)
    sub.add_argument("--gpus", metavar="LIST", help="GPUs to pack the cells on, each GPU for one cell at a time: 0-7, or 0,2,5-7")
    sub.add_argument("--gpus-per-cell", type=int, metavar="N", help="GPUs of each cell; trainer.devices must not exceed it (default: 1)")
    sub.add_argument("--timeout", type=float, metavar="SECONDS", help="stop a cell after so long, record it as timeout and go on")
    sub.add_argument(
        "--memory-limit", type=float, metavar="GIB", help="record a cell as would_not_fit where one process of it is predicted to need more"
    )
    modes = sub.add_mutually_exclusive_group()
    modes.add_argument("--retry", action="store_true", help="run cells again that are recorded as failed, oom, timeout or would_not_fit")
    modes.add_argument("--force", action="store_true", help=FORCE)
    sub.add_argument("--dry-run", action="store_true", help=DRY_RUN)
    command("status", "Show how far each cell is, how fast, and the time it has left; and the last lines of the log of each that failed.")
    command("report", "Write the tables, plots and the HTML page below runs/STUDY/report, and print the tables.")
    study_help += ", or a folder of runs, such as a copy of runs/STUDY"
    sub = command("export", "Write all that is known of every run, config and provenance included, as one tidy table.")
    sub.add_argument("--format", choices=FORMATS, default="csv", help="parquet needs the extra reformer-pl[parquet] (default: csv)")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    study_help = f"BEFORE and AFTER, each {study_help}"
    sub = command("compare", "Compare two sweeps of the same cells, before and after a change: paired differences, AFTER minus BEFORE.", 2)
    sub.add_argument("--out", type=Path, metavar="DIR", help="where the table is written (default: the report folder of AFTER)")
    return main


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        match given.command:
            case "export":
                print(f"{export(given.study, given.format, given.out, given.runs_dir)} rows: {given.out}")
                return 0
            case "compare":
                return _compare(*(open_source(name, given.runs_dir) for name in given.study), given.out)
        studies = [load_study(name, given.runs_dir) for name in given.study]
        twice = {study.name for study in studies if sum(study.name == other.name for other in studies) > 1}
        if twice:
            raise ConfigError(f"study {twice.pop()} is named twice")
        match given.command:
            case "plan":
                return max(_plan(study) for study in studies)
            case "run":
                gpus = () if given.gpus is None else read_gpus(given.gpus)
                options = Options(given.parallel, given.timeout, given.retry, given.memory_limit, given.force, gpus, given.gpus_per_cell)
                if given.dry_run:
                    return dry_run(studies, options)
                code = run(studies, options, Console())
                place = [] if given.runs_dir == Path("runs") else ["--runs-dir", str(given.runs_dir)]
                for name in given.study if code < 2 else []:
                    print(f"tables and plots: python -m ablations report {shlex.join([name, *place])}", flush=True)
                return code
            case "status":
                from ablations.status import print_status

                for study in studies:
                    print_status(study, compose_cells(study), Console(width=None if sys.stdout.isatty() else 140))
                return 0
            case _:
                return max(_report(study) for study in studies)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the first cell, or after the last
        return 130


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
    from ablations.report import print_tables, write_report  # pandas and matplotlib take seconds to import

    path = write_report(study)
    print(f"{study.name}: {study.description}")
    print_tables(study)
    print(f"report: {path}")
    return 0


def _compare(before: Study, after: Study, out: Path | None) -> int:
    from ablations.compare import comparison, write_comparison  # pandas and matplotlib take seconds to import
    from ablations.report import print_table

    table = comparison(before, after)
    path = write_comparison(table, after, out or after.directory / "report")
    print_table(table, "compare", Console())
    print(f"table: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
