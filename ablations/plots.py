"""The figures of a report, at the column width of a paper: learning curves, train x eval heat map, loss and time against memory.

Each function draws from what `ablations.results` returns and gives a matplotlib Figure, so that a notebook can draw them too.
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
from matplotlib.ticker import LogLocator

from ablations.point_labels import label_points
from ablations.results import labels, load_curves, load_results
from ablations.study import Study
from ablations.tables import baselines, number, score, seeds_text, train_eval

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


def study_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    """The figures the study asks for. One for which no cell has a number is left out; the tables say why."""
    drawings = []
    curves, judged = load_curves(study), SAID[score(study)].lower()
    over = "; line: mean, band: lowest to highest seed" if len({cell.seed for cell in study.cells}) > 1 else ""
    missing = _not_drawn(study, cells)
    if (cells["status"] != "ok").all():
        return []
    if "train_eval" in study.report:
        beside = ", beside the paper's" if "train_eval" in study.paper else ""
        caption = f"Accuracy by the attention trained with (rows) and evaluated with (columns){beside}."
        drawings.append(Drawing("train_eval", caption + missing, heat_map(study, cells)))
    if "loss_memory" in study.report:
        caption = f"{SAID[score(study)]} against the peak memory of one training step; left and {_better(study)} is better."
        drawings.append(Drawing("loss_memory", caption + missing, loss_memory(study, cells)))
        caption = "Seconds per training step against its peak memory; left and lower is better."
        drawings.append(Drawing("time_memory", caption + missing, time_memory(study, cells)))
    if "coverage" in study.report:
        from ablations.coverage import coverage_drawings  # late: it builds on this file

        drawings += coverage_drawings(study, cells)
    if "learning_curves" in study.report and (curves["split"] == "valid").any():
        caption = f"Learning curves, {judged} by training step{over}." + missing
        drawings.append(Drawing("learning_curves", caption, learning_curves(study, cells, curves, "step")))
        if study.timed:
            caption = f"The same curves by training time{over}." + missing
            drawings.append(Drawing("learning_curves_time", caption, learning_curves(study, cells, curves, "seconds")))
    return drawings


@mpl.rc_context(STYLE)
def learning_curves(study: Study, cells: pd.DataFrame, curves: pd.DataFrame, by: str = "step") -> Figure:
    """Held-out score by step (or seconds) of the cells that ended well: the mean over seeds, a band from the lowest to the highest."""
    judged = score(study)
    scale = 100 if judged == "accuracy" else 1
    ended = cells.loc[cells["status"] == "ok", ["cell", "seed"]]
    held_out = curves[curves["split"] == "valid"].merge(ended, on=["cell", "seed"])
    figure, axes = column_axes(height=2.3)
    for i, (train, style) in enumerate(styles(labels(study)).items()):
        mine = held_out[held_out["train"] == train]
        if mine.empty:
            continue
        steps = mine.groupby("step")
        whole = steps.size() == steps.size().max()  # a mean over the same seeds at every step
        found = steps[judged].agg(["mean", "min", "max"])[whole] * scale
        x = found.index if by == "step" else steps["seconds"].mean()[whole]
        thick = 1 - i / len(labels(study))  # from 1 down to 0, so that a curve right below another still shows
        sizes = {"linewidth": 1 + 1.2 * thick, "markersize": 3.2 + 3 * thick, "markevery": (0.22 * (1 - thick), 0.22)}
        axes.plot(x, found["mean"], label=train, **style, **sizes)
        axes.fill_between(x, found["min"], found["max"], color=style["color"], alpha=0.18, linewidth=0)
    _baseline_line(axes, cells, judged, scale)
    axes.set_xlabel("Training step" if by == "step" else "Training time (s)")
    axes.set_ylabel(SAID[judged])
    axes.set_xlim(left=0)
    if judged == "accuracy":
        axes.set_ylim(-3, 103)
    legend_below(figure, axes)
    return figure


@mpl.rc_context({**STYLE, "axes.grid": False})
def heat_map(study: Study, cells: pd.DataFrame) -> Figure:
    """Table 2 as colours, accuracy in %; where the study has the paper's numbers, they are a second panel on the same scale."""
    data = train_eval(study, cells, load_results(study)).data
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


@mpl.rc_context(STYLE)
def loss_memory(study: Study, cells: pd.DataFrame) -> Figure:
    """Held-out score against peak memory, one point a variant, a bar from the lowest to the highest seed."""
    judged = score(study)
    return _against_memory(study, cells, judged, 100 if judged == "accuracy" else 1, SAID[judged])


@mpl.rc_context(STYLE)
def time_memory(study: Study, cells: pd.DataFrame) -> Figure:
    """Seconds per training step against peak memory, one point a variant."""
    return _against_memory(study, cells, "step_seconds", 1, "Seconds per training step")


def styles(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Colour, marker and dashes of each variant, by its place: the same in every figure of the study."""
    return {
        label: {
            "color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "linestyle": DASHES[i % len(DASHES)],
            "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3 + i,
        }
        for i, label in enumerate(names)
    }  # fmt: skip


def _against_memory(study: Study, cells: pd.DataFrame, column: str, scale: float, said: str) -> Figure:
    finished = cells[(cells["status"] == "ok") & cells["peak_memory_gib"].notna() & cells[column].notna()]
    gib = cells["peak_memory_gib"].max() >= 1
    figure, axes = column_axes(height=2.7)
    points, bars = {}, []
    for train, style in styles(labels(study)).items():
        mine = finished[finished["train"] == train]
        if mine.empty:
            continue
        x, y = mine["peak_memory_gib"].mean() * (1 if gib else 1024), scale * mine[column].mean()
        bars.append(((x, scale * mine[column].min()), (x, scale * mine[column].max())))
        axes.plot(*zip(*bars[-1], strict=True), color=style["color"], linewidth=1)
        axes.plot(x, y, **{**style, "markersize": 6})
        points[train] = (x, y)
    xs = [x for x, _ in points.values()]
    if xs and max(xs) > 8 * min(xs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(f"Peak memory ({'GiB' if gib else 'MiB'})")
    axes.set_ylabel(said)
    axes.margins(0.22, 0.18)
    near = [y for bar in bars for _, y in bar]
    rules = _baseline_line(axes, cells, column, scale, near) if column == score(study) else []
    legend_below(figure, axes)
    left, right = axes.get_xlim()
    label_points(figure, axes, points, [*bars, *(((left, y), (right, y)) for y in rules)])
    return figure


def _baseline_line(axes: Axes, cells: pd.DataFrame, judged: str, scale: float, near: list[float] | None = None) -> list[float]:
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


def _better(study: Study) -> str:
    return "higher" if score(study) == "accuracy" else "lower"


def _not_drawn(study: Study, cells: pd.DataFrame) -> str:
    bad = set(cells.loc[cells["status"] != "ok", "train"])
    gone = [f"{train} ({seeds_text(cells, train)})" for train in labels(study) if train in bad]
    return f" Not every cell ended well: {', '.join(gone)}." if gone else ""
