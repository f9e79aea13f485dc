"""The report's page: one HTML file that needs nothing beside it and no network, in a browser or on
paper, with a script or without.

page.html is its frame and page.css its style. page.js sorts its tables, filters by axis value and
copies commands; figures.js shows the values of figures, zooms them and draws them again.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path

import pandas as pd

from ablations.report.numbers import MISSING
from ablations.report.report import Report
from ablations.report.variant_means import several_sessions
from ablations.report.writers.page.cells import cells_html, links_html, mood, targets, variant_of
from ablations.report.writers.page.figures import figure_html, title_of
from ablations.report.writers.page.filter import filter_html
from ablations.report.writers.page.findings import Finding, failures, findings
from ablations.report.writers.page.tables import table_html
from ablations.study import Study
from experiments.run_dir.durable import replace_text

PAGE, STYLE, *SCRIPTS = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("page.html", "page.css", "figures.js", "page.js")
)


def write_page(report: Report, directory: Path) -> Path:
    """index.html in `directory`. Returns its path."""
    study, cells = report.study, report.cells
    variants = list(dict.fromkeys(variant_of(study).values()))
    sections = {"Findings": _findings(report)}
    if report.problems:
        lines = "".join(f'<p class="error">{escape(line)}</p>' for line in report.problems)
        sections["Gone or unreadable"] = lines
    sections["Results"] = "".join(table_html(table, variants) for table in report.tables)
    if report.figures:
        figures = "".join(figure_html(study, figure) for figure in report.figures)
        sections["Figures"] = f'<div class="figures">{figures}</div>'
    if study.notes:
        sections["Notes"] = "".join(f"<p>{escape(note)}</p>" for note in study.notes)
    sections["Provenance"] = _provenance(study, cells)
    sections["Cells"] = cells_html(study, cells, directory)
    within = {
        "Results": [(f"table-{table.name}", _plain(table.name)) for table in report.tables],
        "Figures": [(f"figure-{figure.name}", title_of(figure)) for figure in report.figures],
    }
    page = PAGE.format(
        title=escape(study.name),
        style=STYLE,
        script="\n".join(SCRIPTS),
        description=escape(study.description),
        counts=_counts(cells["status"]),
        contents=_contents(sections, within),
        filter=filter_html(study),
        body="\n".join(_section(title, inner) for title, inner in sections.items()),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )
    path = directory / "index.html"
    replace_text(path, page)
    return path


def _section(title: str, inner: str) -> str:
    return f'<section id="{_id(title)}">\n<h2>{title}</h2>\n{inner}\n</section>'


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _contents(titles: Iterable[str], within: dict[str, list[tuple[str, str]]]) -> str:
    """Links to the sections, and to the tables and figures in them."""
    items = []
    for title in titles:
        links = "".join(
            f'<li><a href="#{escape(id)}">{escape(words)}</a></li>'
            for id, words in within.get(title, [])
        )
        below = f"<ul>{links}</ul>" if links else ""
        items.append(f'<li><a href="#{_id(title)}">{title}</a>{below}</li>')
    return f"<ul>{''.join(items)}</ul>"


def _findings(report: Report) -> str:
    """Sentences that the data make, the cells that ended badly last."""
    return "".join(
        f'<ul class="{kind}">{"".join(_finding(report.study, one) for one in some)}</ul>'
        for kind, some in (("found", findings(report)), ("failures", failures(report)))
        if some
    )


def _finding(study: Study, finding: Finding) -> str:
    """The sentence, in which each label is a link to its cells."""
    places = targets(study)
    names = sorted(finding.labels, key=len, reverse=True)
    words = "|".join(map(re.escape, names))
    parts = re.split(f"({words})", finding.text) if names else [finding.text]
    linked = (
        f'<a href="#{escape(places[part].id)}">{escape(part)}</a>' if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )
    return f"<li>{''.join(linked)}</li>"


def _counts(statuses: pd.Series) -> str:
    counts = statuses.value_counts().to_dict()
    counts = {"ok": counts.pop("ok", 0), **counts}
    marks = [
        f'<span class="{mood(status)}">{count} {escape(status)}</span>'
        for status, count in counts.items()
    ]
    return f"<span>{len(statuses)} cells</span>" + "".join(marks)


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
