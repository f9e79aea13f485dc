"""A path as a user writes it: taken as it stands, but for a leading ~, and never as a URL.

Hydra and YAML would read some paths as numbers, lists or comments. Overrides of PATH_KEYS are
therefore read by `as_typed`, whoever composes them.
"""

import os
import re
import unicodedata
from pathlib import Path

from reformer_pl.config.rules import ConfigError

PATH_KEYS = ("out_dir", "task.source")
# A whole value in quotes, as Hydra reads it: a backslash counts before a quote and at the end.
QUOTED = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*""", re.DOTALL)
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # control, undecodable, and the breaks of Unicode
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def as_typed(value: str) -> str | None:
    """The path that the value of an override means, where its grammar is to be left alone.

    None where it is to be read by that grammar: in quotes, empty, null, or with a reference ${...}.
    """
    if not value.strip() or value in ("null", "???") or "${" in value or QUOTED.fullmatch(value):
        return None
    return value


def local_path(path: str, key: str = "") -> str:
    """`path` with ~ and ~user expanded. It is the value of `key`, where it has one.

    Raises ConfigError for a URL, and for what no file of a run could be named by.
    """
    equals = "=" if key else ""
    value = f"{key}{equals}{path}"
    if any(unicodedata.category(character) in CONTROL for character in path):
        raise ConfigError(
            f"{key}{equals}{path!r} has a line break or another control character: "
            "give a path without"
        )
    if "${" in path:
        raise ConfigError(f"{value} has ${{, which a config reads as a reference: rename it")
    if URL.match(path):
        raise ConfigError(f"{value} is a URL: give the path of a file system that is mounted")
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        name = path.split("/", 1)[0]
        raise ConfigError(
            f"{value}: the home directory {name} is not known here: write the path in full, "
            f"or ./{path} for a folder of that name"
        )
    return expanded


def local_place(path: str | Path) -> Path:
    """`local_path` of a file or folder that a command or a caller names.

    A name that begins with ~ then stands for itself wherever it is read again.
    """
    place = Path(local_path(str(path)))
    return place.absolute() if str(place).startswith("~") else place
