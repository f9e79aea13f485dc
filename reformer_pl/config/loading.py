"""Plain values and overrides to a checked RunConfig, and what differs between two of them.

This file imports neither torch nor Hydra, so that a sweep can check a thousand configs in seconds.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from reformer_pl.config.compiler import check_compiler
from reformer_pl.config.local_path import PATH_KEYS, as_typed
from reformer_pl.config.phases import by_step, read_phases
from reformer_pl.config.rules import PEER_PACKAGES, TRACKERS, ConfigError, check_word
from reformer_pl.config.run_rules import check
from reformer_pl.config.schema import RunConfig

MOST_NESTED = 100  # levels of a YAML file; libyaml's composer overflows the stack at some thousands


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The plain dict that is saved: no dataclass or OmegaConf object ever reaches a checkpoint."""
    return asdict(config)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted keys, as overrides name them.

    Tuples become lists, as YAML reads them back. A mapping from steps, `phases`, is one value.
    """
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value and not all(type(name) is int for name in value):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return out


def changes(before: RunConfig, after: RunConfig) -> str:
    """What differs in the training of two configs, or in what they measure.

    For example "model.d_ff 64 -> 128, seed 0 -> 1"; an empty string where nothing does.
    The directory does not count, nor do the evaluations, which can be added to a trained model.
    Neither do the loggers and a benchmark's memory limit.
    """
    old, new = _that_count(to_dict(before)), _that_count(to_dict(after))
    return ", ".join(
        f"{key} {old.get(key)} -> {new.get(key)}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    )


def changes_since(path: Path, config: RunConfig) -> str:
    """`changes` from a config.yaml to a config; none from one that a power cut has emptied.

    Raises OSError, YAMLError and ConfigError for a file that cannot be read.
    """
    values = read_yaml(path)
    if values is None:
        return ""
    if not isinstance(values, dict):
        raise ConfigError("it holds no config")
    # They nearly always are the same, and a load takes ten times as long.
    same = _that_count(values) == _that_count(to_dict(config))
    return "" if same else changes(load(values), config)


def _that_count(values: dict[str, Any]) -> dict[str, Any]:
    counted = flat(
        {key: value for key, value in values.items() if key not in ("out_dir", "evaluations")}
    )
    for key in ("benchmark.memory_limit_gib", "trainer.loggers"):
        counted.pop(key, None)
    return counted


def read_yaml(path: Path) -> Any:
    """By libyaml, where PyYAML has it, ten times as fast.

    None of a file that is empty, or all zeros as a power cut leaves it. Raises OSError, and
    YAMLError also for what is no UTF-8 and for what is nested too deeply, which would end the
    process.
    """
    data, loader = path.read_bytes().strip(b"\0"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if sum(map(data.count, (b"[", b"{", b"- ", b"? "))) > MOST_NESTED:
        depth = 0
        for event in yaml.parse(data, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MOST_NESTED:
                raise yaml.YAMLError(f"it is nested more than {MOST_NESTED} levels deep")
    return yaml.load(data, Loader=loader)


def load(values: dict[str, Any], overrides: Iterable[str] = ()) -> RunConfig:
    """Plain values, then dotted overrides, into a checked RunConfig.

    Raises ConfigError for unknown keys, wrong types and illegal combinations.
    """
    return check(typed(values, overrides))


def typed(values: dict[str, Any], overrides: Iterable[str] = ()) -> RunConfig:
    """`load` without the rules between values, for a config that is changed before its check."""
    if "phases" in values:
        values = values | {"phases": by_step(values["phases"])}
    try:
        merged = OmegaConf.merge(_schema(), values)
        for override in overrides:
            merged.merge_with(_dotted(override))
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    config.optim.betas = tuple(config.optim.betas)
    return config


@cache
def _schema() -> DictConfig:
    """Made once, for it takes as long as all the rest."""
    return OmegaConf.structured(RunConfig)


@cache
def _dotted(override: str) -> DictConfig:
    """One override as values. Raises ConfigError where it is none."""
    if "=" not in override:
        raise ConfigError(f"override '{override}' is not of the form key=value")
    key, _, value = override.partition("=")
    if key.split(".")[0] == "phases":
        return OmegaConf.create({"phases": read_phases(key, value)})
    path = as_typed(value) if key in PATH_KEYS else None
    if path is not None:
        values = OmegaConf.create()
        OmegaConf.update(values, key, path)
        return values
    try:
        return OmegaConf.from_dotlist([override])
    except yaml.YAMLError as error:
        raise ConfigError(
            f"override '{override}' cannot be read: put quotes around its value"
        ) from error


@cache
def override_values(override: str) -> dict[str, Any]:
    """One override, as flat values. Raises ConfigError where it is none."""
    return flat(OmegaConf.to_container(_dotted(override)))


def one_line(error: Exception) -> str:
    """An OmegaConf or Hydra error as one sentence that names the key."""
    key = getattr(error, "full_key", None)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and is_dataclass(error.object_type):
        names = ", ".join(field.name for field in fields(error.object_type))
        return f"key {key} is unknown: {error.object_type.__name__} has {names}"
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return f"{text} (key {key})" if key and str(key) not in text else text


def check_installed(config: RunConfig) -> None:
    """That the packages of a peer and of loggers are there, and the compiler of trainer.compile.

    Asked when something is about to start, for a config can be read without them.
    """
    package = PEER_PACKAGES.get(config.benchmark.peer)
    if package and find_spec(package) is None:
        raise ConfigError(
            f"benchmark.peer={config.benchmark.peer} needs the package {package}: "
            "pip install -e '.[peers]', or make peers"
        )
    for logger in config.trainer.loggers if config.benchmark.measure == "none" else ():
        if logger in TRACKERS:
            check_tracker(logger)
    if config.trainer.compile:
        check_compiler()


def check_tracker(name: str) -> None:
    """That the packages of wandb or mlflow are there.

    Raises ConfigError with the command for pip.
    """
    check_word("tracker", name, tuple(TRACKERS))
    missing = [package for package in TRACKERS[name] if find_spec(package) is None]
    if missing:
        packages = ", ".join(missing)
        raise ConfigError(f"{name} needs {packages}: pip install '.[{name}]'")
