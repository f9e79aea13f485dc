"""The commands of `python -m ablations` and their options."""

import argparse
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from ablations.arguments.examples import EPILOG, EPILOGS
from ablations.arguments.place import place
from ablations.arguments.plan_options import add_plan_options
from ablations.arguments.report_options import add_report_options
from ablations.arguments.run_options import add_run_options
from ablations.arguments.sample_options import add_sample_options
from ablations.export import FORMATS, TRACKERS
from ablations.study.grid import MAX_CELLS


class Parser(argparse.ArgumentParser):
    """Its texts are shown as they stand here, and an error is one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


STUDY = "a name from configs/study, or the path of a YAML file"
SOURCE = f"{STUDY}, or a folder of runs, such as a copy of runs/STUDY"
RUN = (
    "Run the cells that are not finished; interrupted ones resume from their last checkpoint. "
    "Ctrl-C stops, and loses nothing."
)
TO = (
    "instead of writing a file, send each run that ended well to this tracker; "
    "needs pip install -e '.[wandb]' or '.[mlflow]'"
)


def parser() -> Parser:
    main = Parser(
        prog="python -m ablations",
        description="Run a grid of experiments and report it.",
        epilog=EPILOG,
    )
    commands = main.add_subparsers(
        dest="command", required=True, metavar="plan|run|status|report|export|compare"
    )

    def command(
        name: str, text: str, study: str = STUDY, n_studies: str | int = "+"
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=textwrap.fill(text, 100), epilog=EPILOGS[name]
        )
        sub.add_argument("study", nargs=n_studies, help=study)
        sub.add_argument(
            "--runs-dir",
            type=place,
            default=Path("runs"),
            metavar="DIR",
            help="where the studies are kept (default: runs)",
        )
        if name in ("plan", "run"):
            add_sample_options(sub)
        if name in ("plan", "run", "status", "report"):
            sub.add_argument(
                "--max-cells",
                type=int,
                default=MAX_CELLS,
                metavar="N",
                help=f"refuse a grid of more cells (default: {MAX_CELLS})",
            )
        return sub

    add_plan_options(
        command(
            "plan",
            "Check the study, and list its cells as commands that can be pasted into a shell, "
            "each with its predicted memory.",
        )
    )
    add_run_options(command("run", RUN))
    command(
        "status",
        "Show how far each cell is, how fast, and the time it has left; "
        "and the last lines of the log of each that failed.",
    )
    add_report_options(
        command(
            "report",
            "Write the tables, plots and the HTML page below runs/STUDY/report, and print the "
            "tables.",
        )
    )
    _add_export_options(
        command(
            "export",
            "Write all that is known of every run, config and provenance included, "
            "as one tidy table; or send the runs to a tracker.",
            SOURCE,
        )
    )
    sub = command(
        "compare",
        "Compare two sweeps of the same cells, before and after a change: paired differences, "
        "AFTER minus BEFORE.",
        f"BEFORE and AFTER, each {SOURCE}",
        2,
    )
    sub.add_argument(
        "--out",
        type=place,
        metavar="DIR",
        help="where the table is written (default: the report folder of AFTER)",
    )
    return main


def _add_export_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--format",
        choices=FORMATS,
        default="csv",
        help="parquet needs pip install -e '.[parquet]' (default: csv)",
    )
    target = sub.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--out", type=place, metavar="FILE", help="the file to write; folders are made"
    )
    target.add_argument("--to", choices=TRACKERS, help=TO)
