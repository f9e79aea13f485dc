"""Many runs: a study is a grid of cells, each a command.

Results are read back from the files that the runs leave.
"""

import sys
from pathlib import Path

# `python -m ablations` puts the working directory first, where a package of the user's may be named
# experiments or reformer_pl. Its neighbours are those beside this package.
if sys.argv[:1] == ["-m"]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
