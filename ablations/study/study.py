"""A study is a YAML grid; here it becomes cells, each one complete command.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.study.axes.figure_keys import FigureKeys, read_figures
from ablations.study.cell import Cell
from ablations.study.distinct import check_folded, check_names
from ablations.study.grid import MAX_CELLS, Grid, make_grids
from ablations.study.names import check_paths
from ablations.study.paper_numbers import check_paper
from ablations.study.report_words import REPORT_WORDS
from ablations.study.written.yaml_file import read_yaml_file
from ablations.study.written.yaml_values import (
    plain_value,
    read_list,
    read_mapping,
    read_overrides,
    read_truth,
)
from experiments.compose import CONFIG_DIR, Bases, compose, presets
from experiments.hydra_options import HYDRA_WORDS
from reformer_pl.config import ConfigError, RunConfig, flat, to_dict
from reformer_pl.config.evaluations import load_named_evaluation
from reformer_pl.config.local_path import local_place

KEYS = (
    "description",
    "timed",
    "measure",
    "base",
    "axes",
    "when",
    "grids",
    "seeds",
    "evaluations",
    "paper",
    "report",
    "figures",
    "baseline",
    "notes",
)


@dataclass(frozen=True)
class Study:
    name: str
    description: str
    timed: bool  # the report shows time: cells run alone, with all threads
    cells: tuple[Cell, ...]
    evaluations: dict[str, list[str]]
    paper: dict[str, dict[str, dict[str, Any]]]  # the paper's numbers, report part -> row -> column
    report: tuple[str, ...]
    notes: tuple[str, ...]
    directory: Path
    grids: tuple[Grid, ...] = ()
    baseline: str = ""  # the label that the others are compared with, seed by seed
    unread: tuple[str, ...] = ()  # of a folder of runs: what below it cannot be read
    figures: dict[str, FigureKeys] = field(default_factory=dict)  # by the word of the report

    @property
    def is_benchmark(self) -> bool:
        """Its cells measure (experiments.benchmark) and train nothing."""
        return any(grid.measure for grid in self.grids)


def load_study(
    name_or_path: str | Path, runs_dir: Path = Path("runs"), max_cells: int = MAX_CELLS
) -> Study:
    """A name below configs/study, or a path to a YAML file of the user's own.

    Raises ConfigError, also where a grid has more than `max_cells` cells.
    """
    path = _find(str(name_or_path))
    try:
        folder = local_place(runs_dir)
        return _study(path.stem, _read(path), folder, max_cells)
    except ConfigError as error:
        raise ConfigError(f"study {path.stem}: {error}") from error


def _study(name: str, values: dict[str, Any], runs_dir: Path, max_cells: int) -> Study:
    if name.startswith("."):
        raise ConfigError(f"'{name}' cannot name the study's directory: give the file another name")
    if name == "single":
        raise ConfigError("runs/single holds the single runs: give the file another name")
    evaluations = _evaluations(values)
    grids = make_grids(values, evaluations, runs_dir / name, max_cells)
    cells = tuple(cell for grid in grids for cell in grid.cells)
    check_names(grids)
    check_paths(cells)
    return Study(
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
    )


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


def compose_cells(study: Study) -> list[RunConfig]:
    """Compose and check every cell and each of its evaluations. Raises ConfigError.

    In the order of study.cells.
    """
    configs, bases = [], Bases()
    for cell in study.cells:
        place = str(cell)
        try:
            config = compose(cell.overrides, bases)
            if config.evaluations != study.evaluations or config.out_dir != str(cell.directory):
                raise ConfigError(
                    f"Hydra reads the directory {cell.directory} or an evaluation's name "
                    "as something else: rename it"
                )
            same_but_seed = (
                cell.seed != study.cells[0].seed
            )  # its evaluations were checked with the first seed
            for label in () if same_but_seed else study.evaluations:
                place = f"{cell}, evaluation {label}"
                load_named_evaluation(config, label)
        except ConfigError as error:
            raise ConfigError(f"study {study.name}, {place}: {error}") from error
        configs.append(config)
    for word in study.report:
        needs = REPORT_WORDS[word]
        if needs.key and not any(flat(to_dict(config))[needs.key] for config in configs):
            reason = f"report: {word} needs {needs.key}, which no cell has"
            raise ConfigError(
                f"study {study.name}: {reason}: add {needs.example} to base, or leave {word} out"
            )
        if needs.task and needs.task not in (config.task.name for config in configs):
            raise ConfigError(
                f"study {study.name}: report: {word} is of task.name={needs.task}, which no cell "
                f"has: leave {word} out"
            )
    return configs


def compose_variants(study: Study) -> dict[str, RunConfig]:
    """The config of each train label, with its first seed. Raises ConfigError."""
    first, bases = {cell.train: cell for cell in reversed(study.cells)}, Bases()
    return {
        label: compose(first[label].overrides, bases)
        for label in dict.fromkeys(cell.train for cell in study.cells)
    }


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
