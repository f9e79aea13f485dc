"""The figures of recall: accuracy by the distance to the pair, and by the number of pairs.

Both take `slice_data`, of which a row is a variant under an evaluation.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.curves import MOST_BARS, sizes
from ablations.report.drawing.figure import baseline_line
from ablations.report.drawing.legend import explain_looks, legend_below
from ablations.report.drawing.looks import Looks, best_variants, plain_looks, variant_looks
from ablations.report.drawing.panels import Panels, limits, make_panels
from ablations.report.figures.training_curves import most_lines
from ablations.report.judged import evaluation_heads, judged_by
from ablations.report.styles.style import styled
from ablations.report.variant_means import baselines
from ablations.study import Study, compose_variants
from ablations.study.axes.figure_keys import FigureKeys
from experiments.run_dir.outcome import OK
from reformer_pl.config.plain_values import last_word
from reformer_pl.metrics import Metric

WORD, PAIRS = "slices", "task.pairs"
DOTTED = (1, 2)
WIDE_PANELS = 3  # more are too narrow for the whole name of the axis
DODGE = 1.6  # of the range of 100 %: from one curve's points to the next curve's
X_LABEL, SHORT_X_LABEL = "Distance to the pair (% of length)", "Distance (% of length)"


def looks_of(study: Study, cells: pd.DataFrame) -> Looks:
    """Of the variants. Where they differ in their number of pairs, each number has its panels,
    unless the study says otherwise.
    """
    keys = study.figures.get(WORD, FigureKeys())
    pairs = {config.task.pairs for config in compose_variants(study).values()}
    if len(pairs) > 1 and not keys.facet and PAIRS not in keys.of_axes().values():
        keys = replace(keys, facet=PAIRS)
    chosen = replace(study, figures={**study.figures, WORD: keys})
    return variant_looks(chosen, WORD, "curves", best_variants(cells, judged_by(study)))


def shows_intervals(study: Study, cells: pd.DataFrame) -> bool:
    """Whether a panel has few enough curves for bars; the table has the intervals of many."""
    ended = set(cells.loc[cells["status"] == OK, "train"])
    return most_lines(looks_of(study, cells), ended) <= MOST_BARS


@styled()
def by_distance(
    study: Study, cells: pd.DataFrame, data: pd.DataFrame, metrics: list[Metric], y_label: str
) -> Figure:
    """A panel for each evaluation and each panel of the looks; a curve for each variant, a point in
    the middle of each slice. `metrics` are accuracy in all, then that of each slice.
    """
    looks, slices = looks_of(study, cells), metrics[1:]
    heads = evaluation_heads(study) or dict.fromkeys(data["eval"], "")
    places = {
        " / ".join(filter(None, (heads[name] if len(heads) > 1 else "", panel))): (name, panel)
        for name in heads
        for panel in looks.panels
    }
    panels = make_panels(places, with_lower=False)
    with_bars, width = shows_intervals(study, cells), 100 / len(slices)
    middles = [width * (i + 0.5) for i in range(len(slices))]
    for title, (name, panel) in places.items():
        axes = panels.upper[title]
        rows = data[(data["eval"] == name) & (data["n"] > 0)].set_index("train")
        own = looks.of_panel(panel)
        for i, variant in enumerate(own):
            look = looks.styles[variant] | sizes(i, len(own), len(places) > 1) | {"markevery": 1}
            if title == next(iter(places)) and looks.entries is None:  # its entry in the legend
                gid = belongs(variant, linked=False)
                axes.plot([], [], gid=gid, label=looks.names[variant], **look)
            if variant in rows.index:
                aside = DODGE * (i - (len(own) - 1) / 2) if with_bars else 0.0
                points = _slices(rows.loc[variant], slices)
                points["x"] = [middle + aside for middle in middles]
                _draw(axes, points, [variant], look, with_bars)
        axes.set_xticks([width * i for i in range(len(slices) + 1)])
        axes.set_xlim(0, 100)
    ends = pd.concat([_slices(row, slices) for _, row in data.iterrows()])
    x_label = X_LABEL if len(places) <= WIDE_PANELS else SHORT_X_LABEL
    _finish(panels, cells, metrics[0], ends, x_label, y_label)
    explain_looks(panels.figure, panels.all_axes, looks)
    return panels.figure


@styled()
def by_pairs(
    study: Study, cells: pd.DataFrame, data: pd.DataFrame, score: Metric, y_label: str
) -> Figure | None:
    """Accuracy against the number of pairs: a panel for evaluations that differ in nothing else, a
    curve for variants that do. None where no curve would have two points.
    """
    rows = data[data["n"] > 0].assign(**_series(study, data[data["n"] > 0]))
    rows = rows[rows.groupby(["panel", "series"])["pairs"].transform("nunique") > 1]
    if rows.empty:
        return None
    titles, names = list(rows["panel"].unique()), list(rows["series"].unique())
    panels = make_panels(titles, with_lower=False)
    ends = pd.DataFrame(
        {key: score.scale * rows[f"{score.name}_{key}"] for key in ("mean", "low", "high")}
    )
    styles = _styles(looks_of(study, cells), rows)
    for title, axes in panels.upper.items():
        for i, name in enumerate(names):
            look = styles[name] | sizes(i, len(names), len(titles) > 1) | {"markevery": 1}
            own = rows[(rows["panel"] == title) & (rows["series"] == name)].sort_values("pairs")
            if title == titles[0]:
                axes.plot([], [], gid=belongs(*own["train"], linked=False), label=name, **look)
            points = ends.loc[own.index].assign(x=own["pairs"].astype(float))
            _draw(axes, points, list(own["train"]), look, len(names) <= MOST_BARS)
        axes.set_xscale("log", base=2)
        ticks = sorted(rows["pairs"].unique())
        axes.set_xticks([float(n) for n in ticks], [str(n) for n in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.08)
    _finish(panels, cells, score, ends, "Pairs", y_label)
    legend_below(panels.figure, panels.first)
    return panels.figure


def _styles(looks: Looks, rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Of each curve that of its first variant, as in the other figure, where they tell the curves
    apart.
    """
    first = rows.groupby("series", sort=False)["train"].first()
    styles = {name: looks.styles[variant] for name, variant in first.items()}
    different = {(style["color"], style["marker"]) for style in styles.values()}
    return styles if len(different) == len(styles) else plain_looks(styles).styles


def _series(study: Study, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The panel and the curve of each row, by what they are besides their number of pairs.

    Evaluations that differ in nothing but the pairs that they set share a panel. A curve is then of
    one variant.
    """
    heads, without_pairs = evaluation_heads(study), _without_pairs(study)
    rest = {
        name: tuple(o for o in overrides if not o.startswith(f"{PAIRS}="))
        for name, overrides in study.evaluations.items()
    }
    alike = {name: [other for other in rest if rest[other] == rest[name]] for name in rest}
    joined = {name for name, others in alike.items() if len(others) > 1}
    panels = {}
    for name in rest:
        words = ", ".join(last_word(key) for key in rest[name])
        panels[name] = (words or ", ".join(alike[name])) if name in joined else heads[name]
    shown = len(set(panels.values())) > 1
    return {
        "panel": [panels[name] if shown else "" for name in rows["eval"]],
        "series": [
            variant if name in joined else without_pairs[variant]
            for variant, name in zip(rows["train"], rows["eval"], strict=True)
        ],
    }


def _without_pairs(study: Study) -> dict[str, str]:
    """Each variant without its choice on an axis that goes with the number of pairs."""
    pairs = {label: config.task.pairs for label, config in compose_variants(study).items()}
    (grid,) = study.grids
    choices = {variant: cell.labels for variant, cell in grid.first_cells().items()}
    following = set()
    for i in range(len(grid.axes)):
        together = {(labels[i], pairs[variant]) for variant, labels in choices.items()}
        one_to_one = all(len({t[k] for t in together}) == len(together) for k in (0, 1))
        if len(together) > 1 and one_to_one:
            following.add(i)
    return {
        variant: " / ".join(label for i, label in enumerate(labels) if label and i not in following)
        for variant, labels in choices.items()
    }


def _slices(row: pd.Series, slices: list[Metric]) -> pd.DataFrame:
    """mean, low and high of each slice, in the unit shown."""
    return pd.DataFrame(
        {
            key: [metric.scale * row[f"{metric.name}_{key}"] for metric in slices]
            for key in ("mean", "low", "high")
        }
    )


def _draw(
    axes: Axes,
    points: pd.DataFrame,
    variants: list[str],
    look: dict[str, Any],
    with_bars: bool,
) -> None:
    """A curve, which leads to the cells of its variants, and its intervals as bars."""
    axes.plot(points["x"], points["mean"], gid=belongs(*variants), **look)
    bars = points.dropna(subset=["low", "mean"])
    if with_bars and len(bars):
        gid = belongs(*dict.fromkeys(variants), linked=False)
        more = {"color": look["color"], "linewidth": 0.9, "zorder": look["zorder"]}
        axes.vlines(bars["x"], bars["low"], bars["high"], gid=gid, **more)


def _finish(
    panels: Panels,
    cells: pd.DataFrame,
    score: Metric,
    ends: pd.DataFrame,
    x_label: str,
    y_label: str,
) -> None:
    """The scale that all panels share, chance, and the names of the axes.

    The scale holds the means, the `ends` of their intervals, and chance where it is near.
    """
    bounds = tuple(score.scale * bound for bound in score.bounds) if score.bounds else None
    low, high = ends["mean"].min(), ends["mean"].max()
    chance = [score.scale * b[score.name] for b in baselines(cells).values() if score.name in b]
    near = [value for value in chance if value >= low - (high - low)]
    shown = pd.concat([ends["mean"], pd.Series(near, dtype=float)])
    panels.first.set_ylim(*limits(shown, bounds, ends))
    baseline_line(panels.figure, panels.all_axes, cells, score, dashes=DOTTED)
    panels.set_labels(x_label, y_label)
