"""A table of a report as values: each writer turns them into text of its own, and none reads
another's text.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from ablations.report.numbers import best_of, number, signed
from experiments.times.disturbed import MARK, MARK_MEANS, marked


@dataclass(frozen=True)
class Value:
    """A number in the unit that its column shows, with the ends of its interval, or of a range of
    measurements; NaN is missing.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    places: int = 0  # decimals
    signed: bool = False  # a difference: "+0.012"
    note: str = ""  # behind the number: "(n = 2)"
    is_range: bool = False  # quartiles, or lowest and highest: "(4.1-4.3)" for "[4.1, 4.3]"
    best: bool = False  # of its column: bold
    disturbed: bool = False  # a time, or a ratio of times, that something disturbed: marked


@dataclass(frozen=True)
class Words:
    """Plain text where a number could stand: "would not fit"."""

    text: str


@dataclass(frozen=True)
class Formula:
    """A formula as plain text, "max(b l d_k, b n_h l^2)"; LaTeX sets it as mathematics."""

    text: str


Entry = Value | Words | Formula


@dataclass(frozen=True)
class Row:
    """`label` is the first column; `variant` is whose row it is, empty for a baseline."""

    label: str
    entries: tuple[Entry, ...]
    variant: str
    kind: Literal["ours", "paper", "baseline"] = "ours"


@dataclass(frozen=True)
class Table:
    """`rows` under `header`, whose first column holds the labels; `data` are the bare numbers for
    the CSV.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    data: pd.DataFrame

    def texts(self) -> list[tuple[str, ...]]:
        """Each row as plain text, its label first."""
        return [(row.label, *map(text_of, row.entries)) for row in self.rows]


def number_and_interval(entry: Entry) -> tuple[str, str]:
    """("99.9", "[99.7, 100.0]"), or ("99.9", "(n = 1)").

    An interval that rounds to its number is left out.
    """
    if not isinstance(entry, Value):
        return entry.text, ""
    write = signed if entry.signed else number
    number_text, *ends = (
        write(value, entry.places) for value in (entry.mean, entry.low, entry.high)
    )
    mean = marked(number_text, entry.disturbed and not pd.isna(entry.mean))
    if pd.isna(entry.mean) or pd.isna(entry.low) or ends == [number_text] * 2:
        return mean, entry.note
    interval = f"({'-'.join(ends)})" if entry.is_range else f"[{', '.join(ends)}]"
    return mean, f"{interval} {entry.note}".rstrip()


def text_of(entry: Entry) -> str:
    """ "99.9 [99.7, 100.0]", or the number alone."""
    mean, interval = number_and_interval(entry)
    return f"{mean} {interval}" if interval else mean


def is_best(entry: Entry) -> bool:
    return isinstance(entry, Value) and entry.best


def mark_variants(rows: Iterable[Row], column: int, variants: Collection[str]) -> list[Row]:
    """The rows with our own numbers of these variants marked in a column (0 is the first behind the
    label).
    """
    return [
        with_best(row, column)
        if row.kind == "ours" and row.variant in variants and isinstance(row.entries[column], Value)
        else row
        for row in rows
    ]


def mark_best(
    rows: Iterable[Row],
    column: int,
    better: Callable[[list[float]], float],
    excluded: Collection[str] = (),
) -> list[Row]:
    """The rows with the best of our own numbers in a column marked, and those whose range overlaps
    that of the best. None where the best was disturbed, and none of the excluded variants.
    """
    rows = list(rows)
    own: dict[int, Value] = {}
    for i, row in enumerate(rows):
        entry = row.entries[column]
        if row.kind == "ours" and isinstance(entry, Value) and not pd.isna(entry.mean):
            own[i] = entry
    best = [list(own)[i] for i in best_of([entry.mean for entry in own.values()], better)]
    best = [i for i in best if not own[i].disturbed]
    for i, entry in own.items():
        if any(i == j or overlap((entry.low, entry.high), (own[j].low, own[j].high)) for j in best):
            rows[i] = rows[i] if rows[i].variant in excluded else with_best(rows[i], column)
    return rows


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two ranges have a number in common; False where an end is missing."""
    return one[0] <= other[1] and other[0] <= one[1]


def with_best(row: Row, column: int) -> Row:
    """The row with its number in that column marked as the best, unless it was disturbed."""
    entries = list(row.entries)
    if entries[column].disturbed:
        return row
    entries[column] = replace(entries[column], best=True)
    return replace(row, entries=tuple(entries))


def if_disturbed(entry: Entry, disturbed: bool) -> Entry:
    """The entry, marked where it is a number that something disturbed."""
    return replace(entry, disturbed=True) if disturbed and isinstance(entry, Value) else entry


def with_mark_explained(table: Table) -> Table:
    """The table, its caption with what the mark means where the mark stands in it."""
    texts = (text for row in table.texts() for text in row)
    if not any(MARK in text for text in (table.caption, *texts)):
        return table
    return replace(table, caption=f"{table.caption} {MARK_MEANS}")
