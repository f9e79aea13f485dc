"""`keys`: the score against keys per token, so that LSH, local attention, sinks, blocks and topk
stand on one axis.

Both of the models that trained with an attention, and of one trained model under the attentions of
`evaluations:`.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ablations.report.drawing.figure import Drawing, not_drawn
from ablations.report.figures.keys_curves import score_by_keys
from ablations.report.judged import evaluation_heads, judged_by, scored_part, scored_words
from ablations.report.table import Entry, Row, Table, Value, Words
from ablations.report.variant_means import (
    drawn_intervals,
    ended_badly,
    metric_places,
    n_note,
    over_seeds,
    seed_numbers,
)
from ablations.result_columns import OWN
from ablations.results import score_rows
from ablations.study import Study
from ablations.study.axes.dimensions import is_number, read_values
from ablations.study.axes.variant_axes import short_labels
from ablations.study.cell import Cell
from ablations.study.changed import composed
from ablations.study.grid import Grid
from experiments.run_dir.outcome import OK
from reformer_pl.config import RunConfig
from reformer_pl.config.evaluations import load_evaluation
from reformer_pl.config.plain_values import last_word
from reformer_pl.config.rules import ATTENTIONS, PARTS
from reformer_pl.metrics import KEYS_PER_TOKEN, Metric

SLOT = "model.attention"
NO_REACH = (
    "model.lsh.road",
    "model.lsh.eval_draws",
)  # keys of an attention that reach no other key
AS_TRAINED = "as trained"

Values = dict[str, Any]  # a flat config


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Each variant as it was trained, and under each evaluation."""
    score, data, heads = judged_by(study), keys_data(study, cells), evaluation_heads(study)
    metrics = (KEYS_PER_TOKEN, score)
    places = {metric: metric_places(metric, data[f"{metric.name}_mean"]) for metric in metrics}
    rows = []
    for row in data.to_dict("records"):
        name = AS_TRAINED if row["eval"] == OWN else heads[row["eval"]]
        values = [_entry(row, metric, places[metric], cells) for metric in metrics]
        label = row["train"] if row["eval"] == OWN else f"{row['train']}, {name}"
        entries = (Words(name), Words(row["attention"]), *values, Value(row["n"]))
        rows.append(Row(label, entries, row["train"]))
    caption = (
        f"{_scores(study, score.words)} and keys per token, the mean number of distinct keys that "
        f"a query reaches, over positions, heads, layers and sequences{over_seeds(study)}."
        f"{scored_words(study)}"
    )
    header = ("variant", "scored with", "attention", *(metric.header for metric in metrics), "n")
    return [Table("keys", caption, header, tuple(rows), data)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    """The figure, or none where no run says how many keys it reached."""
    score, drawn = judged_by(study), drawn_points(study, tables[0].data)
    if drawn.empty:
        return []
    intervals = drawn_intervals(study, cells)
    bars = f"; bars: {intervals} (a border may cut it off)" if intervals else ""
    caption = (
        f"{_scores(study, score.words)} against keys per token, the mean number of distinct keys "
        f"that a query reaches: a curve for each kind of attention{bars}. Horizontal: attention to "
        f"all keys.{scored_words(study)}{not_drawn(study, cells)}"
    )
    axis = score.axis if _is_held_out(study) else _scores(study, score.header)
    return [Drawing("keys", caption, score_by_keys(drawn, score, axis, cells))]


def _scores(study: Study, words: str) -> str:
    """At the start of a caption; without a part where the evaluations are of several."""
    text = f"Held-out {words}" if _is_held_out(study) else words
    return text[:1].upper() + text[1:]


def _is_held_out(study: Study) -> bool:
    return scored_part(study) == "Held-out "


def keys_data(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """A row for each variant as it was trained, and for each of its evaluations.

    Beside the means, their intervals and n over the seeds that ended well stand its panel, its
    attention, the curve that it is a point of, and its place along that curve.
    """
    score = judged_by(study)
    scored = [cells.assign(eval=OWN)]
    if study.evaluations:
        scored.append(score_rows(study))
    by_place = {place: rows for frame in scored for place, rows in frame.groupby(["train", "eval"])}
    points = list(_points(study))
    curves = _curves([values for _, _, _, values in points])
    data = []
    for (variant, name, panel, values), (curve, at) in zip(points, curves, strict=True):
        rows = by_place.get((variant, name), cells.head(0))
        rows = rows[rows["status"] == OK]
        means = {"n": len(rows)}
        for metric in (KEYS_PER_TOKEN, score):
            means |= seed_numbers(rows, metric)
        place = {"train": variant, "eval": name, "panel": panel, "attention": values[SLOT]}
        data.append({**place, "curve": curve, "at": at, **means})
    return pd.DataFrame(data)


def drawn_points(study: Study, data: pd.DataFrame) -> pd.DataFrame:
    """The rows with both numbers. A panel of one attention as trained is left out beside others."""
    score = judged_by(study)
    drawn = data.dropna(subset=[f"{KEYS_PER_TOKEN.name}_mean", f"{score.name}_mean"])
    is_own = drawn["eval"] == OWN
    attention = drawn["curve"] + drawn["at"].map(str)
    alone = attention.groupby(drawn["panel"]).transform("nunique") == 1
    left = drawn[~(is_own & alone)]
    return left if len(left) else drawn


def _points(study: Study) -> Iterator[tuple[str, str, str, Values]]:
    """(variant, evaluation, panel, its attention's own keys), in the order of the study."""
    shown = short_labels(study)
    for grid in study.grids:
        other_axes = [i for i in range(len(grid.axes)) if not _sets_attention(grid, i)]
        first = grid.first_cells()
        for variant, cell in first.items():
            labels = " / ".join(
                filter(None, (cell.labels[i] for i in other_axes if _differs(grid, i)))
            )
            panel = ", ".join(filter(None, ("As trained" if study.evaluations else "", labels)))
            yield variant, OWN, panel, _attention_keys(composed(cell.overrides))
        for variant, cell in first.items():
            trained = composed(cell.overrides)
            for name, overrides in study.evaluations_of(cell).items():
                config = load_evaluation(trained, overrides)
                others = _other_changes(trained, config)
                panel = ", ".join([f"Trained with {shown[variant]}", *others])
                yield variant, name, panel, _attention_keys(config)


def _curves(points: list[Values]) -> list[tuple[str, float]]:
    """(the name of its curve, the number along it) of each point.

    Points of one `model.attention` are one curve, along the number that takes the most values, and
    several curves where they differ in more than that.
    """
    named = []
    for values in points:
        alike = [other for other in points if other[SLOT] == values[SLOT]]
        varying = [k for k in values if len({json.dumps(other.get(k)) for other in alike}) > 1]
        along = max(
            (k for k in varying if is_number(values[k])),
            key=lambda k: len({json.dumps(other.get(k)) for other in alike}),
            default="",
        )
        rest = [f"{last_word(k)}={values[k]}" for k in varying if k != along]
        by = [f"by {last_word(along)}"] if along else []
        named.append((", ".join([values[SLOT], *rest, *by]), values.get(along, math.nan)))
    return named


def _attention_keys(config: RunConfig) -> Values:
    """`model.attention` and the keys that decide what it reaches."""
    return {
        k: v for k, v in read_values(config).items() if _is_of_attention(k) and k not in NO_REACH
    }


def _other_changes(trained: RunConfig, config: RunConfig) -> Iterator[str]:
    """What else an evaluation changes, as the words of its panel: "test part", "length=256"."""
    before = read_values(trained)
    for key, value in read_values(config).items():
        if not _is_of_attention(key) and before.get(key) != value:
            yield PARTS[value] if key == "task.split" else f"{last_word(key)}={value}"


def _is_of_attention(key: str) -> bool:
    return key == SLOT or (key.startswith("model.") and key.split(".")[1] in ATTENTIONS)


def _sets_attention(grid: Grid, i: int) -> bool:
    """Whether the choices on the i-th axis of a grid differ in their attention."""
    first: dict[str, Cell] = {}
    for cell in grid.cells:  # all other axes are at their first choice here
        first.setdefault(cell.labels[i], cell)
    settings = [_attention_keys(composed(cell.overrides)) for cell in first.values()]
    return any(values != settings[0] for values in settings)


def _differs(grid: Grid, i: int) -> bool:
    return len({cell.labels[i] for cell in grid.cells}) > 1


def _entry(row: Values, metric: Metric, places: int, cells: pd.DataFrame) -> Entry:
    mean, low, high = (
        metric.scale * row[f"{metric.name}_{part}"] for part in ("mean", "low", "high")
    )
    if pd.isna(mean):
        return Words(ended_badly(cells.loc[cells["train"] == row["train"], "status"]))
    note = n_note(row[f"{metric.name}_n"], row["n"], cells["seed"].nunique())
    return Value(mean, low, high, places, note=note)
