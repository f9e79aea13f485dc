"""Whether a cell's directory holds a run of the config that its study asks for now.

A study's YAML may be edited after its cells have run. What a directory holds then is another run,
and its numbers are not the study's. `run` refuses such a cell, and every reader leaves it out.
"""

from functools import cache

import yaml

from ablations.study.cell import Cell
from ablations.study.study import Study
from experiments.compose import Bases, compose
from experiments.run_dir.files import CONFIG, has_begun
from experiments.run_dir.reading import has_file
from reformer_pl.config import ConfigError, RunConfig, changes_since

BASES = Bases()
OPEN_AGAIN = "its tuning cells have not all ended, so that its value may be another: run them"


@cache  # composing takes longer than a table
def composed(overrides: tuple[str, ...]) -> RunConfig:
    """The config of a cell."""
    return compose(overrides, BASES)


def changed_config(study: Study, cell: Cell, config: RunConfig) -> str:
    """How the config of a finished or half-trained cell differs from the study's; else empty.

    A cell that never began to train holds nothing to lose. Raises ConfigError for a config.yaml
    that cannot be read.
    """
    path = cell.directory / CONFIG
    if not has_begun(cell.directory) or not has_file(path):
        return ""
    try:
        return changes_since(path, config)
    except (yaml.YAMLError, OSError, ConfigError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"study {study.name}: {path} cannot be read ({reason}): put back the file that the run "
            f"wrote, or move {cell.directory} away and run it again"
        ) from error


def changed_cells(study: Study) -> dict[Cell, str]:
    """The cells whose directory holds a run of another config, each with what differs.

    A folder of runs asks for no config of its own: none of its cells is changed.
    """
    changed = {}
    for cell in study.cells if study.grids else ():
        if not has_begun(cell.directory):
            continue
        if study.is_open(cell):
            changed[cell] = OPEN_AGAIN
            continue
        try:
            reason = changed_config(study, cell, composed(cell.overrides))
        except ConfigError as error:  # nobody knows of which run the numbers are
            changed[cell] = str(error)
        else:
            if reason:
                changed[cell] = how_to_go_on(reason)
    return changed


def how_to_go_on(reason: str) -> str:
    """One sentence for a cell whose config has changed."""
    return (
        f"its directory holds a run of another config ({reason}): put the YAML back, "
        "or start it over with run --force"
    )
