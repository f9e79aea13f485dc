"""What the runs of a study left on disk, as tidy tables: the door for a notebook.

    from ablations.results import load_curves, load_results

    # a name, a YAML file, a folder of runs, a Study; or several of them
    results = load_results("demo_hashes")
    # the paper's Table 2
    results.pivot_table(values="accuracy", index="variant", columns="eval")
    # every key of the config is a column, and NaN where a variant does not read it
    own = results.query("eval == 'own'")
    own.groupby("config.model.lsh.n_hashes")["bits_per_dim"].agg(["mean", "count"])
    curves = load_curves("demo_hashes").query("split == 'valid'")
    curves.pivot_table(values="accuracy", index="step", columns="variant").plot()

Failure is data: a cell that failed keeps its status (oom, failed, timeout, would_not_fit), one not
run yet is "missing", one whose study was edited since is "changed", and one whose result cannot be
read is "unreadable", the last two with the reason as their error. Their numbers are NaN, never 0.
Damaged rows of curves are left out; `study_problems` lists them. Only files are read; torch is
never imported.
"""

from ablations.results.cells import (
    finished_cells as finished_cells,
)
from ablations.results.cells import (
    load_cells as load_cells,
)
from ablations.results.cells import (
    study_problems as study_problems,
)
from ablations.results.cells import (
    variant_labels as variant_labels,
)
from ablations.results.curves import (
    load_coverage as load_coverage,
)
from ablations.results.curves import (
    load_curves as load_curves,
)
from ablations.results.evaluations import (
    score_rows as score_rows,
)
from ablations.results.load import (
    load_results as load_results,
)
