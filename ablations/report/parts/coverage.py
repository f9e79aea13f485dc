"""`coverage`: how much of full attention's probability mass the hash buckets reach, by training
step.

The runs record it where `trainer.coverage_every_steps` is set.
"""

import math
from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import Drawing
from ablations.report.drawing.looks import GREY, MARKERS, numbers_colours
from ablations.report.numbers import MISSING
from ablations.report.styles.style import column_inches, page_inches, styled
from ablations.report.table import Entry, Row, Table, Value, Words
from ablations.results import load_coverage, variant_labels
from ablations.study import Study
from experiments.run_dir.outcome import OK

TIMES = ("start", "middle", "end")
PANELS_A_ROW = 3
CHANCE = {"linestyle": (0, (4, 2)), "linewidth": 0.9}
CEILING = {"linestyle": (0, (1, 1.5)), "linewidth": 0.9}
COLUMNS = (
    "train",
    "rounds",
    "time",
    "step",
    "n",
    "coverage_mean",
    "coverage_min",
    "coverage_max",
    "chance_mean",
    "ceiling_mean",
)


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Coverage in %, mean and range over heads, at the start, the middle and the end of training,
    and what chance would reach, and the best keys.
    """
    data, steps = coverage_data(study, cells)
    rows = []
    for variant in variant_labels(study):
        recorded = data[data["train"] == variant]
        for rounds, values in recorded.groupby("rounds"):
            entries = [entry for row in values.to_dict("records") for entry in _entries(row)]
            entries.append(Value(values["n"].max()))
            rows.append(Row(f"{variant}, {_rounds(rounds)}", tuple(entries), variant))
        if recorded.empty:
            rows.append(Row(variant, (*[Words(MISSING)] * 3 * len(TIMES), Value(0)), variant))
    chosen = "; ".join(
        f"{variant}: {', '.join(map(str, by_time.values()))}"
        for variant, by_time in sorted(steps.items())
    )
    chosen = chosen or "none recorded: set trainer.coverage_every_steps"
    caption = (
        "Attention coverage in %: the share of full attention's probability mass on keys that the "
        "hash buckets reach: mean (lowest-highest) over n heads, of all layers and seeds that "
        f"ended well, at three training steps ({chosen}). Chance is the share of a query's keys "
        "that is reached: the mass that as many random keys would hold. The ceiling is the mass of "
        "each query's best as many keys. Of held-out sequences."
    )
    header = (
        "trained with",
        *(name for time in TIMES for name in (time, "chance", "ceiling")),
        "n",
    )
    return [Table("coverage", caption, header, tuple(rows), data)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    """The figure, or none where nothing was recorded."""
    recorded = _of_finished(study, cells)
    if recorded.empty:
        return []
    caption = (
        "Attention coverage while training, a panel for each variant trained: the share of full "
        "attention's probability mass on keys that the hash buckets reach, by the number of "
        "rounds. Line: mean over layers, heads and seeds; band: lowest to highest; dashed: the "
        "share of a query's keys that is reached, which is the mass that as many random keys would "
        "hold; dotted: the mass of each query's best as many keys. Of held-out sequences."
    )
    return [Drawing("coverage", caption, coverage_curves(study, recorded))]


def coverage_data(study: Study, cells: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict]]:
    """(a row for each variant, number of rounds and time; the step of each time by variant)."""
    recorded, rows, steps = _of_finished(study, cells), [], {}
    for variant in variant_labels(study):
        own = recorded[recorded["train"] == variant]
        if own.empty:
            continue
        steps[variant] = _times(own["step"].unique())
        for rounds in sorted(own["rounds"].unique()):
            for time, step in steps[variant].items():
                now = own[(own["rounds"] == rounds) & (own["step"] == step)]
                coverage = now["coverage"].agg(["mean", "min", "max"]).tolist()
                beside = now[["chance", "ceiling"]].astype(float).mean()
                rows.append((variant, rounds, time, step, len(now), *coverage, *beside))
    return pd.DataFrame(rows, columns=list(COLUMNS)), steps


@styled()
def coverage_curves(study: Study, recorded: pd.DataFrame) -> Figure:
    """Coverage in % by training step from `results.load_coverage`: a panel per variant, a line per
    number of rounds, chance dashed, the ceiling dotted.
    """
    variants = [label for label in variant_labels(study) if (recorded["train"] == label).any()]
    columns = min(PANELS_A_ROW, len(variants))
    rows = math.ceil(len(variants) / columns)
    width = page_inches() if columns > 1 else column_inches()
    figure = Figure(figsize=(width, 0.4 + 1.9 * rows))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    all_rounds = sorted(recorded["rounds"].unique())
    for axes, variant in zip(panels, variants, strict=False):
        own = recorded[recorded["train"] == variant]
        for i, rounds in enumerate(all_rounds):
            _draw_rounds(axes, own[own["rounds"] == rounds], variant, _style(i, len(all_rounds)))
        axes.set_title(f"Trained with {variant}")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 102)
        axes.set_xlabel("Training step")
        axes.tick_params(labelbottom=True)  # below a panel that is not in the last row, too
    for axes in panels[len(variants) :]:
        axes.remove()
    for axes in panels[: len(variants) : columns]:
        axes.set_ylabel("Attention mass reached (%)")
    handles = [
        Line2D([], [], label=_rounds(n), **_style(i, len(all_rounds)))
        for i, n in enumerate(all_rounds)
    ]
    handles.append(Line2D([], [], color=GREY, label="as many random keys", **CHANCE))
    if recorded["ceiling"].notna().any():
        handles.append(Line2D([], [], color=GREY, label="the best as many", **CEILING))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        handlelength=2.2,
        columnspacing=1.2,
    )
    return figure


def _draw_rounds(axes: Axes, rows: pd.DataFrame, variant: str, style: dict[str, object]) -> None:
    """One number of rounds: the mean as a line, the range as a band, chance dashed, the ceiling
    dotted.
    """
    steps = rows.groupby("step")
    coverage = 100 * steps["coverage"].agg(["mean", "min", "max"])
    beside = belongs(variant, linked=False)
    axes.plot(coverage.index, coverage["mean"], markevery=0.22, gid=belongs(variant), **style)
    band = {"color": style["color"], "alpha": 0.14, "linewidth": 0}
    axes.fill_between(coverage.index, coverage["min"], coverage["max"], gid=beside, **band)
    for column, dashes in (("chance", CHANCE), ("ceiling", CEILING)):
        line = {"color": style["color"], "zorder": style["zorder"], **dashes}
        means = 100 * steps[column].mean()
        if means.notna().any():
            axes.plot(means, gid=beside, **line)


def _style(i: int, count: int) -> dict[str, object]:
    """Of the i-th of some numbers of rounds, in order."""
    colour, marker = numbers_colours(count)[i], MARKERS[i % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 3.2, "zorder": 3 + i}


def _entries(row: dict[str, float]) -> tuple[Entry, ...]:
    """Coverage with its range, chance and the ceiling."""
    mean, low, high = (100 * row[f"coverage_{name}"] for name in ("mean", "min", "max"))
    coverage = Value(mean, low, high, places=1, is_range=True)
    beside = (Value(100 * row[f"{name}_mean"], places=1) for name in ("chance", "ceiling"))
    return coverage, *beside


def _of_finished(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """The coverage rows of the cells that ended well."""
    recorded = load_coverage(study)
    finished = cells.loc[cells["status"] == OK, ["cell", "seed"]]
    return recorded if recorded.empty else recorded.merge(finished, on=["cell", "seed"])


def _times(steps: Iterable[int]) -> dict[str, int]:
    """The first recorded step, the one nearest to half the last, and the last."""
    recorded = sorted(int(step) for step in steps)
    middle = min(recorded, key=lambda step: abs(2 * step - recorded[-1]))
    return dict(zip(TIMES, (recorded[0], middle, recorded[-1]), strict=True))


def _rounds(n: int) -> str:
    return "1 round" if n == 1 else f"{n} rounds"
