"""A table of a report as HTML: a body for each variant with the paper's row below its own, so that both move as one when sorted."""

from collections.abc import Iterable
from html import escape

from ablations.report.table import Table
from ablations.report.writers.page_cells import links_html


def table_html(table: Table, variants: list[str]) -> str:
    """`variants` are numbered as in `page_cells.targets`; a row that is none of theirs, a baseline, stays below the others."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    bodies, foot, shown = [], [], None
    for i, row in enumerate(table.rows):
        variant = variant_of_row(row[0], variants)
        cells = "".join(_cell(text, (i, j) in table.best, j) for j, text in enumerate(row))
        if variant is None:
            foot.append(f'<tr class="baseline">{cells}</tr>')
        elif row[0] == f"{shown}, paper":
            bodies[-1] += f'\n<tr class="paper">{cells}</tr>'
        else:
            shown = row[0]
            bodies.append(f'<tbody data-variants="{variant}">\n<tr>{cells}</tr>')
    body = "".join(f"{text}\n</tbody>\n" for text in bodies)
    below = f"<tfoot>\n{chr(10).join(foot)}\n</tfoot>\n" if foot else ""
    links = links_html(
        (f"{table.name}.{suffix}", suffix.upper()) for suffix in ("csv", "md", "tex")
    )
    return (
        f'<figure class="table" id="table-{escape(table.name)}"><div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n{body}{below}'
        f'</table></div><figcaption>{escape(table.caption)} <span class="links">{links}</span></figcaption></figure>\n'
    )


def variant_of_row(label: str, variants: Iterable[str]) -> int | None:
    """The number of the variant a row's label begins with ("LSH-4", "LSH-4, paper", "LSH-4, 2 rounds"), the longest that fits."""
    fitting = [
        (len(variant), i)
        for i, variant in enumerate(variants)
        if label == variant or label.startswith(f"{variant}, ")
    ]
    return max(fitting)[1] if fitting else None


def _cell(text: str, best: bool, column: int) -> str:
    """Bold where best, a label as the row's header, and an interval apart from its number, for it stands below it."""
    if column == 0:
        return f'<th scope="row">{escape(text)}</th>'
    number, interval, rest = text.partition(" [")
    value = f"<strong>{escape(number)}</strong>" if best else escape(number)
    value += f' <span class="interval">[{escape(rest)}</span>' if interval else ""
    kind = ' class="long"' if len(number) > 24 else ""
    return f"<td{kind}>{value}</td>"
