"""A report as CSV: every result in results.csv, and the bare numbers of each table."""

from pathlib import Path

from ablations.report.report import Report
from ablations.report.writers.csv_file import write_frame
from ablations.results import score_rows


def write_csv(report: Report, directory: Path) -> None:
    """results.csv, of a whole report, and <table>.csv."""
    if report.is_whole:
        write_frame(score_rows(report.study), directory / "results.csv")
    for table in report.tables:
        write_frame(table.data, directory / f"{table.name}.csv")
