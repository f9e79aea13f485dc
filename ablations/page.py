"""The report's page: one HTML file that needs nothing beside it and no network, in a browser or on paper."""

import base64
import os
import shlex
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ablations.grid import Cell
from ablations.plots import Drawing
from ablations.study import Study
from ablations.tables import MISSING, Table

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{description}</p>
<p class="counts">{counts}</p>
</header>
<main>
{body}
</main>
<footer>Written {written}.</footer>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.2rem 1.2rem 3rem; max-width: 75rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .8rem; padding-bottom: .25rem; border-bottom: 1px solid #ddd; }
p { margin: .5rem 0; max-width: 44rem; }
a { color: #0b57a4; }
.lead { font-size: 1.06rem; color: #333; }
.counts span { display: inline-block; margin: .15rem .4rem .15rem 0; padding: .1rem .6rem; border-radius: 1rem; font-size: .88rem;
  border: 1px solid #bbb; background: #f4f4f4; }
.counts .ok, .status.ok { background: #e6f3ec; border-color: #8fc3a8; color: #0d5a35; }
.counts .bad, .status.bad { background: #fbe9e4; border-color: #dd9a85; color: #8c2f12; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; border: solid #1a1a1a; border-width: 2px 0; }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: .2rem; }
thead th { border-bottom: 1px solid #1a1a1a; font-weight: 600; vertical-align: bottom; white-space: normal; }
td { vertical-align: top; }
table.seeds td:last-child { white-space: normal; min-width: 7rem; }
td.long { white-space: normal; min-width: 11rem; }
tr.paper td, tr.baseline td { color: #5a5a5a; font-style: italic; }
tr.baseline td { border-top: 1px solid #bbb; }
figure { margin: 0; break-inside: avoid; }
figure.table { margin: 0 0 2rem; }
figcaption { font-size: .9rem; color: #444; margin: .5rem 0 0; max-width: 44rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1.8rem 2.2rem; align-items: flex-start; }
.figures figure { flex: 0 1 32rem; min-width: 0; }
.figures figure.wide { flex-basis: 100%; }
.figures img { display: block; width: 100%; height: auto; }
.figures figure.wide img { max-width: 61rem; min-width: 38rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; font-size: .92rem; margin: 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.cell { margin: 0 0 1rem; break-inside: avoid; }
.cell p { margin: 0 0 .2rem; max-width: none; }
.status { display: inline-block; padding: 0 .5rem; border: 1px solid #bbb; border-radius: 1rem; font-size: .82rem; background: #f4f4f4; }
.links { font-size: .86rem; } .links a { margin-left: .35rem; }
.error { color: #8c2f12; font-size: .88rem; }
pre { margin: 0; padding: .5rem .7rem; background: #f6f6f4; border: 1px solid #e4e4e0; border-radius: 4px; font-size: .78rem;
  line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }
footer { margin-top: 2.5rem; font-size: .85rem; color: #666; }
@media (max-width: 40rem) { body { padding: 1.2rem .9rem 2rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .5rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } a { color: inherit; } .scroll { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: .15rem .25rem; } td:last-child { min-width: 0; }
  .figures figure { flex-basis: 45%; } h2 { break-after: avoid; } }
"""


def write_page(study: Study, cells: pd.DataFrame, tables: list[Table], drawings: list[Drawing], directory: Path) -> Path:
    """index.html in `directory`, where the figures' PNG files already are. Returns its path."""
    parts = [_section("Results", "".join(map(_table, tables)))]
    if drawings:
        parts.append(_section("Figures", f'<div class="figures">{"".join(_figure(d, directory) for d in drawings)}</div>'))
    if study.notes:
        parts.append(_section("Notes", "".join(f"<p>{escape(note)}</p>" for note in study.notes)))
    parts.append(_section("Provenance", _provenance(study, cells)))
    parts.append(_section("Cells", _cells(study, cells, directory)))
    page = PAGE.format(
        title=escape(study.name), style=STYLE, description=escape(study.description), counts=_counts(cells["status"]),
        body="\n".join(parts), written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )  # fmt: skip
    path = directory / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _section(title: str, inner: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{inner}\n</section>"


def _counts(statuses: pd.Series) -> str:
    counts = statuses.value_counts().to_dict()
    counts = {"ok": counts.pop("ok", 0), **counts}
    marks = [f'<span class="{_mood(status)}">{count} {escape(status)}</span>' for status, count in counts.items()]
    return f"<span>{len(statuses)} cells</span>" + "".join(marks)


def _mood(status: str) -> str:
    return {"ok": "ok", "missing": "absent"}.get(status, "bad")


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    body = []
    for i, row in enumerate(table.rows):
        kind = "paper" if row[0].endswith(", paper") else "baseline" if row[-1] == "baseline" else ""
        body.append(f'<tr class="{kind}">' + "".join(_data_cell(text, (i, j) in table.best, j > 0) for j, text in enumerate(row)) + "</tr>")
    links = _links((f"{table.name}.{suffix}", suffix.upper()) for suffix in ("csv", "md", "tex"))
    seeds = ' class="seeds"' if table.header[-1] == "seeds" else ""
    grid = f"<table{seeds}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(body)}\n</tbody></table>"
    return (
        f'<figure class="table"><div class="scroll">{grid}</div>'
        f'<figcaption>{escape(table.caption)} <span class="links">{links}</span></figcaption></figure>\n'
    )


def _data_cell(text: str, best: bool, may_wrap: bool) -> str:
    kind = ' class="long"' if may_wrap and len(text) > 24 else ""
    return f"<td{kind}><strong>{escape(text)}</strong></td>" if best else f"<td{kind}>{escape(text)}</td>"


def _figure(drawing: Drawing, directory: Path) -> str:
    data = base64.b64encode((directory / f"{drawing.name}.png").read_bytes()).decode()
    wide = ' class="wide"' if drawing.figure.get_figwidth() > 5 else ""
    links = _links((f"{drawing.name}.{suffix}", suffix.upper()) for suffix in ("pdf", "png"))
    return (
        f'<figure{wide}><div class="scroll"><img alt="{escape(drawing.caption)}" src="data:image/png;base64,{data}"></div>'
        f'<figcaption>{escape(drawing.caption)} <span class="links">{links}</span></figcaption></figure>\n'
    )


def _provenance(study: Study, cells: pd.DataFrame) -> str:
    """Where and when the numbers were made; more than one value in a line means that the cells differ in it."""
    versions = [", ".join(f"{name} {version}" for name, version in found.items()) for found in cells["versions"].dropna()]
    dates = sorted(str(date) for date in cells["finished_at"].dropna())
    hours = cells["train_seconds"].sum() / 3600
    facts = {
        "git commit": _values(cells["git_commit"]),
        "versions": _values(pd.Series(versions, dtype=object)),
        "device": _values(cells["device"]),
        "threads": _values(cells["threads"]),
        "finished": MISSING if not dates else dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}",
        **({} if study.is_benchmark else {"training": f"{hours:.2f} hours in all" if hours >= 1 else f"{60 * hours:.1f} minutes in all"}),
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in study.cells}))),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    links = _links([("results.csv", "results.csv")])
    rows = "one row per cell" if study.is_benchmark else "one row per cell and evaluation"
    warning = ""
    if study.timed and any(cells[column].dropna().nunique() > 1 for column in ("device", "threads")):
        warning = '<p class="error">The cells ran on different devices or numbers of threads: their times cannot be compared.</p>'
    return f"{warning}<dl>{listed}<dt>all numbers</dt><dd>{links}, {rows}</dd></dl>"


def _values(column: pd.Series) -> str:
    found = [f"{value:g}" if isinstance(value, float) else str(value) for value in column.dropna()]
    return "; ".join(dict.fromkeys(found)) or MISSING


def _cells(study: Study, cells: pd.DataFrame, directory: Path) -> str:
    intro = "Each command runs its cell from the root of the repository: an interrupted one resumes, a finished one prints its result."
    rows = zip(study.cells, cells.to_dict("records"), strict=True)
    return f"<p>{intro}</p>\n" + "".join(_cell(cell, row, directory) for cell, row in rows)


def _cell(cell: Cell, row: dict[str, object], directory: Path) -> str:
    folder = Path(os.path.relpath(cell.directory, directory))
    files = [name for name in ("config.yaml", "log.txt", "metrics.jsonl", "result.json") if (cell.directory / name).exists()]
    links = _links((str(folder / name), name) for name in files)
    status, error = str(row["status"]), row["error"]
    told = f'<p class="error">{escape(str(error))}</p>' if isinstance(error, str) else ""
    return (
        f'<div class="cell"><p><strong>{escape(cell.train)}</strong>, seed {cell.seed} '
        f'<span class="status {_mood(status)}">{escape(status)}</span> <span class="links">{links}</span></p>{told}'
        f"<pre>{escape(pasteable(cell))}</pre></div>\n"
    )


def pasteable(cell: Cell) -> str:
    """The cell's command for a shell at the repository's root, the interpreter written as python."""
    words = [word.replace(f"{Path.cwd()}{os.sep}", "") for word in cell.command()[1:]]
    return shlex.join(["python", *words])


def _links(files: Iterable[tuple[str, str]]) -> str:
    return " ".join(f'<a href="{escape(quote(path, safe="/="))}">{escape(name)}</a>' for path, name in files)
