"""What the times of a study's cells are divided by: the first variant's, seed by seed."""

from ablations.study.cell import Cell
from ablations.study.study import Study


def ratio_bases(study: Study) -> dict[Cell, Cell]:
    """Each cell's base: in its grid, of its seed, and of benchmarks at its place on the grown axis.

    A first variant is its own base, as is a cell whose base the grid lacks.
    """
    bases: dict[Cell, Cell] = {}
    for grid in study.grids:
        first: dict[tuple[str, int], Cell] = {}
        for cell in grid.cells:
            variant, at = grid.place(cell) if grid.measure else (cell.train, "")
            leads = grid.place(grid.cells[0])[0] if grid.measure else grid.cells[0].train
            if variant == leads:
                first.setdefault((at, cell.seed), cell)
        for cell in grid.cells:
            at = grid.place(cell)[1] if grid.measure else ""
            bases[cell] = first.get((at, cell.seed), cell)
    return bases
