"""A table of numbers as a CSV file, in which no text is a formula."""

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.run_dir.durable import replace_file
from reformer_pl.config import ConfigError

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a formula of a spreadsheet begins


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Without the index. A text that a spreadsheet would run gets an apostrophe in front."""
    harmless = frame.rename(columns=_harmless)
    for column in harmless.select_dtypes(include=["object", "string"]):
        harmless[column] = harmless[column].map(_harmless)
    data = _packed(harmless.to_csv(index=False).encode(), path)
    replace_file(path, lambda partial: partial.write_bytes(data))


def _packed(data: bytes, path: Path) -> bytes:
    """As the ending of the name asks. Raises ConfigError for one that is not written."""
    match path.suffix.lower():
        case ".gz":
            return gzip.compress(data, mtime=0)
        case ".bz2":
            return bz2.compress(data)
        case ".xz":
            return lzma.compress(data)
        case ".zip" | ".zst" | ".tar" | ".tgz" | ".7z":
            raise ConfigError(f"{path} would be no {path.suffix}: end its name in .csv or .csv.gz")
    return data


def _harmless(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
