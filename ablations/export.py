"""`python -m ablations export`: all results of some studies as one CSV or Parquet file."""

from importlib.util import find_spec
from pathlib import Path

from reformer_pl.config import ConfigError

FORMATS = ("csv", "parquet")


def export(sources: list[str], format: str, out: Path, runs_dir: Path) -> int:
    """Write `results.load_results` of the sources to `out` and return the number of rows. Raises ConfigError."""
    if format == "parquet" and find_spec("pyarrow") is None:
        raise ConfigError("--format parquet needs the package pyarrow: pip install -e '.[parquet]'")
    from ablations.results import load_results  # pandas takes a second to import

    frame = load_results(*sources, runs_dir=runs_dir)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if format == "parquet":
            frame.to_parquet(out, engine="pyarrow", index=False)
        else:
            frame.to_csv(out, index=False)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from error
    return len(frame)
