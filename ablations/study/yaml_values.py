"""The values of a study's YAML: mappings, lists and overrides, each refused in one line."""

from typing import Any

from reformer_pl.config import ConfigError

SET_BY_THE_STUDY = ("seed", "out_dir", "evaluations")


def read_overrides(where: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) and "=" in v for v in values):
        raise ConfigError(
            f"{where} must be a list of overrides such as [model.attention=lsh], not {values!r}"
        )
    for override in values:
        if override.split("=", 1)[0].lstrip("+").split(".", 1)[0] in SET_BY_THE_STUDY:
            raise ConfigError(
                f"{where}: {override} is set by the study itself: use its seeds and evaluations"
            )
    return values


def read_mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{key} must be a mapping, not {value!r}")
    return value


def read_list(values: dict[str, Any], key: str, default: list[Any]) -> list[Any]:
    value = values.get(key, default)
    if not isinstance(value, list):
        raise ConfigError(f"{key} must be a list, not {value!r}")
    return value
