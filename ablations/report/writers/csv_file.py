"""A table of numbers as a CSV file, in which no text is a formula."""

from pathlib import Path
from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a formula of a spreadsheet begins


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Without the index. A text that a spreadsheet would run gets an apostrophe in front."""
    harmless = frame.rename(columns=_harmless)
    for column in harmless.select_dtypes(include=["object", "string"]):
        harmless[column] = harmless[column].map(_harmless)
    harmless.to_csv(path, index=False)


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
