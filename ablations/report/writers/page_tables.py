"""A table of a report as HTML: a body for each variant with the paper's row below its own, so that
both move as one when sorted.
"""

from html import escape

from ablations.report.table import Entry, Row, Table, is_best, number_and_interval
from ablations.report.writers.page_cells import links_html

LONG = 24  # letters from which a text may break into lines


def table_html(table: Table, variants: list[str]) -> str:
    """`variants` are numbered as in `page_cells.targets`; a row that is none of theirs, a baseline,
    stays below the others.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    bodies, foot = [], []
    for row in table.rows:
        match row.kind:
            case "ours":
                number = variants.index(row.variant)
                bodies.append(f'<tbody data-variants="{number}">\n<tr>{_cells(row)}</tr>')
            case "paper":
                bodies[-1] += f'\n<tr class="paper">{_cells(row)}</tr>'
            case "baseline":
                foot.append(f'<tr class="baseline">{_cells(row)}</tr>')
    body = "".join(f"{text}\n</tbody>\n" for text in bodies)
    below = f"<tfoot>\n{chr(10).join(foot)}\n</tfoot>\n" if foot else ""
    links = links_html(
        (f"{table.name}.{suffix}", suffix.upper()) for suffix in ("csv", "md", "tex")
    )
    return (
        f'<figure class="table" id="table-{escape(table.name)}"><div class="scroll"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n{body}{below}</table></div>"
        f'<figcaption>{escape(table.caption)} <span class="links">{links}</span></figcaption>'
        "</figure>\n"
    )


def _cells(row: Row) -> str:
    return f'<th scope="row">{escape(row.label)}</th>' + "".join(map(_cell, row.entries))


def _cell(entry: Entry) -> str:
    """Bold where best; the interval is apart from its number, for it stands below it."""
    number, interval = map(escape, number_and_interval(entry))
    value = f"<strong>{number}</strong>" if is_best(entry) else number
    value += f' <span class="interval">{interval}</span>' if interval else ""
    kind = ' class="long"' if len(number_and_interval(entry)[0]) > LONG else ""
    return f"<td{kind}>{value}</td>"
