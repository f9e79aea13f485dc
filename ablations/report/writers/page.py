"""The report's page: one HTML file that needs nothing beside it and no network, in a browser or on
paper, with a script or without.

page.html is its frame and page.css its style. page.js sorts its tables, filters by variant and
enlarges figures.
"""

from datetime import datetime
from html import escape
from pathlib import Path

import pandas as pd

from ablations.report.drawing.figure import Drawing
from ablations.report.numbers import MISSING
from ablations.report.report import Report
from ablations.report.variant_means import several_sessions
from ablations.report.writers.page_cells import cells_html, links_html, mood, targets, variant_of
from ablations.report.writers.page_tables import table_html
from ablations.report.writers.svg import inline_svg
from ablations.study import Study
from experiments.run_dir.durable import replace_text

PAGE, STYLE, SCRIPT = (
    Path(__file__).with_name(f"page.{suffix}").read_text(encoding="utf-8")
    for suffix in ("html", "css", "js")
)
FILTER = """<form class="filter" id="filter" autocomplete="off" hidden>
<label class="search">Filter by variant
<input type="search" name="words" placeholder="words of its name"></label>
<button type="reset">Show all</button> <output></output>
<fieldset><legend>Variants shown</legend>{boxes}</fieldset>
</form>
"""


def write_page(report: Report, directory: Path) -> Path:
    """index.html in `directory`. Returns its path."""
    study, cells = report.study, report.cells
    variants = list(dict.fromkeys(variant_of(study).values()))
    tables = "".join(table_html(table, variants) for table in report.tables)
    sections = [_section("Results", tables)]
    if report.figures:
        figures = "".join(_figure(study, figure) for figure in report.figures)
        sections.append(_section("Figures", f'<div class="figures">{figures}</div>'))
    if study.notes:
        notes = "".join(f"<p>{escape(note)}</p>" for note in study.notes)
        sections.append(_section("Notes", notes))
    if report.problems:
        lines = "".join(f'<p class="error">{escape(line)}</p>' for line in report.problems)
        sections.append(_section("Gone or unreadable", lines))
    sections.append(_section("Provenance", _provenance(study, cells)))
    sections.append(_section("Cells", cells_html(study, cells, directory)))
    page = PAGE.format(
        title=escape(study.name),
        style=STYLE,
        script=SCRIPT,
        description=escape(study.description),
        counts=_counts(cells["status"]),
        filter=_filter(variants),
        body="\n".join(sections),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )
    path = directory / "index.html"
    replace_text(path, page)
    return path


def _section(title: str, inner: str) -> str:
    return f'<section id="{title.lower()}">\n<h2>{title}</h2>\n{inner}\n</section>'


def _counts(statuses: pd.Series) -> str:
    counts = statuses.value_counts().to_dict()
    counts = {"ok": counts.pop("ok", 0), **counts}
    marks = [
        f'<span class="{mood(status)}">{count} {escape(status)}</span>'
        for status, count in counts.items()
    ]
    return f"<span>{len(statuses)} cells</span>" + "".join(marks)


def _filter(variants: list[str]) -> str:
    """A box for each variant, numbered as in data-variants; hidden until the script, without which
    it would do nothing, shows it.
    """
    boxes = [
        f'<label><input type="checkbox" name="variant" value="{i}" checked> {escape(name)}</label>'
        for i, name in enumerate(variants)
    ]
    return FILTER.format(boxes="".join(boxes)) if len(variants) > 1 else ""


def _figure(study: Study, drawing: Drawing) -> str:
    wide = ' class="wide"' if drawing.figure.get_figwidth() > 5 else ""
    links = links_html((f"{drawing.name}.{suffix}", suffix.upper()) for suffix in drawing.suffixes)
    svg = inline_svg(
        drawing.svg(), drawing.name, drawing.name.replace("_", " "), targets(study).__getitem__
    )
    return (
        f'<figure{wide} id="figure-{drawing.name}"><div class="scroll">{svg}</div>'
        f'<figcaption>{escape(drawing.caption)} <span class="links">{links} '
        '<button type="button" class="enlarge" hidden>Enlarge</button></span></figcaption>'
        "</figure>\n"
    )


def _provenance(study: Study, cells: pd.DataFrame) -> str:
    """Where and when the numbers were made; more than one value in a line means that the cells
    differ in it.
    """
    versions = [
        ", ".join(f"{name} {version}" for name, version in packages.items())
        for packages in cells["versions"].dropna()
    ]
    facts = {
        "git commit": _values(cells["git_commit"]),
        "versions": _values(pd.Series(versions, dtype=object)),
        "device": _values(cells["device"]),
        "threads": _values(cells["threads"]),
        "finished": _first_to_last(cells["finished_at"]),
        **({} if study.is_benchmark else {"training": _training_time(cells)}),
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in study.cells}))),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    links = links_html([("results.csv", "results.csv")])
    rows = "one row per cell" if study.is_benchmark else "one row per cell and evaluation"
    warning = ""
    if study.timed and any(
        cells[column].dropna().nunique() > 1 for column in ("device", "threads")
    ):
        warning = (
            '<p class="error">The cells ran on different devices or numbers of threads: '
            "their times cannot be compared.</p>"
        )
    resumed = "".join(
        f"<dt>resumed</dt><dd>{escape(line)}</dd>" for line in several_sessions(cells)
    )
    return f"{warning}<dl>{listed}{resumed}<dt>all numbers</dt><dd>{links}, {rows}</dd></dl>"


def _first_to_last(column: pd.Series) -> str:
    """The first and the last date of the cells."""
    dates = sorted(str(date) for date in column.dropna())
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else MISSING


def _training_time(cells: pd.DataFrame) -> str:
    """What all trainings took together."""
    hours = cells["train_seconds"].sum() / 3600
    return f"{hours:.2f} hours in all" if hours >= 1 else f"{60 * hours:.1f} minutes in all"


def _values(column: pd.Series) -> str:
    """The different values of a column."""
    values = [f"{value:g}" if isinstance(value, float) else str(value) for value in column.dropna()]
    return "; ".join(dict.fromkeys(values)) or MISSING
