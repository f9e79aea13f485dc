"""`tuning`: which value of the tuned keys each variant got, and the scores of all its values.

A study with `tune:` has this table, whether its report names it or not. Its other tables, where a
row is a variant, have the value as a column.
"""

from dataclasses import replace

import pandas as pd

from ablations.report.interval import mean_interval
from ablations.report.judged import judged_by
from ablations.report.numbers import MISSING, digits
from ablations.report.table import Entry, Row, Table, Value, Words
from ablations.study import Study
from ablations.study.tune.choice import Choice, Option
from ablations.study.tune.tuning import Tuning
from reformer_pl.config.plain_values import last_word
from reformer_pl.metrics import Metric

EDGE = "(edge)"  # behind a value that is the least or the greatest of its list
EDGE_MEANS = f"{EDGE}: it is at the edge of its list, and a better one may lie beyond."


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """One row a variant, a column for each value; the chosen one is bold."""
    tuning, metric = study.tuning, judged_by(study)
    if tuning is None:
        return []
    titles = list(dict.fromkeys(str(o) for c in tuning.choices.values() for o in c.options))
    means = [option.mean for choice in tuning.choices.values() for option in choice.options]
    places = digits([metric.scale * m for m in means]) if metric.places is None else metric.places
    rows = []
    for variant, choice in tuning.choices.items():
        by_title = {str(option): option for option in choice.options}
        entries = [_entry(by_title.get(t), choice, metric, places) for t in titles]
        rows.append(Row(variant, (*chosen_entries(choice, tuning), *entries), variant))
    seeds = ", ".join(map(str, tuning.seeds))
    caption = (
        f"What tuning chose for each variant: {metric.words} of the held-out part, the mean over "
        f"the tuning seeds ({seeds}), the chosen value bold. {EDGE_MEANS}"
    )
    header = ("variant", *column_titles(tuning), *titles)
    return [Table("tuning", caption, header, tuple(rows), _data(tuning, metric))]


def _entry(option: Option | None, choice: Choice, metric: Metric, places: int) -> Entry:
    if option is None or not option.scores:
        return Words(MISSING)
    if not option.has_ended:
        n_ended = sum(score is not None for score in option.scores)
        return Words(f"{n_ended} of {len(option.scores)} ended")
    if option.n_failed == len(option.scores):
        return Words("failed")
    note = f"({option.n_failed} failed)" if option.n_failed else ""
    is_chosen = option == choice.chosen
    return Value(metric.scale * option.mean, places=places, note=note, best=is_chosen)


def column_titles(tuning: Tuning) -> tuple[str, ...]:
    """ "tuned lr" for optim.lr."""
    return tuple(f"tuned {last_word(key)}" for key in tuning.axes)


def chosen_entries(choice: Choice, tuning: Tuning) -> tuple[Words, ...]:
    """The chosen value of each tuned key: "0.002", "0.004 (edge)", or a dash."""
    labels = choice.chosen.labels if choice.chosen is not None else [""] * len(tuning.axes)
    return tuple(
        Words(
            label.removeprefix(f"{last_word(key)}=") + (f" {EDGE}" if label in choice.edges else "")
            or MISSING
        )
        for key, label in zip(tuning.axes, labels, strict=True)
    )


def with_tuned(table: Table, tuning: Tuning | None) -> Table:
    """The table with the value that each variant got; itself where its rows are no variants."""
    ours = [row for row in table.rows if row.kind == "ours"]
    if tuning is None or not ours or table.name == "tuning":
        return table
    if any(row.variant not in tuning.choices for row in ours):
        return table
    blank = (Words(MISSING),) * len(tuning.axes)
    values = {variant: chosen_entries(choice, tuning) for variant, choice in tuning.choices.items()}
    rows = tuple(
        replace(row, entries=(*row.entries, *values.get(row.variant, blank))) for row in table.rows
    )
    data = table.data.copy()
    for i, key in enumerate(tuning.axes) if "train" in data else ():
        data[f"tuned.{key}"] = [
            values[variant][i].text.removesuffix(f" {EDGE}") if variant in values else None
            for variant in data["train"]
        ]
    edge = f" {EDGE_MEANS}" if any(choice.edges for choice in tuning.choices.values()) else ""
    return replace(
        table,
        header=(*table.header, *column_titles(tuning)),
        rows=rows,
        caption=f"{table.caption} {tuning.keys} was chosen for each variant.{edge}",
        data=data,
    )


def _data(tuning: Tuning, metric: Metric) -> pd.DataFrame:
    """A row for each variant and value, with the numbers as they are stored."""
    rows = []
    for variant, choice in tuning.choices.items():
        for option in choice.options:
            ended = [score for score in option.scores if score is not None]
            low, high = mean_interval(pd.Series(ended, dtype=float).dropna(), metric.bounds)
            row = {"train": variant} | dict(zip(tuning.axes, option.labels, strict=True))
            row |= {"n": len(ended) - option.n_failed, "n_failed": option.n_failed}
            row |= {f"{metric.name}_mean": option.mean, f"{metric.name}_low": low}
            row |= {f"{metric.name}_high": high, "chosen": option == choice.chosen}
            rows.append(row | {"at_edge": option == choice.chosen and bool(choice.edges)})
    return pd.DataFrame(rows)
