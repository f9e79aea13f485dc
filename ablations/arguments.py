"""The options of `python -m ablations`, and what --help says."""

import argparse
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from ablations.export import FORMATS, TRACKERS
from ablations.launch.options import ROUND_MINUTES
from ablations.study.grid import MAX_CELLS
from reformer_pl.config import ConfigError
from reformer_pl.config.local_path import local_place


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
GPUS = (
    "GPUs to pack the cells on, each GPU for one cell at a time: 0-7, or 0,2,5-7 "
    "(default: a cell sees all there are)"
)
PARALLEL = (
    "cells at a time, the CPU threads divided "
    "(default: 1, or with --gpus as many as fit; a timed study runs one at a time)"
)
TIMEOUT = "stop a cell after so many seconds, record it as timeout and go on (default: never)"
BUDGET = (
    "instead of the cells: the longest sequence of each variant that fits into this memory "
    "of one process, such as 80GiB; a search among lengths that the variant allows"
)
FOR_GPU = "predict for a GPU, also where this machine has none (not under trainer.accelerator=cpu)"
MEMORY_LIMIT = (
    "record a cell as would_not_fit where one process of it is predicted to need more GiB "
    "(default: no limit, no prediction)"
)
ROUND_MINUTES_HELP = (
    "a timed study measures its step times in rounds, all cells in turn: stop after so many "
    f"minutes of rounds (default: {ROUND_MINUTES:g}; the first round ends in any case; 0: no other)"
)
UNTIL_QUIET = (
    "a timed study waits until nobody else uses the cores, before it starts and before each round, "
    "for so many minutes in all at most (default: it waits never)"
)
RETRY = (
    "run cells again that are recorded as failed, oom, timeout or would_not_fit "
    "(default: skip them)"
)
FORCE = (
    "start every cell over, finished ones too; nothing is deleted: "
    "the directory seed=0 is renamed seed=0.before-YYYYMMDD-HHMMSS"
)
DRY_RUN = (
    "say for each cell what would happen (skip, resume from step N, run, retry, evaluate, refuse), "
    "start nothing; 2 if a config changed"
)
LAUNCHER = (
    "local: on this machine, the default. slurm: as job arrays, one cell a job, and this command "
    "returns; cells that are queued or running are left alone, one that needs more than a job's "
    "time is requeued and resumes"
)
SLURM = (
    "what to ask of the cluster: see configs/launcher/slurm.yaml (default: what the cluster gives)"
)
EXTEND = (
    "go on with finished or stopped cells whose study has a larger trainer.max_steps now; "
    "not under a cosine schedule, which ends at max_steps"
)
TO = (
    "instead of writing a file, send each run that ended well to this tracker; "
    "needs pip install -e '.[wandb]' or '.[mlflow]'"
)


EPILOG = """
examples:
  python -m ablations plan smoke                  its cells as commands, and the memory each needs
  python -m ablations run smoke --parallel 2      the same command resumes, after a crash, too
  python -m ablations status smoke
  python -m ablations report smoke                then open runs/smoke/report/index.html
  python -m ablations COMMAND --help              the options of one command

files (docs/run-directory.md explains them):
  runs/STUDY/CELL/seed=N/     a run: config.yaml, metrics.jsonl, result.json, log.txt,
                              checkpoints/, evaluations/
  runs/STUDY/report/          tables as CSV, Markdown and LaTeX, figures as PNG and PDF, index.html

exit codes:
  0    done
  1    run: a cell has not ended well (status says how)
  2    bad input; one line on stderr says what to change, and nothing has been started
       (but for jobs that it names)
  130  stopped by Ctrl-C (143 by SIGTERM): nothing is lost, and the same command goes on
"""
EPILOGS = {
    "plan": """
examples:
  python -m ablations plan demo_memory
  python -m ablations plan my_study.yaml --runs-dir /data/runs      runs lie in DIR/my_study
  python -m ablations plan my_study.yaml --budget 80GiB --for-gpu   how long a sequence may be

Nothing is written. Memory is that of one training step, in GiB, of one process.
Exit codes: 0 every cell can be, 2 one cannot.
""",
    "run": """
examples:
  python -m ablations run my_study.yaml --parallel 4
  python -m ablations run my_study.yaml --gpus 0-7 --gpus-per-cell 2 --timeout 3600
  python -m ablations run my_study.yaml --retry --memory-limit 24
  python -m ablations run my_study.yaml --force --dry-run
  python -m ablations run my_study.yaml --launcher slurm --slurm my_cluster.yaml --wait

A run is written to runs/STUDY/CELL/seed=N, what it says to log.txt there.
Exit codes: 0 every cell is ok (on SLURM without --wait: is queued), 1 a cell is not, 2 bad input,
130 Ctrl-C, 143 SIGTERM.
""",
    "status": """
examples:
  python -m ablations status my_study.yaml
  watch -n 30 python -m ablations status demo_hashes demo_memory

A study that runs is not disturbed.
Exit codes: 0, or 2 for bad input.
""",
    "report": """
examples:
  python -m ablations report demo_hashes demo_memory
  python -m ablations report my_study.yaml      while it runs, too: a cell that is not done says so

Written below runs/STUDY/report, whose files are replaced: results.csv (a row for each cell and
evaluation), each table as CSV, Markdown and LaTeX, each figure as PNG and PDF, and index.html,
which opens from the file.
Exit codes: 0, or 2 where no cell has ended yet, or for bad input.
""",
    "export": """
examples:
  python -m ablations export demo_hashes demo_memory --out all.csv
  python -m ablations export copied/from/elsewhere --format parquet --out all.parquet
  python -m ablations export my_study.yaml --to wandb      finished runs, as if logged while trained

The columns are those of ablations.results.load_results, which docs/run-directory.md lists.
Exit codes: 0, or 2 for bad input.
""",
    "compare": """
examples:
  python -m ablations compare before/my_study runs/my_study      two folders of runs
  python -m ablations compare my_study.yaml my_other_study.yaml --out comparison

Cells are matched by name and seed. Written to DIR as CSV, Markdown and LaTeX, named compare_BEFORE.
Exit codes: 0, or 2 where no cells match, or for bad input.
""",
}


def _place(text: str) -> Path:
    try:
        return local_place(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
            type=_place,
            default=Path("runs"),
            metavar="DIR",
            help="where the studies are kept (default: runs)",
        )
        if name in ("plan", "run", "status", "report"):
            sub.add_argument(
                "--max-cells",
                type=int,
                default=MAX_CELLS,
                metavar="N",
                help=f"refuse a grid of more cells (default: {MAX_CELLS})",
            )
        return sub

    _add_plan_options(
        command(
            "plan",
            "Check the study, and list its cells as commands that can be pasted into a shell, "
            "each with its predicted memory.",
        )
    )
    _add_run_options(command("run", RUN))
    command(
        "status",
        "Show how far each cell is, how fast, and the time it has left; "
        "and the last lines of the log of each that failed.",
    )
    command(
        "report",
        "Write the tables, plots and the HTML page below runs/STUDY/report, and print the tables.",
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
        type=_place,
        metavar="DIR",
        help="where the table is written (default: the report folder of AFTER)",
    )
    return main


def _add_plan_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--budget", metavar="MEMORY", help=BUDGET)
    sub.add_argument("--for-gpu", action="store_true", help=FOR_GPU)


def _add_run_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--parallel", type=int, metavar="N", help=PARALLEL)
    sub.add_argument("--gpus", metavar="LIST", help=GPUS)
    sub.add_argument(
        "--gpus-per-cell",
        type=int,
        metavar="N",
        help="GPUs of each cell; trainer.devices must not exceed it (default: 1)",
    )
    sub.add_argument("--timeout", type=float, metavar="SECONDS", help=TIMEOUT)
    sub.add_argument("--round-minutes", type=float, metavar="MINUTES", help=ROUND_MINUTES_HELP)
    sub.add_argument("--until-quiet", type=float, metavar="MINUTES", help=UNTIL_QUIET)
    sub.add_argument("--memory-limit", type=float, metavar="GIB", help=MEMORY_LIMIT)
    repeated = sub.add_mutually_exclusive_group()
    repeated.add_argument("--retry", action="store_true", help=RETRY)
    repeated.add_argument("--force", action="store_true", help=FORCE)
    repeated.add_argument("--extend", action="store_true", help=EXTEND)
    sub.add_argument("--dry-run", action="store_true", help=DRY_RUN)
    sub.add_argument("--launcher", default="local", metavar="WORD", help=LAUNCHER)
    sub.add_argument(
        "--slurm",
        "--launcher-file",
        type=_place,
        dest="launcher_file",
        metavar="FILE",
        help=SLURM,
    )
    sub.add_argument(
        "--wait",
        action="store_true",
        help="with a launcher that returns at once, such as slurm: wait until no cell is queued or "
        "running; Ctrl-C cancels none",
    )


def _add_export_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--format",
        choices=FORMATS,
        default="csv",
        help="parquet needs pip install -e '.[parquet]' (default: csv)",
    )
    target = sub.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--out", type=_place, metavar="FILE", help="the file to write; folders are made"
    )
    target.add_argument("--to", choices=TRACKERS, help=TO)
