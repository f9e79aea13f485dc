"""The longest sequence whose training step fits into a budget of memory: by doubling, then by
bisection, on predictions. Nothing is run.
"""

import math
import re
from collections.abc import Callable
from copy import deepcopy

from reformer_pl.config import RunConfig
from reformer_pl.config.rules import ConfigError, attention_pattern
from reformer_pl.config.run_rules import check

UNITS = {"": 1.0, "gib": 1.0, "gb": 1e9 / 2**30, "mib": 2**-10, "mb": 1e6 / 2**30, "tib": 2.0**10}
STEP = 64  # tokens: lengths are multiples of it, and of the chunks of the attention
LONGEST = 2**28  # tokens, where the search ends
TRIES = 16  # lengths, from one that the rules refuse downwards


def read_budget(text: str) -> float:
    """ "80GiB" as 80.0: GiB, unless the unit is GB, MiB, MB or TiB. Raises ConfigError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or not 0 < float(match[1]) < math.inf:
        raise ConfigError(
            f"--budget {text or repr(text)} is no memory: give a number and a unit, such as 80GiB"
        )
    return float(match[1]) * unit


def longest_length(
    config: RunConfig, budget_gib: float, needed: Callable[[RunConfig], float | None]
) -> tuple[int, float] | None:
    """(tokens, GiB of `needed`) of the longest sequence within the budget; None where none fits.

    Only lengths that the rules between values allow count. Memory is taken to grow with the length.
    """
    step = step_of(config)

    def gib(length: int) -> float:
        changed = with_length(config, length)
        try:
            size = None if changed is None else needed(changed)
            return math.inf if size is None else size
        except ConfigError:  # of more bytes than can be counted
            return math.inf

    lengths = [config.task.length]
    if gib(lengths[0]) > budget_gib:  # go down to the smallest
        lengths = [n for n in (at_most(config, step, step), config.task.length) if n]
    fits = lengths[0]
    if gib(fits) > budget_gib:
        return None
    low, high = fits, 2 * fits
    while high <= LONGEST:
        length = at_most(config, high // step * step, step)
        if length is None or length <= low or gib(length) > budget_gib:
            break
        low, high = length, 2 * length
    # In steps: `low` fits, `above` is too long, or no length at all.
    above = max(high // step, low // step + 1)
    place = low // step
    while above - place > 1:
        middle = (place + above) // 2
        length = at_most(config, middle * step, step)
        if length is None or length <= low:
            place = middle  # nothing is allowed between
        elif gib(length) <= budget_gib:
            low, place = length, middle
        else:
            above = -(-length // step)
    return low, gib(low)


def step_of(config: RunConfig) -> int:
    """Tokens: a multiple of every chunk that cuts the sequence."""
    model = config.model
    kinds = attention_pattern(model.attention, model.n_layers)
    lengths = {word: getattr(model, word).chunk_len for word in ("lsh", "local", "blocks")}
    return math.lcm(STEP, *(chunk_len for word, chunk_len in lengths.items() if word in kinds))


def with_length(config: RunConfig, length: int) -> RunConfig | None:
    """The config with another length; None where the rules refuse it."""
    changed = deepcopy(config)
    changed.task.length = length
    try:
        return check(changed)
    except ConfigError:
        return None


def at_most(config: RunConfig, length: int, step: int) -> int | None:
    """The longest of a few lengths from this one downwards that the rules allow."""
    for candidate in range(length, max(0, length - TRIES * step), -step):
        if with_length(config, candidate) is not None:
            return candidate
    return None
