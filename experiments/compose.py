"""Command-line overrides to a checked RunConfig: the one file that imports Hydra."""

import itertools
from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.run_dir.files import safe_name
from reformer_pl.config import ConfigError, RunConfig, check, load, one_line, typed
from reformer_pl.config.plain_values import set_plain

_HERE = Path(__file__).resolve().parent
_PACKAGED = _HERE / "configs"  # of a wheel; a clone has configs/ beside this package
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else _HERE.parent / "configs"

ConfigStore.instance().store(name="schema", node=RunConfig)


Bases = dict[
    tuple[str, ...], RunConfig | None
]  # what Hydra composed of the overrides that are not plain; None: all are left to it


def compose(overrides: Iterable[str], bases: Bases | None = None) -> RunConfig:
    """Compose configs/run.yaml with Hydra overrides, check it, and give the run its default directory.

    Hydra takes a tenth of a second. Give the cells of a study one dict of `bases`, empty at first: then it composes what cells have in
    common (presets, lists, evaluations) once, and the numbers and words in which they differ are set on that, to the same config.

    Raises ConfigError with one sentence for an unknown key, word, preset or value. The second, strict load is what
    catches `+model.lsh.n_hash=2`, which Hydra accepts and would drop in silence.
    """
    overrides = list(overrides)
    config = None if bases is None else _on_base(overrides, bases)
    config = load(_composed(overrides)[0]) if config is None else check(config)
    if not config.out_dir:
        config.out_dir = default_out_dir(overrides, config.seed)
    return config


def _composed(overrides: list[str]) -> tuple[dict[str, Any], bool]:
    """What Hydra makes of the overrides, and whether a value of it refers to another one."""
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = hydra_compose("run", overrides=overrides)
        values = OmegaConf.to_container(composed, resolve=True)
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
    ) as error:  # ValueError: a number for a group, such as model=3
        raise ConfigError(_reason(error)) from error
    return values, values != OmegaConf.to_container(composed)


def _on_base(overrides: list[str], bases: Bases) -> RunConfig | None:
    """The plain overrides set on what Hydra composed of the others; not checked yet. None where Hydra has to see them all together."""
    try:
        parsed = [_parsed(override) for override in overrides]
    except HydraException:
        return None
    plain = [one for one in parsed if _is_plain(one)]
    others = [one for one in parsed if one not in plain]
    if any(_meet(one.key_or_group, other) for one in plain for other in others):
        return None
    base = tuple(one.input_line or "" for one in others)
    if base not in bases:
        bases[base] = _base(list(base))
    config = deepcopy(bases[base])
    for one in plain if config else ():
        set_plain(config, one.key_or_group, one.value())
    return config


@cache
def _parsed(override: str) -> Override:
    (parsed,) = _parser().parse_overrides([override])
    return parsed


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _is_plain(override: Override) -> bool:
    changes = override.type is OverrideType.CHANGE and override.package is None
    return changes and set_plain(RunConfig(), override.key_or_group, override.value())


def _meet(key: str, other: Override) -> bool:
    """Whether the order of two overrides matters. That of a preset and a value in its group does not: Hydra takes presets first."""
    place = other.key_or_group
    holds = key.startswith(f"{place}.") and not isinstance(other.value(), str)
    return holds or key == place or place.startswith(f"{key}.")


def _base(overrides: list[str]) -> RunConfig | None:
    """Not checked: it may be legal only together with what is set on it. None for one that cannot be changed afterwards."""
    try:
        values, refers = _composed(overrides)
        return None if refers else typed(values)
    except ConfigError:  # the whole command has the sentence that says why
        return None


def product(overrides: Iterable[str]) -> list[list[str]]:
    """Overrides whose values are separated by commas, as every combination of one value each: "a=1,2 b=[3,4]" is two lists of two."""
    try:
        parsed = _parser().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(_reason(error)) from error
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line or ""]
        for override in parsed
    ]
    return [list(case) for case in itertools.product(*choices)]


def default_out_dir(overrides: Iterable[str], seed: int) -> str:
    """The same command always names the same directory, so that typing it again resumes."""
    said = [o for o in overrides if not o.startswith(("seed=", "experiment=", "out_dir="))]
    preset = next((o.split("=", 1)[1] for o in overrides if o.startswith("experiment=")), "run")
    words = "_".join(sorted(said)) or "default"
    return str(Path("runs") / "single" / preset / safe_name(words) / f"seed={seed}")


def presets(group: str) -> list[str]:
    """The names of the YAML files of one group, such as experiment or study."""
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def _reason(error: Exception) -> str:
    """Hydra wraps the useful sentence: prefer the cause, and name the override or the valid presets."""
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' is no override: write key=value, in the shell with quotes around values that hold more than a word"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = one_line(cause)
    if "'study" in text:
        return "a study is no part of a run: use python -m ablations run STUDY"
    if "Could not find" in text or ("Could not override" in text and "/" in text):
        for group in ("experiment", "model", "task", "trainer"):
            if f"{group}/" in text or f"'{group}'" in text:
                return f"{text.rstrip('.')}: {group} is one of {', '.join(presets(group))}"
    if (
        str(getattr(cause, "full_key", "")).startswith("evaluations")
        and cause.__class__.__name__ == "ConfigKeyError"
    ):
        return f"{text}: evaluations are added, so write +evaluations={{NAME:['key=value']}}"
    return text
