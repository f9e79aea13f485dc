"""What every figure of a report shares, at the column width of a paper: style, colours, axes, legend; and the train x eval heat map.

Each function that draws takes what `ablations.results` returns and gives a matplotlib Figure, so that a notebook can draw it too.
"""

import io
import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Rectangle

from ablations.report.numbers import number
from ablations.report.seeds import seeds_text
from ablations.report.table import baselines, train_eval
from ablations.report.writers.svg import belongs, unlinked
from ablations.results import labels, score_rows
from ablations.study import Study
from experiments.run_dir.outcome import OK

COLUMN_INCHES, PAGE_INCHES = 3.4, 7.0
STYLE = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.grid": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.3, "lines.markersize": 4, "legend.frameon": False,
    "pdf.fonttype": 42, "figure.dpi": 200, "savefig.dpi": 200, "figure.constrained_layout.use": True, "mathtext.default": "regular",
}  # fmt: skip
# Okabe and Ito's palette without its yellow: told apart with every common colour blindness, and by marker and dashes in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
SAID = {"accuracy": "Held-out accuracy (%)", "bits_per_dim": "Held-out bits per dim"}
GREY = "#666666"


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name and caption."""

    name: str
    caption: str
    figure: Figure
    data: pd.DataFrame | None = None  # the numbers in it, where no table of the report holds them

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that `save` writes."""
        return ("pdf", "png") if self.data is None else ("pdf", "png", "csv")

    def save(self, directory: Path) -> None:
        """NAME.png (200 dpi) and NAME.pdf, and NAME.csv with its data."""
        if self.data is not None:
            self.data.to_csv(directory / f"{self.name}.csv", index=False)
        with mpl.rc_context(STYLE):
            self.figure.savefig(directory / f"{self.name}.png")
            self.figure.savefig(directory / f"{self.name}.pdf", metadata={"CreationDate": None})

    def svg(self) -> str:
        """The same figure for the page, text as outlines; equal figures give equal text."""
        file = io.StringIO()
        with mpl.rc_context({**STYLE, "svg.fonttype": "path", "svg.hashsalt": self.name}):
            self.figure.savefig(
                file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
            )
        return file.getvalue()


def heat_map_drawing(study: Study, cells: pd.DataFrame) -> Drawing:
    beside = ", beside the paper's" if "train_eval" in study.paper else ""
    caption = f"Accuracy by the attention trained with (rows) and evaluated with (columns){beside}."
    return Drawing("train_eval", caption + not_drawn(study, cells), heat_map(study, cells))


@mpl.rc_context({**STYLE, "axes.grid": False})
def heat_map(study: Study, cells: pd.DataFrame) -> Figure:
    """Table 2 as colours, accuracy in %; where the study has the paper's numbers, they are a second panel on the same scale."""
    data = train_eval(study, cells, score_rows(study)).data
    panels = (
        [("This study", "accuracy_mean"), ("The paper", "paper_accuracy")]
        if "train_eval" in study.paper
        else [("", "accuracy_mean")]
    )
    trains = labels(study)
    known = data[[column for _, column in panels]].stack().dropna()
    lowest = min(90, 10 * math.floor(10 * known.min())) if len(known) else 0
    figure = Figure(
        figsize=(
            PAGE_INCHES if "train_eval" in study.paper else COLUMN_INCHES,
            0.95 + 0.32 * len(trains),
        )
    )
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colours = mpl.colormaps["cividis"].with_extremes(bad="#eeeeee")
    for axes, (title, column) in zip(all_axes, panels, strict=True):
        grid = 100 * data.pivot(index="train", columns="eval", values=column).reindex(
            index=trains, columns=data["eval"].unique()
        )
        squares = {
            "cmap": colours,
            "vmin": lowest,
            "vmax": 100,
            "edgecolors": "white",
            "linewidth": 1,
        }
        borders = [[i - 0.5 for i in range(n + 1)] for n in grid.shape]
        image = axes.pcolormesh(*borders[::-1], grid.to_numpy(dtype=float), **squares)
        axes.set_ylim(len(grid) - 0.5, -0.5)  # the first on top; the panels share it
        axes.set_xticks(range(grid.shape[1]), grid.columns)
        axes.set_yticks(range(grid.shape[0]), grid.index)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (i, train), (j, name) in (
            (row, col) for row in enumerate(grid.index) for col in enumerate(grid.columns)
        ):
            value = grid.loc[train, name]
            brightness = sum(
                w * c
                for w, c in zip((0.30, 0.59, 0.11), image.cmap(image.norm(value))[:3], strict=True)
            )
            ink = "white" if pd.notna(value) and brightness < 0.5 else "black"
            axes.text(
                j,
                i,
                number(value, 1),
                ha="center",
                va="center",
                color=ink,
                fontsize=7.5,
                gid=belongs(train, linked=False),
            )
            if column == "accuracy_mean":  # nothing to see: what the page makes a link
                axes.add_patch(
                    Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, linewidth=0, gid=belongs(train))
                )
        axes.set_xlabel("Evaluated with")
        axes.set_title(title)
    all_axes[0].set_ylabel("Trained with")
    bar = figure.colorbar(image, ax=list(all_axes), label="Accuracy (%)", pad=0.02, aspect=12)
    bar.outline.set_visible(False)
    return figure


def styles(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Colour, marker and dashes of each variant, by its place: the same in every figure of the study."""
    return {
        label: {
            "color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "linestyle": DASHES[i % len(DASHES)],
            "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3 + i,
        }
        for i, label in enumerate(names)
    }  # fmt: skip


def baseline_line(
    axes: Axes, cells: pd.DataFrame, judged: str, scale: float, near: list[float] | None = None
) -> list[float]:
    """A dashed line where the model that knows nothing stands; beyond the axis (or far from the points) it is words above the axes.

    Returns the heights of the lines.
    """
    drawn, away = [], []
    for name, baseline in baselines(cells).items():
        value = scale * baseline[judged]
        said = (
            f"{name}: {number(value, 1)}%"
            if judged == "accuracy"
            else f"{name}: {number(value, 2)}"
        )
        low, high = (min(near), max(near)) if near else axes.get_ylim()
        reach = 1.2 * max(high - low, 0.02 * abs(high)) if near else 0
        if low - reach <= value <= high + reach:
            axes.axhline(
                value, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, label=said, zorder=1
            )
            drawn.append(value)
        else:
            away.append(f"{said} ({'above' if value > high else 'below'} the axis)")
    if away:
        axes.set_title("; ".join(away), loc="right", fontsize=7, color=GREY)
    return drawn


def column_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(COLUMN_INCHES, height))
    return figure, figure.add_subplot()


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend below the axes in as many columns as fit, the figure made higher by its rows."""
    artists, names = axes.get_legend_handles_labels()
    if not names:
        return

    def legend_of(rows: int) -> Legend:
        columns = math.ceil(len(names) / rows)
        return figure.legend(
            loc="outside lower center",
            ncols=columns,
            handlelength=2.2,
            columnspacing=1.0,
            borderaxespad=0.2,
        )

    def fits(rows: int) -> bool:
        tried = legend_of(rows)
        width = tried.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width
        tried.remove()
        return width < 0.98 * figure.bbox.width

    rows = 1 + bisect_left(range(1, len(names)), True, key=fits)  # in one column it has to
    legend = legend_of(rows)
    for artist, handle, text in zip(
        artists, legend.legend_handles, legend.get_texts(), strict=True
    ):
        for entry in (handle, text):
            entry.set_gid(unlinked(gid_of(artist)))
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)


def gid_of(artist: Artist | Container) -> str | None:
    """What `inline_svg.belongs` said of a line, or of the line of error bars."""
    return artist[0].get_gid() if isinstance(artist, Container) else artist.get_gid()


def not_drawn(study: Study, cells: pd.DataFrame) -> str:
    """ " Not every cell ended well: LSH (2 ok, 1 oom)." for a caption; empty where all did."""
    bad = set(cells.loc[cells["status"] != OK, "train"])
    gone = [f"{train} ({seeds_text(cells, train)})" for train in labels(study) if train in bad]
    return f" Not every cell ended well: {', '.join(gone)}." if gone else ""
