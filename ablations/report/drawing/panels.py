"""Panels of curves that share their axes: one column of a paper, or small multiples on its page.

Each panel may have a lower one, for differences.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.styles.style import column_inches, page_inches

MOST_COLUMNS = 4
BAR_POINTS = 3.2  # from the last point of a curve to the first bar beside it, and from bar to bar
INTERVALS_SHARE = 0.3  # of the range of values: as much room at each side have intervals
MARGIN = 0.06  # of the range of values, so that no curve lies on a border


@dataclass
class Panels:
    """title -> axes; `lower` is empty where nothing is drawn below."""

    figure: Figure
    upper: dict[str, Axes] = field(default_factory=dict)
    lower: dict[str, Axes] = field(default_factory=dict)

    @property
    def first(self) -> Axes:
        """The axes on top at the left."""
        return next(iter(self.upper.values()))

    def right_margin(self, bars: int) -> float:
        """The end of the horizontal axis over its last point, with room for bars beside it."""
        columns = max(axes.get_subplotspec().colspan.stop for axes in self.upper.values())
        width = (self.figure.get_figwidth() - 0.6) / columns - 0.15
        room = (4 + BAR_POINTS * bars) / 72
        return width / (width - room)

    @property
    def all_axes(self) -> list[Axes]:
        """Of both kinds."""
        return [*self.upper.values(), *self.lower.values()]

    def set_labels(self, x: str, y: str, lower_y: str = "") -> None:
        """The names of the axes, at the borders of the figure alone."""
        for kind, label in ((self.upper, y), (self.lower, lower_y)):
            for axes in kind.values():
                spec = axes.get_subplotspec()
                axes.set_ylabel(label if spec.is_first_col() else "")
        for axes in (self.lower or self.upper).values():
            axes.set_xlabel(x if axes.xaxis.get_tick_params().get("labelbottom", True) else "")


def make_panels(
    titles: Iterable[str], with_lower: bool, height: tuple[float, float] = (2.2, 1.7)
) -> Panels:
    """Empty axes: one title is a figure at the width of a column, several are a page's width.

    `height` is that of one panel alone, and of one of several, in inches.
    """
    titles = list(titles)
    columns = min(MOST_COLUMNS, len(titles))
    if len(titles) > MOST_COLUMNS and len(titles) % MOST_COLUMNS:
        columns = min(range(3, MOST_COLUMNS + 1), key=lambda n: -len(titles) % n)
    rows = math.ceil(len(titles) / columns)
    alone = len(titles) == 1
    upper, lower = (height[0], 1.35) if alone else (height[1], 1.1)
    width = column_inches() if alone else page_inches()
    heights = [upper, lower] if with_lower else [upper]
    figure = Figure(figsize=(width, 0.35 + rows * sum(heights)))
    grid = figure.add_gridspec(len(heights) * rows, columns, height_ratios=heights * rows)
    panels = Panels(figure)
    for place, title in enumerate(titles):
        row, column = divmod(place, columns)
        for kind, all_axes in enumerate((panels.upper, panels.lower)[: len(heights)]):
            first = next(iter(all_axes.values()), None)
            axes = figure.add_subplot(
                grid[len(heights) * row + kind, column],
                sharex=panels.first if panels.upper else None,
                sharey=first,
            )
            is_lowest = kind == len(heights) - 1 and place + columns >= len(titles)
            axes.tick_params(labelbottom=is_lowest, labelleft=column == 0)
            all_axes[title] = axes
        if title:
            panels.upper[title].set_title(title)
    return panels


def limits(
    values: pd.Series,
    bounds: tuple[float, float] | None = None,
    ends: pd.DataFrame | None = None,
    is_log: bool = False,
) -> tuple[float, float]:
    """The ends of an axis that holds the values, with a margin on both sides.

    It holds the `low` and `high` `ends` of intervals too, as far as they leave the values
    the most of it.

    Of a bounded number whose values fill half of its range or more, the range. Where all values
    are equal, it is a little more than the value.
    """
    present = values[values.notna() & values.abs().lt(math.inf)]
    if is_log:
        present = present[present > 0]
    low, high = (present.min(), present.max()) if len(present) else (0.0, 1.0)
    if ends is not None:
        reach = INTERVALS_SHARE * (high - low)
        low = max(ends["low"].min(), low - reach) if ends["low"].min() < low else low
        high = min(ends["high"].max(), high + reach) if ends["high"].max() > high else high
    if is_log:
        factor = (high / low) ** MARGIN if 0 < low < high else 1.1
        return (low / factor, high * factor) if low > 0 else (0.1, 1.0)
    if bounds and high - low >= 0.5 * (bounds[1] - bounds[0]):
        low, high = bounds
    margin = MARGIN * (high - low) or 0.02 * abs(high) or 0.5
    return low - margin, high + margin
