"""What the looks of a figure mean: a legend below the axes, and a bar of colours for numbers."""

import math
import re
import textwrap
from bisect import bisect_left
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from ablations.report.drawing.belongs import belongs, gid_of, unlinked
from ablations.report.drawing.looks import Looks
from ablations.report.styles.style import COLUMN_INCHES

ROW_INCHES, LINE_INCHES = 0.17, 0.11  # of a legend: a row, and each further line within it
LABEL_LETTERS = 41  # of a line of a label in a column's legend
BAR_INCHES = 0.13  # the width of the bar of colours
NO_LABEL = re.compile(r"|_|_nolegend_|_(child|container)\d+")  # matplotlib's, and ours
MOST_TICKS = 12  # numbers beside a bar of colours


def explain_looks(
    figure: Figure, all_axes: Sequence[Axes], looks: Looks, with_lines: bool = True
) -> None:
    """The bar of colours beside the axes, and the legend below them: of points, without lines.

    Where each variant is an entry of its own, the labels of the lines are the legend.
    """
    first = all_axes[0]
    for entry in looks.entries or ():
        gid = belongs(*entry.variants, linked=False)
        style = {**entry.style, "label": entry.label}
        if not with_lines:
            style |= {"linestyle": "none", "marker": entry.style.get("marker") or "o"}
        first.plot([], [], gid=gid, **style)
    if looks.bar:
        colours, count = ListedColormap(looks.bar.colours), len(looks.bar.colours)
        norm = BoundaryNorm([i - 0.5 for i in range(count + 1)], count)
        bar = figure.colorbar(
            ScalarMappable(norm, colours),
            ax=list(all_axes),
            aspect=0.8 * figure.get_figheight() / BAR_INCHES,
            fraction=0.06,
            pad=0.02,
        )
        every = math.ceil(count / MOST_TICKS)
        bar.set_ticks(range(0, count, every), labels=looks.bar.texts[::every])
        bar.ax.tick_params(length=0)
        bar.ax.minorticks_off()
        bar.ax.set_title(looks.bar.title, fontsize="medium", loc="left")
        bar.outline.set_visible(False)
        bar.solids.set(edgecolor="face")
    legend_below(figure, first)


def wrapped(label: str, letters: int) -> str:
    """A long label in lines, broken between the choices of its axes where that is possible."""
    if len(label) <= letters:
        return label
    lines = [""]
    for part in label.split(" / "):
        joined = f"{lines[-1]} / {part}" if lines[-1] else part
        if len(joined) <= letters or not lines[-1]:
            lines[-1] = joined
        else:
            lines[-1] += " /"
            lines.append(part)
    return "\n".join(short for line in lines for short in textwrap.wrap(line, letters))


def legend_entries(axes: Axes) -> tuple[list[Artist], list[str]]:
    """What has a label, and the labels. One that begins with _, which matplotlib would leave out,
    is among them.
    """
    drawn = [*axes.lines, *axes.patches, *axes.collections]
    artists = sorted(drawn, key=axes.get_children().index) + list(axes.containers)
    entries = [(artist, str(artist.get_label())) for artist in artists]
    shown = [(artist, label) for artist, label in entries if not NO_LABEL.fullmatch(label)]
    return [artist for artist, _ in shown], [label for _, label in shown]


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend below the axes in as many columns as fit, the figure made higher by its rows."""
    artists, labels = legend_entries(axes)
    if not labels:
        return
    names = [
        wrapped(label, int(LABEL_LETTERS * figure.get_figwidth() / COLUMN_INCHES))
        for label in labels
    ]

    def legend_of(rows: int) -> Legend:
        columns = math.ceil(len(names) / rows)
        return figure.legend(
            artists,
            names,
            loc="outside lower center",
            ncols=columns,
            handlelength=2.8,
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
    lines = max(name.count("\n") for name in names)
    height = rows * (ROW_INCHES + LINE_INCHES * lines)
    figure.set_figheight(figure.get_figheight() + height)
