"""One run: compose a config, train it, evaluate it."""

import time

STARTED = (
    time.perf_counter()
)  # of this process, as near as Python can tell: this file is the first that a run imports
