"""A figure of a report as HTML: its SVG in the page, its caption, and links to its files."""

from html import escape

from ablations.report.drawing.figure import Drawing
from ablations.report.writers.page.cells import links_html, targets
from ablations.report.writers.page.svg import inline_svg
from ablations.study import Study

WIDE_INCHES = 5  # a figure beyond it takes the whole width of the page


def figure_html(study: Study, drawing: Drawing) -> str:
    name = escape(drawing.name)
    wide = ' class="wide"' if drawing.figure.get_figwidth() > WIDE_INCHES else ""
    links = links_html((f"{drawing.name}.{suffix}", suffix.upper()) for suffix in drawing.suffixes)
    svg, most = inline_svg(drawing, title_of(drawing), targets(study).__getitem__)
    thinned = f" On this page a line has at most {most} points, in the files all." if most else ""
    return (
        f'<figure{wide} id="figure-{name}"><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Figure {escape(title_of(drawing))}">{svg}</div>'
        f'<figcaption>{escape(drawing.caption + thinned)} <span class="links">{links} '
        '<button type="button" class="enlarge" hidden>Enlarge</button></span></figcaption>'
        "</figure>\n"
    )


def title_of(drawing: Drawing) -> str:
    return drawing.name.replace("_", " ")
