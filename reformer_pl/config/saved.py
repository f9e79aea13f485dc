"""A config from wherever it is: plain values, a YAML file, or the directory of a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from reformer_pl.config.loading import load, read_yaml
from reformer_pl.config.rules import ConfigError
from reformer_pl.config.schema import RunConfig

CONFIG_FILE = "config.yaml"  # of a run directory


def load_config(source: str | Path | dict[str, Any], overrides: Iterable[str] = ()) -> RunConfig:
    """The checked config of a run directory, a config.yaml or a plain dict, then key=value changes.

    What is left out has its default. Raises ConfigError for a file that cannot be read, an unknown
    key, a wrong type or an illegal combination.
    """
    if isinstance(source, dict):
        return load(source, overrides)
    path = Path(source)
    if path.is_dir():
        path /= CONFIG_FILE
    try:
        values = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): give a run directory or a {CONFIG_FILE}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: give a run directory or a {CONFIG_FILE}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no config: it must be keys and values")
    return load(values, overrides)
