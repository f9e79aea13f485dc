"""A report as files, by each of the writers.

runs/<study>/report/{results.csv, <table>.{csv,md,tex}, <figure>.{png,pdf}, index.html}
"""

from collections.abc import Sequence
from pathlib import Path

from ablations.report.report import Report
from ablations.report.writers.csv import write_csv
from ablations.report.writers.formats import DEFAULT_FORMATS
from ablations.report.writers.latex import write_latex
from ablations.report.writers.markdown import write_markdown
from ablations.report.writers.page import write_page
from reformer_pl.config import ConfigError


def write_report(
    report: Report, directory: Path | None = None, formats: Sequence[str] | None = None
) -> Path:
    """Write the report into a folder (default: runs/STUDY/report); some formats of it, if given.

    Returns the path of index.html, or the folder where no page is written. Of some parts alone
    there is no page unless it is asked for. Raises ConfigError where nothing can be written.
    """
    directory = report.study.directory / "report" if directory is None else directory
    if formats is None:
        formats = [name for name in DEFAULT_FORMATS if report.is_whole or name != "html"]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if "csv" in formats:
            write_csv(report, directory)
        if "md" in formats:
            write_markdown(report, directory)
        if "tex" in formats:
            write_latex(report, directory)
        for figure in report.figures:
            figure.save(directory, formats)
        if "html" in formats:
            return write_page(report, directory)
        return directory
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written to {directory}: {error.strerror}"
        ) from error
