"""`python -m ablations compare A B`: two sweeps of the same cells, before and after a change, as
paired differences seed by seed.
"""

from pathlib import Path

import pandas as pd

from ablations.report.interval import INTERVAL
from ablations.report.judged import judged_by
from ablations.report.parts.paired import EACH_ALONE, Pair, compare_pairs, compared_metrics
from ablations.report.table import Row, Table, Value, Words, with_mark_explained
from ablations.report.variant_means import changed_note, counted
from ablations.report.writers.csv_file import write_frame
from ablations.report.writers.latex import latex
from ablations.report.writers.markdown import markdown
from ablations.results import finished_cells
from ablations.study import Study
from experiments.run_dir.durable import replace_text
from reformer_pl.config import ConfigError


def comparison(before: Study, after: Study) -> Table:
    """`after` minus `before` of every cell with a seed in both, n seeds each; then the cells that
    exist in one only.

    Cells are matched by name (the folder below runs/STUDY) and seed. Raises ConfigError where
    nothing matches, or a sweep has no result.
    """
    sweeps = [finished_cells(study) for study in (before, after)]
    runs = [set(zip(cells["cell"], cells["seed"], strict=True)) for cells in sweeps]
    in_both = {name for name, _ in runs[0] & runs[1]}
    if not in_both:
        raise ConfigError(
            f"no cell of {before.directory} has the name and seed of one of {after.directory}: "
            "compare sweeps of one grid"
        )
    pairs = []
    for name in (name for name in dict.fromkeys(sweeps[0]["cell"]) if name in in_both):
        both = [cells[cells["cell"] == name] for cells in sweeps]
        pairs.append(Pair(name, *both, tuple(counted(rows["status"]) for rows in both)))
    score = judged_by(before if before.grids else after)
    metrics = compared_metrics(score, pd.concat(sweeps))
    rows, data = compare_pairs(pairs, metrics, "before")
    rows += _alone(runs[0] - runs[1], len(metrics), "only before", ("yes", "-"))
    rows += _alone(runs[1] - runs[0], len(metrics), "only after", ("-", "yes"))
    commits = [
        ", ".join(map(str, cells["git_commit"].dropna().unique())) or "unknown" for cells in sweeps
    ]
    caption = (
        f"{after.directory} minus {before.directory} (git {commits[0]} before, {commits[1]} "
        f"after), on the n equal seeds that ended well in both: mean, and {INTERVAL} of the paired "
        f"differences{EACH_ALONE}. Scores are of the models as they were trained, on the held-out "
        "part."
    )
    devices = [", ".join(sorted(cells["device"].dropna().unique())) for cells in sweeps]
    if devices[0] != devices[1]:
        caption += (
            f" The devices are others, too ({devices[0] or 'unknown'} before, "
            f"{devices[1] or 'unknown'} after): differences of memory and time are theirs as well."
        )
    caption += changed_note(pd.concat(sweeps))
    header = ("cell", *(metric.header for metric in metrics), "n", "before", "after")
    table = Table(f"compare_{before.name}", caption, header, tuple(rows), data)
    return with_mark_explained(table)


def _alone(
    runs: set[tuple[str, int]], columns: int, reason: str, ended: tuple[str, str]
) -> list[Row]:
    """A row for each (cell, seed) that one sweep alone has."""
    return [
        Row(f"{name} seed={seed}", (*[Words(reason)] * columns, Value(0), *map(Words, ended)), name)
        for name, seed in sorted(runs)
    ]


def write_comparison(table: Table, study: Study, directory: Path) -> Path:
    """NAME.{csv,md,tex} in `directory`; returns the path of the Markdown.

    Raises ConfigError where it cannot be written.
    """
    path = directory / f"{table.name}.md"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_frame(table.data, path.with_suffix(".csv"))
        replace_text(path.with_suffix(".tex"), latex(table, study.name))
        replace_text(path, markdown(table))
    except OSError as error:
        raise ConfigError(
            f"the comparison cannot be written to {directory}: {error.strerror}"
        ) from error
    return path
