"""`hash_rounds`: quality, memory and time against the number of hash rounds, with every variant
without LSH as a reference.

The axis of the study is model.lsh.n_hashes, or has labels that set it.
"""

import json
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import (
    Drawing,
    hollow_marker,
    not_drawn,
)
from ablations.report.drawing.legend import legend_below
from ablations.report.drawing.looks import COLOURS, DASHES, MARKERS
from ablations.report.judged import DRAWS_MEAN, draws_entries, judged_by
from ablations.report.numbers import MISSING
from ablations.report.styles.style import page_inches, styled
from ablations.report.table import Row, Table, Value, Words, mark_variants
from ablations.report.variant_means import (
    disturbed_variants,
    disturbed_words,
    drawn_intervals,
    finished_by_variant,
    mean_entry,
    means_by_variant,
    metric_places,
    over_seeds,
    side_by_side,
    step_spread,
)
from ablations.report.winners import bold_variants, bold_words
from ablations.study import Study, compose_variants
from reformer_pl.config import RunConfig, flat, to_dict
from reformer_pl.metrics import STEP_SECONDS, Metric, memory_metric

MOST_REFERENCES = 4  # horizontal lines


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """The variants without LSH first, then each series by its number of rounds."""
    metrics, data = _metrics(study, cells), rounds_data(study, cells)
    places = {metric: metric_places(metric, data[f"{metric.name}_mean"]) for metric in metrics}
    draws = draws_entries(finished_by_variant(study, cells), metrics[0], places[metrics[0]])
    rows = [
        Row(
            row.train,
            (
                Words(MISSING) if pd.isna(row.rounds) else Value(row.rounds),
                *(mean_entry(cells, row, metric, places[metric]) for metric in metrics),
                *([draws[row.train]] if draws else []),
                Value(row.n),
                Words(row.seeds),
            ),
            row.train,
        )
        for row in data.itertuples()
    ]
    for column, metric in enumerate(metrics, 1):
        rows = mark_variants(rows, column, bold_variants(study, cells, metric, places[metric]))
    over_draws = [f"{metrics[0].header} over draws"] if draws else []
    heads = (*(metric.header for metric in metrics), *over_draws)
    header = ("variant", "rounds", *heads, "n", "seeds")
    caption = (
        f"Held-out quality, memory and time by the number of hash rounds{over_seeds(study)}."
        f"{step_spread(study, cells)}{DRAWS_MEAN if draws else ''}{bold_words(study)}"
        f"{side_by_side(study)}"
    )
    return [Table("hash_rounds", caption, header, tuple(rows), data)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    data, intervals = tables[0].data, drawn_intervals(study, cells)
    bars = f"; bars and bands: {intervals}" if intervals else ""
    score, n_without = judged_by(study), int(data["rounds"].isna().sum())
    without_lsh = "; horizontal: without LSH" if n_without else ""
    if n_without > MOST_REFERENCES:
        without_lsh = f"; horizontal: the best of {n_without} variants without LSH"
    caption = (
        f"{score.axis}, memory and time of a training step against the number of hash "
        f"rounds{without_lsh}{bars}.{not_drawn(study, cells)}{side_by_side(study)}"
        f"{disturbed_words(disturbed_variants(study, cells, STEP_SECONDS.flag))}"
    )
    return [Drawing("hash_rounds", caption, three_panels(data, _metrics(study, cells)))]


def rounds_data(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """`means_by_variant` of the three metrics, in the order of the table, with two columns more.

    `rounds` is missing without LSH. `series` names the variants that differ in nothing but their
    rounds.
    """
    names = [metric.name for metric in _metrics(study, cells)]
    data = means_by_variant(study, cells, names)
    # A value that is tuned for each variant is no difference between them.
    own = study.tuning.untuned if study.tuning else study.cells
    configs = compose_variants(replace(study, cells=own))
    hashed = {v: config for v, config in configs.items() if _has_rounds(config)}
    series = _series(study, hashed)
    rounds = [hashed[v].model.lsh.n_hashes if v in hashed else None for v in data["train"]]
    data.insert(1, "rounds", pd.array(rounds, dtype="Int64"))
    data.insert(2, "series", [series.get(variant, variant) for variant in data["train"]])
    order = {name: i for i, name in enumerate(data["series"].unique())}
    data["place"] = data["series"].map(order).where(data["rounds"].notna(), -1)
    data = data.sort_values(["place", "rounds"], kind="stable", ignore_index=True)
    return data.drop(columns="place")


def _has_rounds(config: RunConfig) -> bool:
    """Whether a run has LSH, and as many rounds at each of its steps."""
    return "lsh" in config.model.attention.split() and not config.phases


def _series(study: Study, hashed: dict[str, RunConfig]) -> dict[str, str]:
    """The name of the series of each variant with LSH: "LSH" where there is one series.

    Otherwise it is what the labels of its variants have in common, or its first variant.
    """
    members: dict[str, list[str]] = {}
    for variant, config in hashed.items():
        members.setdefault(_without_rounds(config), []).append(variant)
    choices = {cell.train: cell.labels for cell in study.cells}
    names: dict[str, str] = {}
    for variants in members.values():
        first, *others = (choices[variant] for variant in variants)
        name = " / ".join(
            label for label in first if label and all(label in other for other in others)
        )
        if len(members) == 1:
            name = "LSH"
        elif not name or name in names.values():
            name = variants[0]
        names |= dict.fromkeys(variants, name)
    return names


def references(data: pd.DataFrame, score: Metric) -> pd.DataFrame:
    """The rows without LSH that are drawn: the best alone, where they would fill the panels."""
    rows = data[data["rounds"].isna()]
    if len(rows) <= MOST_REFERENCES:
        return rows
    ordered = rows.sort_values(f"{score.name}_mean", ascending=not score.higher_is_better)
    return ordered.dropna(subset=f"{score.name}_mean").head(1)


@styled()
def three_panels(data: pd.DataFrame, metrics: list[Metric]) -> Figure:
    """A panel for each metric from `rounds_data`: a line for each series, a horizontal one for each
    variant without LSH.
    """
    figure = Figure(figsize=(page_inches(), 2.3))
    panels = figure.subplots(1, len(metrics))
    hashed, without_lsh = data[data["rounds"].notna()], references(data, metrics[0])
    series, rounds = list(hashed["series"].unique()), sorted(hashed["rounds"].unique())
    for axes, metric in zip(panels, metrics, strict=True):
        for i, name in enumerate(series):
            line = hashed[hashed["series"] == name].dropna(subset=[f"{metric.name}_mean"])
            if not line.empty:
                _draw_series(axes, line.sort_values("rounds"), metric, name, i)
        for i, row in enumerate(without_lsh.to_dict("records")):
            _draw_reference(axes, row, metric, i, len(series) + i)
        axes.set_xscale("log", base=2)
        axes.set_xticks([float(n) for n in rounds], [str(n) for n in rounds])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Hash rounds")
        axes.set_ylabel(metric.short_axis or metric.axis)
        axes.margins(x=0.08)
        if metric is not metrics[0] and data[f"{metric.name}_mean"].notna().any():
            axes.set_ylim(0, 1.06 * axes.dataLim.y1)
    legend_below(figure, panels[0])
    return figure


def _draw_series(axes: Axes, line: pd.DataFrame, metric: Metric, name: str, i: int) -> None:
    """The i-th series: its means over the rounds, each with its interval as a bar."""
    mean, low, high = (
        metric.scale * line[f"{metric.name}_{part}"] for part in ("mean", "low", "high")
    )
    points, caps, bars = axes.errorbar(
        line["rounds"].astype(float),
        mean,
        yerr=[(mean - low).fillna(0), (high - mean).fillna(0)],
        color=COLOURS[i % len(COLOURS)],
        marker=MARKERS[i % len(MARKERS)],
        capsize=2,
        elinewidth=0.9,
        zorder=3 + i,
        label=name,
    )
    points.set_gid(belongs(*line["train"]))
    flagged = line[metric.flag].fillna(False).astype(bool) if metric.flag else []
    if any(flagged):
        rings = hollow_marker({"color": points.get_color()}) | {"zorder": 4 + i}
        axes.plot(
            line["rounds"].astype(float)[flagged],
            mean[flagged],
            linestyle="none",
            marker=points.get_marker(),
            gid=belongs(*line["train"][flagged], linked=False),
            **rings,
        )
    for artist in (*caps, *bars):
        artist.set_gid(belongs(*line["train"], linked=False))


def _draw_reference(axes: Axes, row: dict[str, Any], metric: Metric, i: int, colour: int) -> None:
    """The i-th variant without LSH: its mean as a horizontal line, its interval as a band."""
    mean, low, high = (
        metric.scale * row[f"{metric.name}_{part}"] for part in ("mean", "low", "high")
    )
    if pd.isna(mean):
        return
    variant, style = row["train"], {"color": COLOURS[colour % len(COLOURS)], "zorder": 2}
    dashes = DASHES[1 + i % (len(DASHES) - 1)]
    axes.axhline(mean, linestyle=dashes, label=variant, gid=belongs(variant), **style)
    if pd.notna(low):
        gid = belongs(variant, linked=False)
        axes.axhspan(low, high, alpha=0.14, linewidth=0, gid=gid, **style)


def _metrics(study: Study, cells: pd.DataFrame) -> list[Metric]:
    """Quality, memory and time."""
    return [judged_by(study), memory_metric(cells["peak_memory_gib"].max()), STEP_SECONDS]


def _without_rounds(config: RunConfig) -> str:
    """Equal for two configs that differ in nothing but their rounds, seeds and places."""
    values = flat(to_dict(config) | {"seed": 0, "out_dir": "", "evaluations": {}})
    values.pop("model.lsh.n_hashes")
    return json.dumps(values, sort_keys=True)
