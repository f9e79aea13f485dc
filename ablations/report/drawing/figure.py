"""What every figure of a report shares, at the column width of a paper: colours, axes, legend.

Each function that draws takes what `ablations.results` returns and gives a matplotlib Figure, so
that a notebook can draw it too.
"""

import io
import math
from bisect import bisect_left
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import LogLocator

from ablations.report.drawing.belongs import gid_of, unlinked
from ablations.report.drawing.style import Style, column_inches, current_style, drawn_in, styled
from ablations.report.numbers import number
from ablations.report.variant_means import baselines, seeds_text
from ablations.report.writers.csv_file import write_frame
from ablations.results import variant_labels
from ablations.study import Study
from experiments.run_dir.durable import replace_file, replace_text
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import Metric

# Okabe and Ito's palette without its yellow: distinct with every common colour blindness. In grey
# print, marker and dashes tell the lines apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
GREY = "#666666"


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name and caption."""

    name: str
    caption: str
    figure: Figure
    data: pd.DataFrame | None = None  # the numbers in it, where no table of the report holds them
    style: Style = field(default_factory=current_style)  # in which it was drawn

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that `save` writes."""
        return ("pdf", "png") if self.data is None else ("pdf", "png", "csv")

    def save(self, directory: Path, formats: Container[str] = ("csv", "png", "pdf")) -> None:
        """NAME.png (200 dpi), NAME.pdf and NAME.svg, and NAME.csv with its data."""
        if self.data is not None and "csv" in formats:
            write_frame(self.data, directory / f"{self.name}.csv")
        with drawn_in(self.style), styled():
            for suffix, options in (("png", {}), ("pdf", {"metadata": {"CreationDate": None}})):
                if suffix not in formats:
                    continue
                save = partial(self.figure.savefig, format=suffix, **options)
                replace_file(directory / f"{self.name}.{suffix}", save)
        if "svg" in formats:
            replace_text(directory / f"{self.name}.svg", self.svg())

    def svg(self) -> str:
        """The same figure for the page, text as outlines; equal figures give equal text."""
        file = io.StringIO()
        settings = {"svg.fonttype": "path", "svg.hashsalt": self.name}
        with drawn_in(self.style), styled(settings):
            self.figure.savefig(
                file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
            )
        return file.getvalue()


def styles(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Colour, marker and dashes of each variant, by its place: the same in every figure of the
    study.
    """
    return {
        label: {
            "color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)],
            "linestyle": DASHES[i % len(DASHES)],
            "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3 + i,
        }
        for i, label in enumerate(names)
    }  # fmt: skip


def hollow_marker(style: dict[str, object]) -> dict[str, object]:
    """The marker of a time that something disturbed."""
    return {"markerfacecolor": "white", "markeredgecolor": style["color"], "markeredgewidth": 1.1}


def baseline_line(
    axes: Axes, cells: pd.DataFrame, metric: Metric, near: list[float] | None = None
) -> list[float]:
    """A dashed line where the model that knows nothing stands.

    Beyond the axis, or far from the points, it is words above the axes.

    `near` are the heights of the points. Returns the heights of the lines.
    """
    drawn, away = [], []
    for name, baseline in baselines(cells).items():
        if metric.name not in baseline:
            continue
        value = metric.scale * baseline[metric.name]
        text = f"{name}: {number(value, metric.short_places)}{metric.suffix}"
        low, high = (min(near), max(near)) if near else axes.get_ylim()
        reach = 1.2 * max(high - low, 0.02 * abs(high)) if near else 0
        if low - reach <= value <= high + reach:
            axes.axhline(
                value, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, label=text, zorder=1
            )
            drawn.append(value)
        else:
            away.append(f"{text} ({'above' if value > high else 'below'} the axis)")
    if away:
        axes.set_title("; ".join(away), loc="right", fontsize=7, color=GREY)
    return drawn


def column_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(column_inches(), height))
    return figure, figure.add_subplot()


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend below the axes in as many columns as fit, the figure made higher by its rows."""
    artists, names = axes.get_legend_handles_labels()
    if not names:
        return

    def legend_of(rows: int) -> Legend:
        columns = math.ceil(len(names) / rows)
        return figure.legend(
            artists,
            names,
            loc="outside lower center",
            ncols=columns,
            handlelength=2.2,
            columnspacing=1.0,
            borderaxespad=0.2,
        )

    def fits(rows: int) -> bool:
        legend = legend_of(rows)
        width = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width
        legend.remove()
        return width < 0.98 * figure.bbox.width

    rows = 1 + bisect_left(range(1, len(names)), True, key=fits)  # in one column it has to
    legend = legend_of(rows)
    for artist, handle, text in zip(
        artists, legend.legend_handles, legend.get_texts(), strict=True
    ):
        for entry in (handle, text):
            entry.set_gid(unlinked(gid_of(artist)))
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)


def not_drawn(study: Study, cells: pd.DataFrame) -> str:
    """ " Not every cell ended well: LSH (2 ok, 1 oom)." for a caption; empty where all did."""
    bad = set(cells.loc[cells["status"] != OK, "train"])
    gone = [
        f"{variant} ({seeds_text(cells, variant)})"
        for variant in variant_labels(study)
        if variant in bad
    ]
    return f" Not every cell ended well: {', '.join(gone)}." if gone else ""


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 of each power of ten, written as plain numbers, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
