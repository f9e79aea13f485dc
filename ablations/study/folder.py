"""What a notebook or a command line may name: a study, its YAML file, or a folder of runs.

The folder may be copied from elsewhere.
"""

import os
import re
import sys
from pathlib import Path

from ablations.study import Study, load_study
from ablations.study.cell import Cell
from experiments.compose import presets
from experiments.run_dir.files import FILES, MARKS, read_config_values
from reformer_pl.config import ConfigError
from reformer_pl.config.local_path import local_place


def open_source(source: Study | str | Path, runs_dir: Path = Path("runs")) -> Study:
    """A name below configs/study, the path of a YAML file, or a folder with runs below it.

    A folder has no YAML beside it: its cells are its run directories, each labelled with its path,
    and no cell is missing. Raises ConfigError.
    """
    if isinstance(source, Study):
        return source
    named = str(source) in presets("study")
    place = local_place(source)
    if not named and place.is_dir():
        return study_of_folder(place)
    if not str(source).endswith((".yaml", ".yml")) and "/" in str(source):
        raise ConfigError(
            f"there is no folder {source}: "
            "give a study's name, the path of its YAML file, or a folder of runs"
        )
    try:
        return load_study(source, runs_dir, max_cells=sys.maxsize)  # `run` had its limit
    except ConfigError as error:
        folder = runs_dir / str(source)
        if named or "/" in str(source) or not folder.is_dir():
            raise
        raise ConfigError(f"{error}; {folder} is a folder of runs: give its path") from error


def study_of_folder(folder: Path) -> Study:
    """The runs below a folder, links followed, as a study. Raises ConfigError where there is none.

    What cannot be read is in its `unread`.
    """
    places, unread = run_directories(folder)
    if not places:
        raise ConfigError(
            f"{folder} holds no run: a run's directory has config.yaml and result.json"
            + "".join(f"; {line}" for line in unread)
        )
    configs = {place: _config(place) for place in places}
    cells = tuple(_cell(folder, place, configs[place]) for place in places)
    evaluated = any(config.get("evaluations") for config in configs.values())
    name = folder.resolve().name
    report = ("train_eval",) if evaluated else ("loss_memory",)
    return Study(
        name,
        f"Runs below {folder}",
        False,
        cells,
        {},
        {},
        report,
        (),
        folder,
        baseline=cells[0].train,
        unread=tuple(unread),
    )


def run_directories(folder: Path) -> tuple[list[Path], list[str]]:
    """The run directories below a folder, sorted; and a line for each folder that cannot be read.

    Links are followed, each directory once: one that lies below the folder itself goes by that
    path. What `run --force` put aside is left out.
    """
    places, unread, seen, links = [], [], set(), []
    waiting = [folder]
    while waiting or links:
        directory = waiting.pop() if waiting else links.pop(0)
        try:
            status = directory.stat()
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except NotADirectoryError:  # a link to a file
            continue
        except OSError as error:
            what = "is a link that" if directory.is_symlink() else "is a folder that"
            unread.append(f"{directory} {what} cannot be read ({error.strerror or error})")
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if any(entry.name in MARKS for entry in entries):
            places.append(directory)
        for entry in entries:
            path = directory / entry.name
            if ".before-" in entry.name or entry.name in FILES:
                continue
            if entry.is_symlink():
                links.append(path)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
    return sorted(places), unread


def _config(place: Path) -> dict[str, object]:
    """Empty where it cannot be read, which the readers of the study's problems report."""
    try:
        return read_config_values(place)
    except ConfigError:
        return {}


def _cell(folder: Path, place: Path, config: dict[str, object]) -> Cell:
    """Named by its path below the folder, without the seed=N in which a study's own cells end.

    A single run is named as its folder.
    """
    parts = list(place.relative_to(folder).parts) or [place.resolve().name]
    match = re.fullmatch(r"seed=(-?\d+)", parts[-1])
    seed = int(match[1]) if match else config.get("seed")
    if match:
        parts = parts[:-1] or [place.resolve().parent.name]
    benchmark = config.get("benchmark")
    measures = isinstance(benchmark, dict) and benchmark.get("measure", "none") != "none"
    program = "experiments.benchmark" if measures else "experiments.train"
    name = "/".join(parts)
    return Cell(name, name, seed if isinstance(seed, int) else 0, (), place, (name,), program)
