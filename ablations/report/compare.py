"""`python -m ablations compare A B`: two sweeps of the same cells, before and after a change, as paired differences seed by seed."""

from pathlib import Path

import pandas as pd

from ablations.report.parts.paired import Pair, compare_pairs, measures_of
from ablations.report.seeds import INTERVAL_SAID, counted
from ablations.report.table import Table, score
from ablations.results import finished_cells
from ablations.study import Study
from reformer_pl.config import ConfigError


def comparison(before: Study, after: Study) -> Table:
    """`after` minus `before` of every cell with a seed in both, n seeds each; then the cells that exist in one only.

    Cells are matched by name (the folder below runs/STUDY) and seed. Raises ConfigError where nothing matches, or a sweep has no result.
    """
    found = [finished_cells(study) for study in (before, after)]
    names = [list(dict.fromkeys(cells["cell"])) for cells in found]
    seeds = [set(zip(cells["cell"], cells["seed"], strict=True)) for cells in found]
    if not seeds[0] & seeds[1]:
        raise ConfigError(
            f"no cell of {before.directory} has the name and seed of one of {after.directory}: compare sweeps of one grid"
        )
    matched = [name for name in names[0] if name in {cell for cell, _ in seeds[0] & seeds[1]}]
    pairs = []
    for name in matched:
        both = [cells[cells["cell"] == name] for cells in found]
        pairs.append(Pair(name, *both, tuple(counted(rows["status"]) for rows in both)))
    judged = score(before) if before.grids else score(after)
    measures = measures_of(judged, pd.concat(found))
    rows, _, data = compare_pairs(pairs, measures, "before")
    only = [
        (name, seed, said)
        for said, mine, other in (("before", *seeds), ("after", *seeds[::-1]))
        for name, seed in sorted(mine - other)
    ]
    rows += tuple(
        (f"{name} seed={seed}", *[f"only {said}"] * len(measures), "0", *_one(said))
        for name, seed, said in only
    )
    commits = [
        ", ".join(map(str, cells["git_commit"].dropna().unique())) or "unknown" for cells in found
    ]
    caption = (
        f"{after.directory} minus {before.directory} (git {commits[0]} before, {commits[1]} after), on the n equal seeds that ended well "
        f"in both: mean, and {INTERVAL_SAID} of the paired differences. Scores are of the models as they were trained."
    )
    header = ("cell", *(m.said for m in measures), "n", "before", "after")
    return Table(f"compare_{before.name}", caption, header, rows, frozenset(), data)


def write_comparison(table: Table, study: Study, directory: Path) -> Path:
    """NAME.{csv,md,tex} in `directory`; returns the path of the Markdown. Raises ConfigError where it cannot be written."""
    from ablations.report.report import markdown  # late: it builds on everything
    from ablations.report.writers.latex import latex

    try:
        directory.mkdir(parents=True, exist_ok=True)
        table.data.to_csv(directory / f"{table.name}.csv", index=False)
        (directory / f"{table.name}.tex").write_text(latex(table, study), encoding="utf-8")
        path = directory / f"{table.name}.md"
        path.write_text(markdown(table), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the comparison cannot be written to {directory}: {error.strerror}"
        ) from error
    return path


def _one(said: str) -> tuple[str, str]:
    return ("yes", "-") if said == "before" else ("-", "yes")
