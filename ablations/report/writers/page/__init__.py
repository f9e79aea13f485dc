"""The report's page: one HTML file that needs nothing beside it and no network."""

from ablations.report.writers.page.document import write_page

__all__ = ["write_page"]
