"""Attention coverage in a report: how much of full attention's probability mass the hash buckets reach, by training step.

A study asks for it with `report: [coverage]` and `trainer.coverage_every_steps` among its overrides.
"""

import math

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.report.figure import COLOURS, GREY, MARKERS, PAGE_INCHES, STYLE, Drawing
from ablations.report.numbers import MISSING, number
from ablations.report.table import Table
from ablations.report.writers.svg import belongs
from ablations.results import labels, load_coverage
from ablations.study import Study
from experiments.run_dir.outcome import OK

TIMES = ("start", "middle", "end")
PANELS_A_ROW = 3


def coverage_table(study: Study, cells: pd.DataFrame) -> Table:
    """Coverage in %, mean and range over heads, at the start, the middle and the end of training, and what chance would reach."""
    found = _ended(study, cells)
    steps = {label: _times(mine["step"].unique()) for label, mine in found.groupby("train")}
    columns = [
        "train",
        "rounds",
        "time",
        "step",
        "n",
        "coverage_mean",
        "coverage_min",
        "coverage_max",
        "chance_mean",
    ]
    kept, rows = [], []
    for label in labels(study):
        mine = found[found["train"] == label]
        for rounds in sorted(mine["rounds"].unique()) or [None]:
            texts = []
            for time in TIMES:
                now = mine[
                    (mine["rounds"] == rounds) & (mine["step"] == steps.get(label, {}).get(time))
                ]
                texts += [_range(now["coverage"]), number(100 * now["chance"].mean(), 1)]
                if rounds is not None:
                    held = now["coverage"].agg(["mean", "min", "max"]).tolist()
                    kept.append(
                        (
                            label,
                            rounds,
                            time,
                            steps[label][time],
                            len(now),
                            *held,
                            now["chance"].mean(),
                        )
                    )
            rows.append((label if rounds is None else f"{label}, {_rounds(rounds)}", *texts))
    told = "; ".join(
        f"{label}: {', '.join(str(step) for step in chosen.values())}"
        for label, chosen in steps.items()
    )
    unset = "none recorded: set trainer.coverage_every_steps"
    caption = (
        "Attention coverage in %: the share of full attention's probability mass on keys that the hash buckets reach: mean (lowest-highest)"
        f" over layers, heads and seeds that ended well, at three training steps ({told or unset}). Chance is the share of a "
        "query's keys that is reached: the mass that as many random keys would hold."
    )
    header = ("trained with", *(name for time in TIMES for name in (time, "chance")))
    return Table(
        "coverage", caption, header, tuple(rows), frozenset(), pd.DataFrame(kept, columns=columns)
    )


def coverage_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    """The figure, or none where nothing was recorded."""
    found = _ended(study, cells)
    if found.empty:
        return []
    caption = (
        "Attention coverage while training, a panel for each variant trained: the share of full attention's probability mass on keys that "
        "the hash buckets reach, by the number of rounds. Line: mean over layers, heads and seeds; band: lowest to highest; dashed: the "
        "share of a query's keys that is reached, which is the mass that as many random keys would hold."
    )
    return [Drawing("coverage", caption, coverage_curves(study, found))]


@mpl.rc_context(STYLE)
def coverage_curves(study: Study, found: pd.DataFrame) -> Figure:
    """Coverage in % by training step from `results.load_coverage`: a panel per variant, a line per number of rounds, chance dashed."""
    shown = [label for label in labels(study) if (found["train"] == label).any()]
    columns = min(PANELS_A_ROW, len(shown))
    high = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(PAGE_INCHES * max(columns, 2) / PANELS_A_ROW, 0.4 + 1.9 * high))
    panels = figure.subplots(high, columns, sharex=True, sharey=True, squeeze=False).flatten()
    all_rounds = sorted(found["rounds"].unique())
    for axes, label in zip(panels, shown, strict=False):
        for i, rounds in enumerate(all_rounds):
            mine = found[(found["train"] == label) & (found["rounds"] == rounds)]
            at = 100 * mine.groupby("step")["coverage"].agg(["mean", "min", "max"])
            style = {"color": COLOURS[i % len(COLOURS)], "zorder": 3 + i}
            axes.plot(
                at.index,
                at["mean"],
                marker=MARKERS[i % len(MARKERS)],
                markevery=0.22,
                markersize=3.2,
                gid=belongs(label),
                **style,
            )
            beside = {"gid": belongs(label, linked=False)}
            axes.fill_between(
                at.index,
                at["min"],
                at["max"],
                color=style["color"],
                alpha=0.14,
                linewidth=0,
                **beside,
            )
            axes.plot(
                100 * mine.groupby("step")["chance"].mean(),
                linestyle=(0, (4, 2)),
                linewidth=0.9,
                **style,
                **beside,
            )
        axes.set_title(f"Trained with {label}")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 102)
        axes.set_xlabel("Training step")
        axes.tick_params(labelbottom=True)  # below a panel that is not in the last row, too
    for axes in panels[len(shown) :]:
        axes.remove()
    for axes in panels[: len(shown) : columns]:
        axes.set_ylabel("Attention mass reached (%)")
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=3.2,
            label=_rounds(n),
        )
        for i, n in enumerate(all_rounds)
    ]
    handles.append(
        Line2D(
            [], [], color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, label="as many random keys"
        )
    )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        handlelength=2.2,
        columnspacing=1.2,
    )
    return figure


def _ended(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """The coverage rows of the cells that ended well."""
    found = load_coverage(study)
    ended = cells.loc[cells["status"] == OK, ["cell", "seed"]]
    return found if found.empty else found.merge(ended, on=["cell", "seed"])


def _times(steps: object) -> dict[str, int]:
    """The first recorded step, the one nearest to half the last, and the last."""
    known = sorted(int(step) for step in steps)
    middle = min(known, key=lambda step: abs(2 * step - known[-1]))
    return dict(zip(TIMES, (known[0], middle, known[-1]), strict=True))


def _rounds(n: int) -> str:
    return "1 round" if n == 1 else f"{n} rounds"


def _range(values: pd.Series) -> str:
    return (
        f"{number(100 * values.mean(), 1)} ({number(100 * values.min(), 1)}-{number(100 * values.max(), 1)})"
        if len(values)
        else MISSING
    )
