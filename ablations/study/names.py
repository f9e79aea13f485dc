"""The folders of a study's cells: what may name one, and how long it may be."""

import os
import re
import unicodedata
from collections.abc import Iterable

from ablations.study.cell import Cell
from experiments.run_dir.files import short_hash, shortened
from reformer_pl.config import ConfigError

NAME_BYTES = 200  # of a cell's folder, so that a report can add to its name
FOLDER_BYTES = 255  # of any name, to the common file systems
PATH_BYTES = 4095  # of a path, to Linux
BELOW_BYTES = 256  # of what a run writes below its folder, such as evaluations/NAME.json


def cell_name(words: Iterable[str]) -> str:
    """The folder of a cell, from its labels. Raises ConfigError where they cannot name one."""
    parts = [unicodedata.normalize("NFC", word) for word in words]
    kept = [re.sub(r"(?<=[0-9][eE])\+(?=[0-9])", "", part) for part in parts]  # 1e+30 is 1e30
    name = "_".join(re.sub(r"[^\w=.-]+", "-", part).strip("-") for part in kept)
    if not name.strip("_"):  # labels of signs alone
        name = f"label-{short_hash(' / '.join(parts))}"
    if name.startswith(".") or name == "report":
        raise ConfigError(
            f"the label {' / '.join(parts)!r} cannot name a cell's directory: "
            "use another one, of letters and digits, such as 0.5 for .5"
        )
    return shortened(name, " / ".join(parts), NAME_BYTES, NAME_BYTES)


def check_label(axis: str, label: str) -> None:
    """Raises ConfigError for one that no figure can show."""
    if not label.isprintable():
        raise ConfigError(
            f"axis {axis}: the label {label!r} cannot stand in a figure: "
            "leave out line breaks and other letters that are not printed"
        )


def check_paths(cells: Iterable[Cell]) -> None:
    """Raises ConfigError for a folder that a file system would refuse, before anything is made."""
    for cell in cells:
        path = os.path.abspath(cell.directory)
        try:
            n_bytes = len(os.fsencode(path))
            longest = max(path.split(os.sep), key=lambda part: len(os.fsencode(part)))
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"the folder {path!r} cannot be written in this system's encoding, "
                f"{error.encoding}: set PYTHONUTF8=1"
            ) from error
        if len(os.fsencode(longest)) > FOLDER_BYTES:
            raise ConfigError(
                f"the name {longest[:20]}... has {len(os.fsencode(longest))} bytes, "
                f"more than {FOLDER_BYTES}: give a shorter --runs-dir or study name"
            )
        if n_bytes + BELOW_BYTES > PATH_BYTES:
            raise ConfigError(
                f"the folder of {cell.name[:20]}... has {n_bytes} bytes in its path, more than "
                f"{PATH_BYTES - BELOW_BYTES}: give a shorter --runs-dir"
            )
