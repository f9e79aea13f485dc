"""Whose cells an artist of a figure shows, written into matplotlib's `gid`, where the page's writer
reads it.

`axes.plot(x, y, gid=belongs("LSH-4"))`. PNG and PDF know nothing of it.
"""

import json

from matplotlib.artist import Artist
from matplotlib.container import Container


def belongs(*labels: str, linked: bool = True) -> str:
    """The gid of an artist: the label of the cells it shows, or of a line with markers one label a
    point.

    Unlinked, it only dims with its variant: an error bar, a band, a legend's entry, the paper's own
    line.
    """
    return json.dumps({"labels": labels, "linked": linked})


def unlinked(gid: str | None) -> str | None:
    """The same gid for something that stands for the artist but shows no cell: its entry in a
    legend.
    """
    return belongs(*json.loads(gid)["labels"], linked=False) if gid else None


def gid_of(artist: Artist | Container) -> str | None:
    """The gid of a line, or of the line of error bars."""
    return artist[0].get_gid() if isinstance(artist, Container) else artist.get_gid()
