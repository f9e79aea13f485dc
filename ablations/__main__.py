"""`python -m ablations plan|run|status|report STUDY`. Bad input is one line on stderr and exit code 2."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from ablations.prediction import Predictions, told
from ablations.study import Study, compose_cells, load_study
from ablations.sweep import Options, run
from reformer_pl.config import ConfigError


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> Parser:
    main = Parser(prog="python -m ablations", description="Run a grid of experiments and report it.")
    commands = main.add_subparsers(dest="command", required=True, metavar="plan|run|status|report")
    study_help = "a name from configs/study, or the path of a YAML file"

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("study", nargs="+", help=study_help)
        sub.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where the studies are kept (default: runs)")
        return sub

    command("plan", "Check the study, and list its cells as commands that can be pasted into a shell, each with its predicted memory.")
    sub = command("run", "Run the cells that are not finished; interrupted ones resume. Ctrl-C stops, and loses nothing.")
    sub.add_argument("--parallel", type=int, default=1, metavar="N", help="cells at a time, the CPU threads divided (default: 1)")
    sub.add_argument("--timeout", type=float, metavar="SECONDS", help="stop a cell after so long, record it as timeout and go on")
    sub.add_argument("--retry", action="store_true", help="run cells again that are recorded as failed, oom, timeout or would_not_fit")
    sub.add_argument(
        "--memory-limit", type=float, metavar="GIB", help="record a cell as would_not_fit where one process of it is predicted to need more"
    )
    command("status", "Show how far each cell is, and the last lines of the log of each that failed.")
    command("report", "Write the tables, plots and the HTML page below runs/STUDY/report, and print the tables.")
    return main


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        studies = [load_study(name, given.runs_dir) for name in given.study]
        twice = {study.name for study in studies if sum(study.name == other.name for other in studies) > 1}
        if twice:
            raise ConfigError(f"study {twice.pop()} is named twice")
        match given.command:
            case "plan":
                return max(_plan(study) for study in studies)
            case "run":
                options = Options(given.parallel, given.timeout, given.retry, given.memory_limit)
                code = run(studies, options, Console())
                place = [] if given.runs_dir == Path("runs") else ["--runs-dir", str(given.runs_dir)]
                for name in given.study if code < 2 else []:
                    print(f"tables and plots: python -m ablations report {shlex.join([name, *place])}", flush=True)
                return code
            case "status":
                from ablations.progress import print_status

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


if __name__ == "__main__":
    sys.exit(main())
