"""Everything about every run, a row for each cell and each of its evaluations."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.result_columns import (
    BENCHMARK_ONLY,
    COSTS,
    COUNTS,
    KEYS,
    OTHER_SCORES,
    PLAIN_PROVENANCE,
    SCORES,
)
from ablations.results.evaluations import rows_of, scores_by_hand
from ablations.results.frames import of_one_type, present, typed
from ablations.results.sources import RUNS_DIR, open_sources
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.changed import changed_cells
from ablations.study.tune.final_cells import stages
from experiments.run_dir.files import CONFIG, EVALUATIONS, read_config_values
from experiments.run_dir.outcome import OK
from reformer_pl.config import ConfigError, flat
from reformer_pl.config.unread import unread_keys

TUNING, FINAL = "tuning", "final"  # the stage of a cell


def load_results(*sources: Study | str | Path, runs_dir: Path = RUNS_DIR) -> pd.DataFrame:
    """Everything about every run of the sources: a row for each cell as it was trained, eval
    "own", and one for each of its evaluations.

    A source is a `Study`, a name below configs/study, the path of a YAML file, or a folder of runs,
    such as a copy of runs/STUDY from another machine, where `variant` is the cell's folder, for
    labels stand in the YAML. The columns, in this order:

    study, variant, cell, train, eval, seed, status, error     train is the variant, as results.csv
                                       calls it
    stage                              of a study with tune: "tuning" in the rows of its tuning
                                       cells, whose variant is "LSH-4 / lr=0.001", else "final"; a
                                       run that is both has rows of both
    SCORES, those of OTHER_SCORES that a cell has, COSTS, COUNTS    with units as in `COLUMNS`
    split                              the part of the data that the scores are of: held_out, test
    keys_per_token                     how many keys a token reaches, as the mean
    measure, peer, BENCHMARK_NUMBERS   where a cell measures (`python -m experiments.benchmark`)
    baseline.*                         what a model that knows nothing gets
    config.*                           every key of config.yaml, as an override names it, such as
                                       config.model.lsh.n_hashes; lists as JSON text;
                                       empty for a cell that never started, and of a key that the
                                       variant does not read (n_hashes under full attention)
    git_commit, device, threads, finished_at, version.*, directory

    An evaluation that is not there, or was made under other overrides than its study says, is
    "missing" in its row, and one that cannot be read is "unreadable"; a folder of runs also has
    those that were made later, by hand. What else cannot be read is a warning. Raises ConfigError
    for an unknown source, and for a study of which nothing was run.
    """
    rows = []
    for study in open_sources(sources, runs_dir, warn_above=2):
        for stage in stages(study):
            changed = changed_cells(stage)
            own = [
                row
                for cell in stage.cells
                for row in _all_known(stage, cell, changed.get(cell, ""))
            ]
            if study.tuning is not None:
                word = FINAL if stage.name == study.name else TUNING
                own = [row | {"study": study.name, "stage": word} for row in own]
            rows += own
    groups = [
        [key for row in rows for key in row if key.startswith(prefix)]
        for prefix in ("baseline.", "config.", "version.")
    ]
    baselines, configs, versions = (list(dict.fromkeys(group)) for group in groups)
    run = ("study", "variant", "cell", "train", "eval", "seed", "status", "error")
    run = (*run, *present(("stage",), rows))
    numbers = (*SCORES, *present(OTHER_SCORES, rows), *COSTS, *COUNTS, "split", KEYS)
    measured = present(("measure", "peer", *BENCHMARK_ONLY), rows)
    made_by = (*PLAIN_PROVENANCE, *versions, "directory")
    frame = typed(rows, (*run, *numbers, *measured, *baselines, *configs, *made_by))
    for name in configs:
        column = of_one_type([row.get(name) for row in rows])
        if column is not None:
            frame[name] = column
    return frame


def _all_known(study: Study, cell: Cell, changed: str) -> list[dict[str, Any]]:
    """The rows of a cell: as it was trained, and under each evaluation."""
    unreadable = ""
    try:
        config = read_config_values(cell.directory)
    except ConfigError as error:
        config, unreadable = {}, str(error)
    evaluations: Any = (
        study.evaluations_of(cell) if study.grids else config.pop("evaluations", None) or {}
    )
    if not isinstance(evaluations, dict):
        evaluations, unreadable = {}, f"{cell.directory / CONFIG} has evaluations that are no names"
    rows = rows_of(study.name, cell, evaluations, changed, own=True)
    later = [] if study.grids else sorted((cell.directory / EVALUATIONS).glob("*.json"))
    for path in later:
        scores = scores_by_hand(path)
        name = scores.pop("name", None) or path.stem
        if name not in evaluations:
            rows.append({**rows[0], "eval": name, "status": OK, **scores})
    from_config = _config_columns(config)
    for group in ("baseline", "versions"):
        from_config |= {
            f"{group.removesuffix('s')}.{key}": value
            for key, value in (rows[0].get(group) or {}).items()
        }
    if unreadable:  # its numbers are its own, but nobody knows of what
        rows = [{**row, "error": row.get("error") or unreadable} for row in rows]
    names = {"variant": cell.train, "directory": str(cell.directory)}
    return [{**row, **from_config, **names} for row in rows]


def _config_columns(config: dict[str, Any]) -> dict[str, Any]:
    """A config.yaml as columns; None of a key that plays no part in the run."""
    values = flat(
        {key: value for key, value in config.items() if key not in ("out_dir", "evaluations")}
    )
    unread = unread_keys(values)
    return {
        f"config.{key}": _plain(None if key in unread else value)
        for key, value in values.items()
        if key != "seed"
    }


def _plain(value: Any) -> Any:
    """Lists and phases as JSON text."""
    return json.dumps(value) if isinstance(value, list | dict) else value
