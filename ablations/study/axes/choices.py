"""The choices of a grid: the product of its axes, where an axis may depend on another.

when:
  model.lsh.n_hashes: {model.attention: [lsh]}   # one cell of full attention, three of lsh
  Local-16: {model.attention: [full]}            # an evaluation that lsh's parameters do not fit
"""

import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ablations.study.names import check_label
from ablations.study.written.yaml_values import (
    FRACTION,
    SET_BY_THE_STUDY,
    WHOLE,
    is_nothing,
    is_word,
    override_value,
    read_overrides,
    text_of,
)
from reformer_pl.config import ConfigError
from reformer_pl.config.plain_values import last_word, type_of

Choice = tuple[str, list[str]]  # its label, and its overrides
ABSENT: Choice = ("", [])  # of an axis that a cell does not have
Conditions = dict[str, dict[str, tuple[str, ...]]]  # axis -> the axis it depends on -> labels


def read_axes(values: dict[str, Any]) -> dict[str, list[Choice]]:
    """axis -> (label, overrides) of each choice. Raises ConfigError."""
    return {str(key): _axis(str(key), choices) for key, choices in values.items()}


def _axis(key: str, choices: Any) -> list[Choice]:
    """(label, overrides) of each choice.

    A word is its own label; a number is labelled key=number, as it is typed.
    """
    if is_nothing(choices) or choices in ({}, []):
        raise ConfigError(f"the grid is empty: axis {key} has no entry")
    if isinstance(choices, dict):
        axis = [
            (label, read_overrides(f"{key}.{label}", overrides))
            for label, overrides in choices.items()
        ]
    elif not isinstance(choices, list):
        raise ConfigError(
            f"axis {key} must be a list of values, or a mapping from label to a list of overrides"
        )
    elif key in SET_BY_THE_STUDY:
        raise ConfigError(f"axis {key} is set by the study itself: use its seeds and evaluations")
    else:
        is_text, name = type_of(key) is str, last_word(key)
        axis = [
            (
                str(value) if is_word(value) else f"{name}={text_of(value)}",
                [f"{key}={override_value(f'axis {key}', value, is_text)}"],
            )
            for value in choices
        ]
    for label, _ in axis:
        check_label(key, label)
    return axis


def product_of(axes: dict[str, list[Choice]], conditions: Conditions) -> Iterator[list[Choice]]:
    """Each distinct list of choices, one for each axis, the last axis fastest."""
    seen = set()
    for choices in itertools.product(*axes.values()):
        labels = dict(zip(axes, (label for label, _ in choices), strict=True))
        kept = [
            choice if _has(axis, labels, conditions) else ABSENT
            for axis, choice in zip(axes, choices, strict=True)
        ]
        key = tuple(label for label, _ in kept)
        if key not in seen:
            seen.add(key)
            yield kept


def _has(axis: str, labels: dict[str, str], conditions: Conditions) -> bool:
    """Whether a cell with these labels has the axis; not where an axis it depends on is absent."""
    return all(
        labels[other] in wanted and _has(other, labels, conditions)
        for other, wanted in conditions.get(axis, {}).items()
    )


def evaluations_of(
    choices: list[Choice],
    axes: dict[str, list[Choice]],
    evaluations: Iterable[str],
    conditions: Conditions,
) -> tuple[str, ...]:
    """The names of the evaluations that a cell with these choices has."""
    labels = dict(zip(axes, (label for label, _ in choices), strict=True))
    return tuple(name for name in evaluations if _has(name, labels, conditions))


def read_conditions(
    when: dict[str, Any], axes: dict[str, list[Choice]], evaluations: Collection[str] = ()
) -> Conditions:
    """Raises ConfigError for an axis, an evaluation or a label that the study does not have."""
    conditions: Conditions = {}
    for axis, needed in when.items():
        if axis not in axes and axis not in evaluations:
            choices = ", ".join((*axes, *evaluations))
            raise ConfigError(
                f"when: {axis} is no axis of the grid and no evaluation: choose {choices}"
            )
        if axis in axes and axis in evaluations:
            raise ConfigError(
                f"when: {axis} is an axis and an evaluation: give the evaluation another name"
            )
        if not isinstance(needed, dict) or not needed:
            raise ConfigError(
                f"when.{axis} must name another axis and its labels, such as "
                f"{{model.attention: [lsh]}}, not {needed!r}"
            )
        conditions[axis] = {}
        for other, values in needed.items():
            _check_axis(f"when.{axis}: {other}", other, axes)
            conditions[axis][other] = _labels(f"when.{axis}.{other}", other, values, axes)
        _check_circle(axis, conditions)
    return conditions


def _check_axis(where: str, axis: str, axes: dict[str, list[Choice]]) -> None:
    if axis not in axes:
        raise ConfigError(f"{where} is no axis of the grid: choose {', '.join(axes)}")


def _labels(where: str, axis: str, values: Any, axes: dict[str, list[Choice]]) -> tuple[str, ...]:
    """The labels of the axis that `values` names. A number is named with its key or without."""
    if not isinstance(values, list) or not values or any(map(is_nothing, values)):
        raise ConfigError(f"{where} must be a list of labels, not {values!r}")
    labels = [label for label, _ in axes[axis]]
    found = []
    for value in map(text_of, values):
        keyed = f"{last_word(axis)}={value}"
        matching = [label for label in labels if label in (value, keyed)]
        if not matching:
            raise ConfigError(f"{where}: {value} is no label: choose {', '.join(labels)}")
        found += matching
    return tuple(found)


def _check_circle(axis: str, conditions: Conditions) -> None:
    """Raises ConfigError where an axis depends on itself, at once or through others."""
    reached, pending = set(), list(conditions[axis])
    while pending:
        other = pending.pop()
        if other == axis:
            raise ConfigError(f"when: axis {axis} depends on itself: leave one condition out")
        if other not in reached:
            reached.add(other)
            pending += conditions.get(other, {})


def number_of(label: str, axis: str) -> int | float | None:
    """The number that a label is on its axis, by the rules of the YAML; None for a word."""
    text = label.removeprefix(f"{last_word(axis)}=")
    if WHOLE.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return float(text) if FRACTION.fullmatch(text.lower()) and text[-1] not in "fFnN" else None
