"""One run: compose a config, train it, evaluate it."""

import time

# When this process started, as near as Python can tell: a run imports this file first.
STARTED = time.perf_counter()
