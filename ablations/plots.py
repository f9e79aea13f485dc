"""What every figure of a report shares, at the column width of a paper: style, colours, axes, legend; and the train x eval heat map.

Each function that draws takes what `ablations.results` returns and gives a matplotlib Figure, so that a notebook can draw it too.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ablations.results import labels, score_rows
from ablations.seeds import seeds_text
from ablations.study import Study
from ablations.tables import baselines, train_eval
from ablations.text import number

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

    def save(self, directory: Path) -> None:
        """NAME.png (200 dpi) and NAME.pdf."""
        with mpl.rc_context(STYLE):
            self.figure.savefig(directory / f"{self.name}.png")
            self.figure.savefig(directory / f"{self.name}.pdf", metadata={"CreationDate": None})


def heat_map_drawing(study: Study, cells: pd.DataFrame) -> Drawing:
    beside = ", beside the paper's" if "train_eval" in study.paper else ""
    caption = f"Accuracy by the attention trained with (rows) and evaluated with (columns){beside}."
    return Drawing("train_eval", caption + not_drawn(study, cells), heat_map(study, cells))


@mpl.rc_context({**STYLE, "axes.grid": False})
def heat_map(study: Study, cells: pd.DataFrame) -> Figure:
    """Table 2 as colours, accuracy in %; where the study has the paper's numbers, they are a second panel on the same scale."""
    data = train_eval(study, cells, score_rows(study)).data
    panels = [("This study", "accuracy_mean"), ("The paper", "paper_accuracy")] if "train_eval" in study.paper else [("", "accuracy_mean")]
    trains = labels(study)
    known = data[[column for _, column in panels]].stack().dropna()
    lowest = min(90, 10 * math.floor(10 * known.min())) if len(known) else 0
    figure = Figure(figsize=(PAGE_INCHES if "train_eval" in study.paper else COLUMN_INCHES, 0.95 + 0.32 * len(trains)))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colours = mpl.colormaps["cividis"].with_extremes(bad="#eeeeee")
    for axes, (title, column) in zip(all_axes, panels, strict=True):
        grid = 100 * data.pivot(index="train", columns="eval", values=column).reindex(index=trains, columns=data["eval"].unique())
        image = axes.imshow(grid.to_numpy(dtype=float), cmap=colours, vmin=lowest, vmax=100, aspect="auto")
        axes.hlines([i + 0.5 for i in range(len(grid) - 1)], -0.5, grid.shape[1] - 0.5, color="white", linewidth=1)
        axes.vlines([j + 0.5 for j in range(grid.shape[1] - 1)], -0.5, len(grid) - 0.5, color="white", linewidth=1)
        axes.set_xticks(range(grid.shape[1]), grid.columns)
        axes.set_yticks(range(grid.shape[0]), grid.index)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (i, train), (j, name) in ((row, col) for row in enumerate(grid.index) for col in enumerate(grid.columns)):
            value = grid.loc[train, name]
            brightness = sum(w * c for w, c in zip((0.30, 0.59, 0.11), image.cmap(image.norm(value))[:3], strict=True))
            ink = "white" if pd.notna(value) and brightness < 0.5 else "black"
            axes.text(j, i, number(value, 1), ha="center", va="center", color=ink, fontsize=7.5)
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


def baseline_line(axes: Axes, cells: pd.DataFrame, judged: str, scale: float, near: list[float] | None = None) -> list[float]:
    """A dashed line where the model that knows nothing stands; beyond the axis (or far from the points) it is words above the axes.

    Returns the heights of the lines.
    """
    drawn, away = [], []
    for name, baseline in baselines(cells).items():
        value = scale * baseline[judged]
        said = f"{name}: {number(value, 1)}%" if judged == "accuracy" else f"{name}: {number(value, 2)}"
        low, high = (min(near), max(near)) if near else axes.get_ylim()
        reach = 1.2 * max(high - low, 0.02 * abs(high)) if near else 0
        if low - reach <= value <= high + reach:
            axes.axhline(value, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, label=said, zorder=1)
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
    names = axes.get_legend_handles_labels()[1]
    if not names:
        return
    for rows in range(1, len(names) + 1):
        columns = math.ceil(len(names) / rows)
        legend = figure.legend(loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.0, borderaxespad=0.2)
        if columns == 1 or legend.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width < 0.98 * figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)


def not_drawn(study: Study, cells: pd.DataFrame) -> str:
    """ " Not every cell ended well: LSH (2 ok, 1 oom)." for a caption; empty where all did."""
    bad = set(cells.loc[cells["status"] != "ok", "train"])
    gone = [f"{train} ({seeds_text(cells, train)})" for train in labels(study) if train in bad]
    return f" Not every cell ended well: {', '.join(gone)}." if gone else ""
