"""A report as CSV: every result in results.csv, and the bare numbers of each table."""

from pathlib import Path

from ablations.report.report import Report
from ablations.results import score_rows


def write_csv(report: Report, directory: Path) -> None:
    """results.csv and <table>.csv."""
    score_rows(report.study).to_csv(directory / "results.csv", index=False)
    for table in report.tables:
        table.data.to_csv(directory / f"{table.name}.csv", index=False)
