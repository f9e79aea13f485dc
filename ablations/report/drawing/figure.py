"""What every figure of a report shares, at the column width of a paper: style, colours, axes,
legend.

Each function that draws takes what `ablations.results` returns and gives a matplotlib Figure, so
that a notebook can draw it too.
"""

import io
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ablations.report.drawing.looks import GREY
from ablations.report.numbers import number
from ablations.report.styles.style import Style, column_inches, current_style, drawn_in, styled
from ablations.report.variant_means import baselines, count_models, seeds_text
from ablations.report.writers.csv_file import write_frame
from ablations.results import variant_labels
from ablations.study import Study
from experiments.run_dir.durable import replace_file, replace_text
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import Metric


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
        """The same figure for the page, its text as text; equal figures give equal SVG."""
        file = io.StringIO()
        settings = {"svg.fonttype": "none", "svg.hashsalt": self.name}
        with drawn_in(self.style), styled(settings):
            self.figure.savefig(
                file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
            )
        return file.getvalue()


def hollow_marker(style: dict[str, object]) -> dict[str, object]:
    """The marker of a time that something disturbed."""
    return {"markerfacecolor": "white", "markeredgecolor": style["color"], "markeredgewidth": 1.1}


def baseline_line(
    figure: Figure,
    all_axes: Sequence[Axes],
    cells: pd.DataFrame,
    metric: Metric,
    near: list[float] | None = None,
    dashes: tuple[int, int] = (4, 3),
) -> list[float]:
    """A dashed line in each panel where the model that knows nothing stands.

    Beyond the axis, or far from the points, it is words above the panels. Models that count bytes
    are dotted lines, where they lie within the axis.

    `near` are the heights of the points. Returns the heights of the lines.
    """
    axes, drawn, away = all_axes[0], [], []
    for name, baseline in baselines(cells).items():
        if metric.name not in baseline:
            continue
        value = metric.scale * baseline[metric.name]
        text = f"{name}: {number(value, metric.short_places)}{metric.suffix}"
        low, high = (min(near), max(near)) if near else axes.get_ylim()
        reach = 1.2 * max(high - low, 0.02 * abs(high)) if near else 0
        if low - reach <= value <= high + reach:
            _rule(all_axes, value, text, dashes)
            drawn.append(value)
        else:
            away.append(f"{text} ({'above' if value > high else 'below'} the axis)")
    low, high = axes.get_ylim()
    for name, model in count_models(cells).items():
        value = metric.scale * model.get(metric.name, math.nan)
        if low <= value <= high:
            text = f"{name}: {number(value, metric.short_places)}{metric.suffix}"
            _rule(all_axes, value, text, (1, 2))
            drawn.append(value)
    words = {"fontsize": 7, "color": GREY}
    if away and len(all_axes) > 1:
        figure.suptitle("; ".join(away), x=0.995, ha="right", **words)
    elif away:
        axes.set_title("; ".join(away), loc="right", **words)
    return drawn


def _rule(all_axes: Sequence[Axes], value: float, text: str, dashes: tuple[int, int]) -> None:
    """A grey line across each panel, once in the legend."""
    line = {"color": GREY, "linestyle": (0, dashes), "linewidth": 0.9, "zorder": 1}
    for i, panel in enumerate(all_axes):
        panel.axhline(value, label="_" if i else text, **line)


def column_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(column_inches(), height))
    return figure, figure.add_subplot()


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
