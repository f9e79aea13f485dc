"""Rows of plain values as a DataFrame: one type a column, and missing is never 0."""

from typing import Any

import pandas as pd

from ablations.result_columns import (
    BENCHMARK_ONLY,
    COSTS,
    FLAGS,
    KEYS,
    OTHER_SCORES,
    SCORES,
    WHOLE,
)


def typed(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Counts as integers that may be missing, measures as floats: null becomes NaN."""
    frame = pd.DataFrame(
        [{column: row.get(column) for column in columns} for row in rows], columns=list(columns)
    )
    for column in columns:
        if column in FLAGS:
            flags = frame[column].map(lambda flag: flag if isinstance(flag, bool) else None)
            frame[column] = flags.astype("boolean")
        elif column in WHOLE:
            numbers = pd.to_numeric(frame[column], errors="coerce")
            frame[column] = numbers.where(numbers % 1 == 0).astype("Int64")
        elif column in (*SCORES, *OTHER_SCORES, KEYS, *COSTS, *BENCHMARK_ONLY):
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
    return frame


def of_one_type(values: list[Any]) -> pd.Series | None:
    """The values of a config key as a column; None where plain objects do as well.

    Integers and truths keep their type beside what is missing. Where types differ, all are text.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return pd.Series(pd.array(values, dtype="Int64"))
    if kinds == {bool}:
        return pd.Series(pd.array(values, dtype="boolean"))
    if str in kinds and len(kinds) > 1:
        return pd.Series([None if value is None else str(value) for value in values], dtype=object)
    return None


def present(names: tuple[str, ...], rows: list[dict[str, Any]]) -> list[str]:
    """Those of the names that a row has a value of."""
    return [name for name in names if any(row.get(name) is not None for row in rows)]
