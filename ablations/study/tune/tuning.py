"""What a study tunes: the cells that try each value, and what they choose today."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from ablations.study.axes.choices import Choice as AxisChoice
from ablations.study.cell import Cell
from ablations.study.grid import Grid
from ablations.study.tune.choice import Choice


@dataclass(frozen=True)
class Tuning:
    """`grid` has the tuning cells, whose last axes are the tuned keys.

    A variant has one option for each combination of their labels. A variant with a single one has
    no tuning cell.
    """

    axes: dict[str, list[AxisChoice]]  # tuned key -> its labels with their overrides
    grid: Grid
    # variant -> labels on the tuned keys -> the cells that try them, one for each tuning seed
    options: dict[str, dict[tuple[str, ...], tuple[Cell, ...]]]
    untuned: tuple[Cell, ...]  # the study's own cells, before any value is chosen
    choices: dict[str, Choice] = field(default_factory=dict)  # variant -> today's

    @property
    def keys(self) -> str:
        """ "optim.lr and optim.warmup_steps"."""
        return " and ".join(self.axes)

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(cell.seed for cell in self.grid.cells))

    def of_variants(self, variants: Collection[str]) -> "Tuning":
        """Of some of the variants alone."""
        options = {
            variant: self.options[variant] for variant in self.options if variant in variants
        }
        kept = {cell for cells in options.values() for some in cells.values() for cell in some}
        return replace(
            self,
            grid=replace(self.grid, cells=tuple(c for c in self.grid.cells if c in kept)),
            options=options,
            untuned=tuple(cell for cell in self.untuned if cell.train in variants),
            choices={variant: self.choices[variant] for variant in options},
        )

    def overrides_of(self, labels: Iterable[str]) -> list[str]:
        """What sets the tuned keys to these labels."""
        return [
            override
            for choices, wanted in zip(self.axes.values(), labels, strict=True)
            for label, overrides in choices
            if label == wanted
            for override in overrides
        ]
