"""`table`: a table of the user's choice, one number by the axes of the grid and the evaluations."""

import math

import pandas as pd

from ablations.report.interval import mean_interval
from ablations.report.judged import evaluation_heads, scored_part, scored_words
from ablations.report.numbers import MISSING, digits
from ablations.report.table import Row, Table, Value, Words, if_disturbed
from ablations.report.variant_means import (
    counted,
    is_disturbed,
    over_seeds,
    side_by_side,
    value_bounds,
)
from ablations.result_columns import OWN
from ablations.results import load_results
from ablations.study import Study
from ablations.study.report_entries import EVALUATION, UserTable
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import (
    KEYS_PER_TOKEN,
    SCORES,
    STEP_SECONDS,
    TOKENS_PER_SECOND,
    TRAIN_SECONDS,
    Metric,
    memory_metric,
)

METRICS = {
    m.name: m for m in (*SCORES, KEYS_PER_TOKEN, STEP_SECONDS, TRAIN_SECONDS, TOKENS_PER_SECOND)
}


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Each of the grid's, in the order of the study: table, table_2, and so on."""
    (grid,) = study.grids
    results = with_axes(study, load_results(study))
    return [
        user_table(study, results, wanted, f"table_{i}" if i > 1 else "table")
        for i, wanted in enumerate(grid.entries.tables, 1)
    ]


def with_axes(study: Study, results: pd.DataFrame) -> pd.DataFrame:
    """Rows of `load_results` with the labels of each axis and the evaluation as columns."""
    (grid,) = study.grids
    labels = {(cell.name, cell.seed): cell.labels for cell in grid.cells}
    places = list(zip(results["cell"], results["seed"], strict=True))
    rows = results[[place in labels for place in places]].copy()
    for i, axis in enumerate(grid.axes):
        rows[axis] = [labels[place][i] for place in places if place in labels]
    rows[EVALUATION] = rows["eval"]
    return rows


def user_table(study: Study, results: pd.DataFrame, wanted: UserTable, name: str) -> Table:
    """The mean of a number over the seeds that ended well, its interval and their number n.

    Where there is none, the cell says how its seeds ended.
    """
    is_own = results["eval"] == OWN
    by_evaluation = EVALUATION in (*wanted.rows, *wanted.columns)
    rows = results[~is_own if by_evaluation else is_own]
    if wanted.value not in rows:  # of no run: no row has it
        rows = rows.assign(**{wanted.value: math.nan})
    metric = metric_of(wanted.value, rows)
    keys = [*wanted.rows, *wanted.columns]
    groups = dict(list(rows.groupby(keys, sort=False)))
    means = {place: _finished(group, metric).mean() for place, group in groups.items()}
    places = digits(means.values()) if metric.places is None else metric.places
    heads = _places(rows, wanted.columns)
    marks = evaluation_heads(study)
    lines, data = [], []
    for row in _places(rows, wanted.rows):
        entries = []
        for head in heads:
            group = groups.get((*row, *head))
            entries.append(Words("-") if group is None else _entry(group, metric, places))
            if group is not None:
                values = _finished(group, metric) / metric.scale
                low, high = mean_interval(values, value_bounds(metric.name))
                data.append((*row, *head, len(values), values.mean(), low, high))
        label = _label(wanted.rows, row, marks)
        lines.append(Row(label, tuple(entries), _variant(rows, wanted.rows, row)))
    is_score = metric in SCORES
    part = scored_part(study) if by_evaluation else "Held-out "
    title = metric.title if metric.noun or metric.header else metric.name
    title = f"{part}{title[:1].lower()}{title[1:]}" if is_score and part else title
    caption = (
        f"{title}{f' ({metric.suffix})' if metric.suffix else ''} by "
        f"{', '.join(wanted.rows)} (rows) and "
        f"{', '.join(wanted.columns)} (columns){over_seeds(study)}."
        f"{scored_words(study) if is_score and by_evaluation else ''}"
        f"{side_by_side(study) if metric.flag else ''}"
    )
    header = (", ".join(wanted.rows), *(_label(wanted.columns, head, marks) for head in heads))
    names = [*keys, "n", *(f"{metric.name}_{end}" for end in ("mean", "low", "high"))]
    return Table(name, caption, header, tuple(lines), pd.DataFrame(data, columns=names))


def metric_of(name: str, rows: pd.DataFrame) -> Metric:
    """How a number is shown: as elsewhere in the report, or as it is stored."""
    if name == "peak_memory_gib":
        return memory_metric(rows[name].max())
    return METRICS.get(name, Metric(name, name, name))


def _entry(group: pd.DataFrame, metric: Metric, places: int) -> Value | Words:
    values = _finished(group, metric)
    if values.empty:
        reason = counted(group["status"]).replace("_", " ")
        return Words("not measured" if (group["status"] == OK).any() else reason)
    low, high = mean_interval(values, tuple(metric.scale * b for b in value_bounds(metric.name)))
    shown = Value(values.mean(), low, high, places, note=f"(n = {len(values)})")
    return if_disturbed(shown, is_disturbed(group[group["status"] == OK], metric.flag))


def _finished(group: pd.DataFrame, metric: Metric) -> pd.Series:
    """The number of each seed that ended well, in the unit shown."""
    return metric.scale * group.loc[group["status"] == OK, metric.name].astype(float).dropna()


def _places(rows: pd.DataFrame, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The different labels on some axes, in the order of the study."""
    return list(dict.fromkeys(zip(*(rows[key] for key in keys), strict=True)))


def _label(keys: tuple[str, ...], choices: tuple[str, ...], heads: dict[str, str]) -> str:
    """Of a row or a column; an axis that a variant has not says nothing. An evaluation has its
    head.
    """
    words = (
        heads.get(choice, choice) if key == EVALUATION else choice
        for key, choice in zip(keys, choices, strict=True)
    )
    return " / ".join(filter(None, words)) or MISSING


def _variant(rows: pd.DataFrame, keys: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """The one variant that a row shows; empty where it shows several."""
    own = rows
    for key, label in zip(keys, labels, strict=True):
        own = own[own[key] == label]
    variants = own["train"].unique()
    return variants[0] if len(variants) == 1 else ""
