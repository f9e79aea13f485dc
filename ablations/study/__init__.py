"""A study: its YAML, its cells, and a folder of runs read as one."""

from ablations.study.load import (
    load_study as load_study,
)
from ablations.study.study import (
    Sample as Sample,
)
from ablations.study.study import (
    Study as Study,
)
from ablations.study.study import (
    compose_cells as compose_cells,
)
from ablations.study.study import (
    compose_variants as compose_variants,
)
