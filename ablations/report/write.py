"""A report as files, by each of the writers.

runs/<study>/report/{results.csv, <table>.{csv,md,tex}, <figure>.{png,pdf}, index.html}
"""

from pathlib import Path

from ablations.report.report import Report
from ablations.report.writers.csv import write_csv
from ablations.report.writers.latex import write_latex
from ablations.report.writers.markdown import write_markdown
from ablations.report.writers.page import write_page
from reformer_pl.config import ConfigError


def write_report(report: Report) -> Path:
    """Write the whole report and return the path of index.html.

    Raises ConfigError where nothing can be written.
    """
    directory = report.study.directory / "report"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_csv(report, directory)
        write_markdown(report, directory)
        write_latex(report, directory)
        for figure in report.figures:
            figure.save(directory)
        return write_page(report, directory)
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written to {directory}: {error.strerror}"
        ) from error
