"""A table of a report as HTML: a body for each variant with the paper's row below its own, so that
both move as one when sorted.

How many seeds ended well stands below the row's label, which never scrolls out of sight.
"""

from html import escape

from ablations.report.table import Entry, Row, Table, is_best, number_and_interval, text_of
from ablations.report.writers.page.cells import links_html

LONG = 24  # letters from which a text may break into lines
SEEDS = "seeds"  # the header of the column that says how the seeds ended


def table_html(table: Table, variants: list[str]) -> str:
    """`variants` are numbered as in `cells.targets`; a row that is none of theirs, a baseline,
    stays below the others.
    """
    header, lines = table.header, [_line(row, table.header) for row in table.rows]
    if SEEDS in header:
        header = tuple(name for name in header if name != SEEDS)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    bodies, foot = [], []
    for row, line in zip(table.rows, lines, strict=True):
        match row.kind:
            case "ours":
                number = variants.index(row.variant)
                bodies.append(f'<tbody data-variants="{number}">\n<tr>{line}</tr>')
            case "paper":
                bodies[-1] += f'\n<tr class="paper">{line}</tr>'
            case "baseline":
                foot.append(f'<tr class="baseline">{line}</tr>')
    body = "".join(f"{text}\n</tbody>\n" for text in bodies)
    below = f"<tfoot>\n{chr(10).join(foot)}\n</tfoot>\n" if foot else ""
    links = links_html(
        (f"{table.name}.{suffix}", suffix.upper()) for suffix in ("csv", "md", "tex")
    )
    return (
        f'<figure class="table" id="table-{escape(table.name)}"><div class="scroll" role="region" '
        f'aria-label="Table {escape(table.name)}" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n{body}{below}</table></div>"
        f'<figcaption>{escape(table.caption)} <span class="links">{links}</span></figcaption>'
        "</figure>\n"
    )


def _line(row: Row, header: tuple[str, ...]) -> str:
    entries, seeds = list(row.entries), ""
    if SEEDS in header:
        words = text_of(entries.pop(header.index(SEEDS) - 1))
        seeds = f'<span class="seeds">{escape(words)}</span>' if words else ""
    label = f'<span class="label">{escape(row.label)}</span>'
    return f'<th scope="row">{label}{seeds}</th>' + "".join(map(_cell, entries))


def _cell(entry: Entry) -> str:
    """Bold where best; the interval is apart from its number, for it stands below it."""
    number, interval = map(escape, number_and_interval(entry))
    value = f"<strong>{number}</strong>" if is_best(entry) else number
    value += f' <span class="interval">{interval}</span>' if interval else ""
    kind = ' class="long"' if len(number_and_interval(entry)[0]) > LONG else ""
    return f"<td{kind}>{value}</td>"
