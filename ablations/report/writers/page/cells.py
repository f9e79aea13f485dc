"""The list of cells on a report's page, where every point and row leads: how each ended, its files,
and the command that runs it.
"""

import os
import re
import shlex
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ablations.report.writers.page.svg import Target
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.files import SHOWN
from experiments.run_dir.outcome import MISSING, OK

INTRO = (
    "Each command runs its cell from the root of the repository: an interrupted one resumes, a "
    "finished one prints its result."
)


def variant_of(study: Study) -> dict[str, str]:
    """A cell's label -> its variant, by which the page is filtered.

    It is the label itself, or of a benchmark what is left of it without the length (or layers) it
    ran at.
    """
    if study.is_benchmark:
        return {cell.train: grid.place(cell)[0] for grid in study.grids for cell in grid.cells}
    return {cell.train: cell.train for cell in study.cells}


def targets(study: Study) -> dict[str, Target]:
    """A cell's label -> where its cells stand on the page."""
    variants = variant_of(study)
    numbers = {variant: i for i, variant in enumerate(dict.fromkeys(variants.values()))}
    return {
        cell.train: Target(f"cell-{cell.name}", numbers[variants[cell.train]])
        for cell in study.cells
    }


def cells_html(study: Study, cells: pd.DataFrame, directory: Path) -> str:
    """One entry for each label, its seeds below it.

    `cells` are `results.load_cells`, links are relative to `directory`.
    """
    seeds: dict[str, list[str]] = {}
    for cell, row in zip(study.cells, cells.to_dict("records"), strict=True):
        seeds.setdefault(cell.train, []).append(_seed(cell, row, directory))
    where = targets(study)
    entries = [
        f'<div class="cells" id="{escape(where[label].id)}" '
        f'data-variants="{where[label].variant}" tabindex="-1">'
        f"<h3>{escape(label)}</h3>\n{''.join(entry)}</div>\n"
        for label, entry in seeds.items()
    ]
    return f"<p>{INTRO}</p>\n{''.join(entries)}"


def _seed(cell: Cell, row: dict[str, object], directory: Path) -> str:
    folder = Path(os.path.relpath(cell.directory, directory))
    files = [name for name in SHOWN if (cell.directory / name).exists()]
    links = links_html((str(folder / name), name) for name in files)
    status, error = str(row["status"]), row["error"]
    reason = f'<p class="error">{escape(str(error))}</p>' if isinstance(error, str) else ""
    return (
        f'<div class="cell"><p>seed {cell.seed} '
        f'<span class="status {mood(status)}">{escape(status)}</span> '
        f'<span class="links">{links}</span></p>{reason}'
        "<details><summary>Command</summary>"
        f"<pre>{escape(pasteable(cell))}</pre></details>\n"
        f'<button type="button" class="copy" aria-label="Copy the command of {escape(str(cell))}" '
        "hidden>Copy</button></div>\n"
    )


def pasteable(cell: Cell) -> str:
    """The cell's command for a shell at the repository's root, its interpreter as python."""
    here = re.compile(rf"(?<![^=\"]){re.escape(str(Path.cwd()))}{os.sep}(?=[\w.])")
    return shlex.join(["python", *(here.sub("", word) for word in cell.command()[1:])])


def mood(status: str) -> str:
    """The CSS class of a status."""
    return {OK: "ok", MISSING: "absent"}.get(status, "bad")


def links_html(files: Iterable[tuple[str, str]]) -> str:
    """(path, words) as links."""
    return " ".join(
        f'<a href="{escape(quote(path, safe="/="))}">{escape(name)}</a>' for path, name in files
    )
