"""`python -m ablations export`: the runs of some studies as one file, or sent to a tracker."""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

from ablations.result_columns import OWN
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.changed import changed_cells
from ablations.study.folder import open_source
from ablations.study.problems import problem_lines
from ablations.study.tune.final_cells import stages
from experiments.run_dir.durable import replace_file
from experiments.run_dir.outcome import UNREADABLE, is_ok, result_row
from reformer_pl.config import ConfigError

FORMATS = ("csv", "parquet")
TRACKERS = ("wandb", "mlflow")


def export(sources: list[str], format: str, out: Path, runs_dir: Path) -> int:
    """Write `results.load_results` of the sources to `out`; returns the number of rows.

    Raises ConfigError.
    """
    if format == "parquet" and find_spec("pyarrow") is None:
        raise ConfigError("--format parquet needs the package pyarrow: pip install -e '.[parquet]'")
    from ablations.report.writers.csv_file import write_frame  # pandas takes a second to import
    from ablations.results import load_results, study_problems

    studies = [open_source(source, runs_dir) for source in sources]
    with warnings.catch_warnings(action="ignore"):  # they are printed here
        frame = load_results(*studies)
    for line in (line for study in studies for line in study_problems(study)):
        print(f"warning: {line}", file=sys.stderr)
    for row in frame[(frame["status"] == UNREADABLE) & (frame["eval"] == OWN)].itertuples():
        print(f"warning: {row.cell} seed={row.seed}: {row.error}", file=sys.stderr)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if format == "parquet":
            replace_file(out, lambda path: frame.to_parquet(path, engine="pyarrow", index=False))
        else:
            write_frame(frame, out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from error
    return len(frame)


def send(sources: list[str], to: str, runs_dir: Path) -> int:
    """Send each finished run of the sources to a tracker; returns their number.

    A run is finished when it ended well, under the config that its study has now.
    Raises ConfigError where there is none, or where the tracker's package is missing.
    """
    studies = [open_source(source, runs_dir) for source in sources]
    finished = [pair for study in studies for pair in _finished(study)]
    if not finished:
        raise ConfigError(f"no run of {', '.join(sources)} has ended well: there is none to send")
    from experiments.training.export_run import send_run  # imports lightning

    for stage in (stage for study in studies for stage in stages(study)):
        for line in problem_lines(stage):
            print(f"warning: {line}", file=sys.stderr)
    for study, cell in finished:
        send_run(cell.directory, study.name, str(cell), to)
    return len(finished)


def _finished(study: Study) -> list[tuple[Study, Cell]]:
    """The runs that ended well, each once. One that is a tuning cell and a final cell is final."""
    runs: dict[Path, Cell] = {}
    for stage in reversed(stages(study)):
        changed = changed_cells(stage)
        for cell in stage.cells:
            if cell not in changed and is_ok(result_row(cell.directory)):
                runs.setdefault(cell.directory, cell)
    return [(study, cell) for cell in runs.values()]
