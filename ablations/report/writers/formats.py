"""The kinds of files that a report has, named by their endings."""

FORMATS = ("csv", "md", "tex", "png", "pdf", "html", "svg")
DEFAULT_FORMATS = tuple(name for name in FORMATS if name != "svg")
