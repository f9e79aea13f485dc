"""The paper's own numbers in a study, below `paper:`.

Each stands below the part of the report that shows it beside ours.

paper:
  train_eval: {LSH-4: {LSH-8: 1.0, LSH-1: 0.919}}        # accuracy (0-1), trained -> evaluated with
  length_time: {LSH-4: {1024/32: 0.20, 32768/1: 0.23}}   # seconds a step, variant -> length label
  complexity: {LSH-4: {memory: b n_h l n_r c, time: b n_h n_r l c}}
"""

from collections.abc import Collection
from typing import Any

from reformer_pl.config import ConfigError

PAPER_PARTS = ("train_eval", "length_time", "complexity")


def check_paper(
    paper: dict[str, Any],
    trains: Collection[str],
    evaluations: Collection[str],
    variants: Collection[str],
    lengths: Collection[str],
) -> dict[str, dict[str, dict[str, Any]]]:
    """part -> row -> column -> number or words, every label a string.

    Raises ConfigError for a row or column that is not the study's.
    """
    checked: dict[str, dict[str, dict[str, Any]]] = {}
    for part, table in paper.items():
        if part not in PAPER_PARTS:
            raise ConfigError(f"paper.{part} is unknown: choose {', '.join(PAPER_PARTS)}")
        if not isinstance(table, dict):
            raise ConfigError(f"paper.{part} must be a mapping, not {table!r}")
        match part:
            case "train_eval":
                rows, columns, unit, right = (
                    trains,
                    evaluations,
                    "numbers between 0 and 1",
                    _is_share,
                )
            case "length_time":
                rows, columns, unit, right = variants, lengths, "positive seconds", _is_positive
            case "complexity":
                rows, columns, unit, right = variants, ("memory", "time"), "formulae", _is_text
        checked[part] = {}
        for row, values in table.items():
            if str(row) not in rows:
                raise ConfigError(
                    f"paper.{part}.{row} is no variant of the study: "
                    f"choose {', '.join(sorted(rows))}"
                )
            values = (
                {str(key): value for key, value in values.items()}
                if isinstance(values, dict)
                else values
            )
            if (
                not isinstance(values, dict)
                or not set(values) <= set(columns)
                or not all(map(right, values.values()))
            ):
                raise ConfigError(
                    f"paper.{part}.{row} must map "
                    f"{', '.join(sorted(columns)) or 'evaluations'} to {unit}"
                )
            checked[part][str(row)] = values
    return checked


def _is_positive(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
