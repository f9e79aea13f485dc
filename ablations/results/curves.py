"""The rows that runs wrote while they trained: curves, and what hashing reaches."""

from pathlib import Path
from typing import Any

import pandas as pd

from ablations.result_columns import COVERAGE_COLUMNS, CURVE_COLUMNS, OTHER_SCORES, SCORES
from ablations.results.frames import present
from ablations.results.sources import RUNS_DIR, open_sources
from ablations.study import Study
from ablations.study.changed import changed_cells
from experiments.run_dir.files import COVERAGE, METRICS
from experiments.run_dir.rows import read_rows
from reformer_pl.config import ConfigError


def load_curves(*sources: Study | str | Path, runs_dir: Path = RUNS_DIR) -> pd.DataFrame:
    """Every row of every metrics.jsonl of the sources, which are those of `load_results`.

    study, variant, cell and seed are added, and train, which is the variant. loss_nats, accuracy
    (0-1) and bits_per_dim stand by step. `split` is "train" or "valid"; `seconds` and `tokens`
    count training so far. Cells without a metrics file add no row, nor do damaged rows. Raises
    ConfigError for an unknown source, and for a study of which nothing was run.
    """
    rows = _rows(open_sources(sources, runs_dir, warn_above=2), METRICS)
    after_scores = CURVE_COLUMNS.index(SCORES[-1]) + 1
    others = present(OTHER_SCORES, rows)
    columns = (*CURVE_COLUMNS[:after_scores], *others, *CURVE_COLUMNS[after_scores:])
    return pd.DataFrame(rows, columns=list(columns))


def load_coverage(*sources: Study | str | Path, runs_dir: Path = RUNS_DIR) -> pd.DataFrame:
    """Every row of every coverage.jsonl of the sources, which are those of `load_results`.

    study, variant, cell and seed are added, and train, which is the variant. By step, layer, head
    and number of hash rounds stand the share (0-1) of full attention's mass that the buckets reach,
    `coverage`, what as many random keys would hold, `chance`, and what the best as many would,
    `ceiling`, which is NaN in older runs. Cells trained without trainer.coverage_every_steps add no
    row. Raises ConfigError as `load_curves` does.
    """
    rows = _rows(open_sources(sources, runs_dir, warn_above=2), COVERAGE)
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


def _rows(studies: list[Study], name: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of every cell, with what names the cell first.

    A cell whose config has changed adds none.
    """
    rows = []
    for study in studies:
        changed = changed_cells(study)
        for cell in study.cells:
            names = {"study": study.name, "variant": cell.train, "train": cell.train}
            names |= {"cell": cell.name, "seed": cell.seed}
            if cell not in changed:
                rows += [{**names, **row} for row in _readable_rows(cell.directory / name)]
    return rows


def _readable_rows(path: Path) -> list[dict[str, Any]]:
    """None of a file that cannot be read, which `study_problems` names."""
    try:
        return read_rows(path)
    except ConfigError:
        return []
