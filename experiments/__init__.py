"""One run: compose a config, train it, evaluate it."""

import sys
import time
from pathlib import Path

# When this process started, as near as Python can tell: a run imports this file first.
STARTED = time.perf_counter()

# `python -m experiments.train` puts the working directory first, where a package of the user's may
# be named reformer_pl. The one beside this package is meant.
if sys.argv[:1] == ["-m"]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
