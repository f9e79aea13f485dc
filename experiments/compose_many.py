"""Many configs that differ in a few values, composed on what they have in common.

Hydra takes a tenth of a second for a config, and the cells of a study are hundreds. So Hydra
composes once what cells share: presets, lists, evaluations. The numbers and words in which they
differ are plain values, and are set on a copy of that.

This second road to a config must lead to the same place as Hydra's. tests/test_compose.py holds
both equal: test_any_override_means_what_it_means_to_hydra over the grammar of overrides, and
test_every_cell_of_every_study_is_what_hydra_composes over the studies that are here.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from reformer_pl.config import ConfigError, RunConfig, typed
from reformer_pl.config.plain_values import set_plain

# What Hydra composed of the overrides that are not plain. None: Hydra has to see the whole command.
Bases = dict[tuple[str, ...], RunConfig | None]
# Overrides -> what Hydra makes of them, and whether a value there refers to another one.
ComposeWhole = Callable[[list[str]], tuple[dict[str, Any], bool]]


def compose_on_base(
    overrides: list[str], bases: Bases, compose_whole: ComposeWhole
) -> RunConfig | None:
    """The plain overrides set on what Hydra composed of the others; its rules are not checked yet.

    `bases` keeps what Hydra composed. None where Hydra has to see all overrides together.
    """
    try:
        parsed = [_parsed(override) for override in overrides]
    except HydraException:
        return None
    plain = [override for override in parsed if _is_plain(override)]
    others = [override for override in parsed if override not in plain]
    if any(_order_matters(one.key_or_group, other) for one in plain for other in others):
        return None
    key = tuple(override.input_line or "" for override in others)
    if key not in bases:
        bases[key] = _base(list(key), compose_whole)
    config = deepcopy(bases[key])
    for override in plain if config else ():
        set_plain(config, override.key_or_group, override.value())
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


def _order_matters(key: str, other: Override) -> bool:
    """Whether the order of a plain key and another override matters.

    That of a preset and a value in its group does not: Hydra takes presets first.
    """
    place = other.key_or_group
    holds = key.startswith(f"{place}.") and not isinstance(other.value(), str)
    return holds or key == place or place.startswith(f"{key}.")


def _base(overrides: list[str], compose_whole: ComposeWhole) -> RunConfig | None:
    """Not checked: it may be legal only together with what is set on it.

    None for one that cannot be changed afterwards, and for one that Hydra refuses: the sentence
    that says why is that of the whole command.
    """
    try:
        values, refers = compose_whole(overrides)
        return None if refers else typed(values)
    except ConfigError:
        return None
