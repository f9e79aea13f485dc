"""A study is a YAML grid; here it becomes cells, each one complete `experiments.train` command.

base: [experiment=duplication]
axes:
  train: {Full: [model.attention=shared_full], LSH-4: [model.lsh.n_hashes=4]}   # labels with overrides
  optim.lr: [0.001, 0.002]                                                       # or a config key with values
seeds: [0, 1]                                                                    # 2 x 2 x 2 = 8 cells
"""

import itertools
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.compose import CONFIG_DIR, compose, presets
from reformer_pl.config import ConfigError, RunConfig, load_evaluation

KEYS = ("description", "timed", "base", "axes", "seeds", "evaluations", "paper", "report", "notes")
REPORT_PARTS = ("train_eval", "loss_memory", "learning_curves")
SET_BY_THE_STUDY = ("seed", "out_dir", "evaluations")


@dataclass(frozen=True)
class Cell:
    """One run of the grid. `overrides` is complete: seed, out_dir and evaluations are in it."""

    name: str
    train: str
    seed: int
    overrides: tuple[str, ...]
    directory: Path

    def command(self) -> list[str]:
        return [sys.executable, "-m", "experiments.train", *self.overrides]

    def __str__(self) -> str:
        return f"{self.name} seed={self.seed}"


@dataclass(frozen=True)
class Study:
    name: str
    description: str
    timed: bool  # the report shows time: cells run alone, with all threads
    cells: tuple[Cell, ...]
    evaluations: dict[str, list[str]]
    paper: dict[str, dict[str, float]]  # the paper's accuracies (0-1), train -> eval -> number
    report: tuple[str, ...]
    notes: tuple[str, ...]
    directory: Path


def load_study(name_or_path: str | Path, runs_dir: Path = Path("runs")) -> Study:
    """A name below configs/study, or a path to a YAML file of the user's own. Raises ConfigError."""
    path = _find(str(name_or_path))
    name = path.stem
    try:
        if name == "single":
            raise ConfigError("runs/single holds the single runs: give the file another name")
        values = _read(path)
        evaluations = {str(k): _overrides(f"evaluations.{k}", v) for k, v in _mapping(values, "evaluations").items()}
        for label in evaluations:
            if not re.fullmatch(r"[A-Za-z][\w.-]*", label) or label.lower() in ("null", "true", "false", "inf", "nan"):
                raise ConfigError(f"the evaluation name '{label}' must be a word of letters, digits and _.- with a letter first")
        cells = _cells(values, evaluations, runs_dir / name)
        paper = _paper(values, {cell.train for cell in cells}, set(evaluations))
        report = tuple(_list(values, "report", ["learning_curves"]))
        for part in report:
            if part not in REPORT_PARTS:
                raise ConfigError(f"report: '{part}' is unknown: choose {', '.join(REPORT_PARTS)}")
        timed = values.get("timed", False)
        if not isinstance(timed, bool):
            raise ConfigError(f"timed is true or false, not {timed!r}")
    except ConfigError as error:
        raise ConfigError(f"study {name}: {error}") from error
    description = " ".join(str(values.get("description", name)).split())
    notes = tuple(str(note) for note in _list(values, "notes", []))
    return Study(name, description, timed, cells, evaluations, paper, report, notes, runs_dir / name)


def compose_cells(study: Study) -> list[RunConfig]:
    """Compose and check every cell and each of its evaluations, in the order of study.cells. Raises ConfigError."""
    configs = []
    for cell in study.cells:
        place = str(cell)
        try:
            config = compose(cell.overrides)
            if config.evaluations != study.evaluations or config.out_dir != str(cell.directory):
                raise ConfigError(f"Hydra reads the directory {cell.directory} or an evaluation's name as something else: rename it")
            same_but_seed = cell.seed != study.cells[0].seed  # its evaluations were checked with the first seed
            for label, overrides in () if same_but_seed else study.evaluations.items():
                place = f"{cell}, evaluation {label}"
                load_evaluation(config, overrides)
        except ConfigError as error:
            raise ConfigError(f"study {study.name}, {place}: {error}") from error
        configs.append(config)
    return configs


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"there is no study file {name}")
        return path
    if name not in presets("study"):
        raise ConfigError(f"study '{name}' is unknown: choose {', '.join(presets('study'))}, or give the path of a YAML file")
    return CONFIG_DIR / "study" / f"{name}.yaml"


def _read(path: Path) -> dict[str, Any]:
    """OmegaConf's loader, for it refuses a label that is written twice, where PyYAML would drop the first."""
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping with the keys {', '.join(KEYS)}")
    unknown = [str(key) for key in values if key not in KEYS]
    if unknown:
        raise ConfigError(f"unknown key {', '.join(unknown)}: choose {', '.join(KEYS)}")
    return values


def _cells(values: dict[str, Any], evaluations: dict[str, list[str]], directory: Path) -> tuple[Cell, ...]:
    """The product of the axes, the first seed's whole grid first, so that an interrupted study has one complete table."""
    base = _overrides("base", values.get("base", []))
    axes = [_axis(str(key), choices) for key, choices in _mapping(values, "axes").items()]
    seeds = _list(values, "seeds", [0])
    if not axes or not seeds:
        raise ConfigError(f"the grid is empty: {'axes' if not axes else 'seeds'} has no entry")
    if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
        raise ConfigError(f"seeds must be whole numbers, not {seeds}")
    named = [f"{label}:{hydra_value(overrides)}" for label, overrides in evaluations.items()]
    added = [f"+evaluations={{{','.join(named)}}}"] if named else []
    cells = []
    for seed, variant in itertools.product(seeds, itertools.product(*axes)):
        labels = [label for label, _ in variant]
        name = "_".join(re.sub(r"[^\w=.-]+", "-", label).strip("-") for label in labels)
        if name.startswith(".") or not name or len(name) > 200 or name == "report":
            raise ConfigError(f"'{name}' cannot name a cell's directory: use other labels")
        out_dir = directory / name / f"seed={seed}"
        chosen = [override for _, overrides in variant for override in overrides]
        fixed = [f"seed={seed}", f"out_dir={hydra_value(str(out_dir))}"]
        cells.append(Cell(name, " / ".join(labels), seed, (*base, *chosen, *fixed, *added), out_dir))
    twice = [name for name, count in Counter(str(cell.directory).casefold() for cell in cells).items() if count > 1]
    if twice:
        raise ConfigError(f"two cells have the same name, {Path(twice[0]).parent.name}: let labels and seeds differ in letters or digits")
    return tuple(cells)


def _axis(key: str, choices: Any) -> list[tuple[str, list[str]]]:
    """(label, overrides) of each choice. A word is its own label; a number is labelled key=number."""
    if choices is None or choices == {} or choices == []:
        raise ConfigError(f"the grid is empty: axis {key} has no entry")
    if isinstance(choices, dict):
        return [(str(label), _overrides(f"{key}.{label}", overrides)) for label, overrides in choices.items()]
    if not isinstance(choices, list):
        raise ConfigError(f"axis {key} must be a list of values, or a mapping from label to a list of overrides")
    if key in SET_BY_THE_STUDY:
        raise ConfigError(f"axis {key} is set by the study itself: use its seeds and evaluations")
    pairs = [(value, hydra_value(value)) for value in choices]
    return [(value if isinstance(value, str) else f"{key.rsplit('.', 1)[-1]}={text}", [f"{key}={text}"]) for value, text in pairs]


def _overrides(where: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) and "=" in v for v in values):
        raise ConfigError(f"{where} must be a list of overrides such as [model.attention=lsh], not {values!r}")
    for override in values:
        if override.split("=", 1)[0].lstrip("+").split(".", 1)[0] in SET_BY_THE_STUDY:
            raise ConfigError(f"{where}: {override} is set by the study itself: use its seeds and evaluations")
    return values


def _paper(values: dict[str, Any], trains: set[str], evals: set[str]) -> dict[str, dict[str, float]]:
    paper = _mapping(values, "paper")
    for train, row in paper.items():
        if train not in trains:
            raise ConfigError(f"paper.{train} is no cell of the grid: choose {', '.join(sorted(trains))}")
        if not isinstance(row, dict) or not set(row) <= evals or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in row.values()):
            raise ConfigError(f"paper.{train} must map evaluations ({', '.join(sorted(evals))}) to numbers between 0 and 1")
    return paper


def _mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{key} must be a mapping, not {value!r}")
    return value


def _list(values: dict[str, Any], key: str, default: list[Any]) -> list[Any]:
    value = values.get(key, default)
    if not isinstance(value, list):
        raise ConfigError(f"{key} must be a list, not {value!r}")
    return value


def hydra_value(value: Any) -> str:
    """A plain value in Hydra's override grammar: quoted where a word holds anything but letters, digits and _./+-"""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list():
            return f"[{','.join(hydra_value(v) for v in value)}]"
        case str() if re.fullmatch(r"[\w./+-]+", value):
            return value
        case str():  # backslashes count only where a quote follows
            return '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value) + '"'
    raise ConfigError(f"{value!r} cannot be one value: use words, numbers or lists of them")
