"""A study is a YAML grid. Here it becomes cells, each one complete command.

base: [experiment=duplication]
axes:
  train: {Full: [model.attention=shared_full], LSH-4: [model.lsh.n_hashes=4]}   # with overrides
  optim.lr: [0.001, 0.002]     # or a config key with values
seeds: [0, 1]                  # 2 x 2 x 2 = 8 cells
baseline: Full / lr=0.001      # the report part `paired` compares with it (default: the first)
figures: {learning_curves: {colour: optim.lr, from: 0.5}}     # which axis is what in a figure

With `measure: attention | layer | step` its cells train nothing: they are `experiments.benchmark`
commands. Such a study may have several products, each with tables and figures of its own, instead
of axes and report:
grids:
  lengths: {base: [...], axes: {...}, report: [complexity]}
  depths: {measure: step, axes: {...}}
"""

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ablations.study.axes.figure_keys import read_figures
from ablations.study.cell import Cell
from ablations.study.distinct import check_folded, check_names
from ablations.study.grid import MAX_CELLS, Grid, make_grids
from ablations.study.names import check_paths
from ablations.study.paper_numbers import check_paper
from ablations.study.report_words import REPORT_WORDS
from ablations.study.runs.sample import draw, read_samples
from ablations.study.runs.shared import share_runs
from ablations.study.study import Study
from ablations.study.tune.final_cells import with_choices
from ablations.study.tune.read_tune import TUNE, TUNE_SEEDS, read_tuning, without_tuned
from ablations.study.written.yaml_file import read_yaml_file
from ablations.study.written.yaml_values import (
    plain_value,
    read_list,
    read_mapping,
    read_overrides,
    read_truth,
)
from experiments.compose import CONFIG_DIR, presets
from experiments.hydra_options import HYDRA_WORDS
from reformer_pl.config import ConfigError
from reformer_pl.config.local_path import local_place

KEYS = (
    "description",
    "timed",
    "measure",
    "base",
    "axes",
    "when",
    "predict",
    "grids",
    "seeds",
    TUNE,
    TUNE_SEEDS,
    "evaluations",
    "paper",
    "report",
    "figures",
    "baseline",
    "notes",
)


def load_study(
    name_or_path: str | Path,
    runs_dir: Path = Path("runs"),
    max_cells: int = MAX_CELLS,
    whole: bool = False,
) -> Study:
    """A name below configs/study, or a path to a YAML file of the user's own.

    Where `run --sample` has drawn some of its cells, the study is these, unless it is to be whole.
    Raises ConfigError, also where a grid has more than `max_cells` cells.
    """
    path = _find(str(name_or_path))
    try:
        folder = local_place(runs_dir)
        study = _study(path.stem, _read(path), folder, max_cells)
        return study if whole else draw(study, read_samples(study.directory))
    except ConfigError as error:
        raise ConfigError(f"study {path.stem}: {error}") from error


def _study(name: str, values: dict[str, Any], runs_dir: Path, max_cells: int) -> Study:
    if name.startswith("."):
        raise ConfigError(f"'{name}' cannot name the study's directory: give the file another name")
    if name == "single":
        raise ConfigError("runs/single holds the single runs: give the file another name")
    evaluations = _evaluations(values)
    grids = make_grids(without_tuned(values), evaluations, runs_dir / name, max_cells)
    check_names(grids)
    grids = _shared(grids)
    tuning = read_tuning(values, grids, runs_dir / name, max_cells)
    grids = tuple(_with_tuning_words(grid, tunes=tuning is not None) for grid in grids)
    cells = tuple(cell for grid in grids for cell in grid.cells)
    check_paths(cells)
    study = Study(
        name=name,
        description=" ".join(str(values.get("description", name)).split()),
        timed=read_truth(values, "timed"),
        cells=cells,
        evaluations=evaluations,
        paper=_paper(values, evaluations, grids),
        report=tuple(dict.fromkeys(part for grid in grids for part in grid.report)),
        notes=tuple(str(note) for note in read_list(values, "notes", [])),
        directory=runs_dir / name,
        grids=grids,
        baseline=_baseline(values, cells),
        figures=read_figures(read_mapping(values, "figures"), grids),
        tuning=tuning,
    )
    return with_choices(study)


def _shared(grids: tuple[Grid, ...]) -> tuple[Grid, ...]:
    """The grids, with one directory for all cells of equal config."""
    cells = iter(share_runs(tuple(cell for grid in grids for cell in grid.cells)))
    return tuple(replace(grid, cells=tuple(islice(cells, len(grid.cells)))) for grid in grids)


def _with_tuning_words(grid: Grid, tunes: bool) -> Grid:
    """The grid with the words that each study with `tune:` has. ConfigError where it has none."""
    words = [word for word, needs in REPORT_WORDS.items() if needs.tunes]
    for word in words:
        if word in grid.report and not tunes:
            raise ConfigError(f"report: {word} shows what tune chooses: add tune, or leave it out")
    if not tunes:
        return grid
    return replace(grid, report=tuple(dict.fromkeys((*grid.report, *words))))


def _evaluations(values: dict[str, Any]) -> dict[str, list[str]]:
    """The overrides of each evaluation."""
    evaluations = {
        str(label): read_overrides(f"evaluations.{label}", overrides)
        for label, overrides in read_mapping(values, "evaluations").items()
    }
    for label in evaluations:
        if label == "own":
            raise ConfigError(
                "the evaluation name own is that of the model as it was trained: choose another"
            )
        if not re.fullmatch(r"[A-Za-z][\w.-]*", label) or label.lower() in HYDRA_WORDS:
            raise ConfigError(
                f"the evaluation name '{label}' must be a word of letters, digits and _.- "
                "with a letter first"
            )
    check_folded("evaluations", evaluations)
    return evaluations


def _paper(
    values: dict[str, Any], evaluations: dict[str, list[str]], grids: tuple[Grid, ...]
) -> dict[str, dict[str, dict[str, Any]]]:
    places = [grid.place(cell) for grid in grids for cell in grid.cells]
    variants, lengths = ({place[i] for place in places} for i in (0, 1))
    trained = {cell.train for grid in grids for cell in grid.cells}
    paper = plain_value("paper", read_mapping(values, "paper"))
    return check_paper(paper, trained, set(evaluations), variants, lengths)


def _baseline(values: dict[str, Any], cells: tuple[Cell, ...]) -> str:
    variants = list(dict.fromkeys(cell.train for cell in cells))
    baseline = str(values.get("baseline", variants[0]))
    if baseline not in variants:
        raise ConfigError(
            f"baseline '{baseline}' is no variant of the study: choose {', '.join(variants)}"
        )
    return baseline


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = local_place(name)
        if not path.is_file():
            folder = " (that is a folder)" if path.is_dir() else ""
            raise ConfigError(
                f"there is no study file {name}{folder}: give the path of a YAML file, "
                f"or one of {', '.join(presets('study'))}"
            )
        return path
    if name not in presets("study"):
        raise ConfigError(
            f"study '{name}' is unknown: choose {', '.join(presets('study'))}, "
            "or give the path of a YAML file"
        )
    return CONFIG_DIR / "study" / f"{name}.yaml"


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml_file(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping with the keys {', '.join(KEYS)}")
    unknown = [str(key) for key in values if key not in KEYS]
    if unknown:
        raise ConfigError(f"unknown key {', '.join(unknown)}: choose {', '.join(KEYS)}")
    return values
