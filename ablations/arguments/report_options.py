"""The options of `python -m ablations report`."""

import argparse

from ablations.arguments.place import place
from ablations.report.writers.formats import DEFAULT_FORMATS, FORMATS

STYLE = (
    "draw for a venue: exact column widths, its fonts, text of 6 pt or more; icml2024, "
    "neurips2024, iclr2024 and others; needs pip install -e '.[style]' (default: our own)"
)
ONLY = (
    "only these words of the study's report, separated by commas; results.csv and the page, which "
    "show the whole report, stay as they are unless --format names html"
)
FORMAT = (
    f"only these kinds of files, separated by commas: {', '.join(FORMATS)} "
    f"(default: {', '.join(DEFAULT_FORMATS)})"
)
OUT = (
    "write into this folder, made if needed; of several studies each into a folder of its name "
    "there (default: runs/STUDY/report)"
)


def add_report_options(sub: argparse.ArgumentParser) -> None:
    """Which parts are written, in which formats and style, and where."""
    sub.add_argument("--style", metavar="VENUE", help=STYLE)
    sub.add_argument("--only", type=_words, default=(), metavar="PARTS", help=ONLY)
    sub.add_argument("--format", type=_formats, metavar="FORMATS", help=FORMAT)
    sub.add_argument("--out", type=place, metavar="DIR", help=OUT)


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"'{text}' must be words separated by commas")
    return words


def _formats(text: str) -> tuple[str, ...]:
    words = _words(text)
    for word in words:
        if word not in FORMATS:
            raise argparse.ArgumentTypeError(f"'{word}' is unknown: choose {', '.join(FORMATS)}")
    return words
