"""The studies that a loader reads: whatever names them, and one line where nothing of one ran."""

import warnings
from pathlib import Path

from ablations.study import Study
from ablations.study.folder import open_source
from reformer_pl.config import ConfigError

RUNS_DIR = Path("runs")


def open_sources(
    sources: tuple[Study | str | Path, ...], runs_dir: Path, warn_above: int
) -> list[Study]:
    """Each a `Study`, a name below configs/study, the path of a YAML file, or a folder of runs.

    What of a folder cannot be read is a warning, at the caller's so many frames above this one.
    Raises ConfigError for an unknown source, and for a study of which nothing was run.
    """
    studies = [_open(source, runs_dir) for source in sources]
    for line in (line for study in studies for line in study.unread):
        warnings.warn(line, stacklevel=warn_above + 1)
    return studies


def _open(source: Study | str | Path, runs_dir: Path) -> Study:
    study = open_source(source, runs_dir)
    if not any(cell.directory.exists() for cell in study.all_cells):
        name = study.name if isinstance(source, Study) else str(source)
        raise ConfigError(
            f"study {study.name}: nothing of it was run below {study.directory.parent.resolve()}: "
            f"run it with python -m ablations run {name}, "
            "or say where its runs are (runs_dir, or the folder itself as the source)"
        )
    return study
