"""The typed configuration of one run, its rules, and how it is read.

Neither torch nor Hydra is imported.
"""

from reformer_pl.config.loading import (
    changes as changes,
)
from reformer_pl.config.loading import (
    changes_since as changes_since,
)
from reformer_pl.config.loading import (
    check_installed as check_installed,
)
from reformer_pl.config.loading import (
    check_tracker as check_tracker,
)
from reformer_pl.config.loading import (
    flat as flat,
)
from reformer_pl.config.loading import (
    load as load,
)
from reformer_pl.config.loading import (
    one_line as one_line,
)
from reformer_pl.config.loading import (
    override_values as override_values,
)
from reformer_pl.config.loading import (
    read_yaml as read_yaml,
)
from reformer_pl.config.loading import (
    to_dict as to_dict,
)
from reformer_pl.config.loading import (
    typed as typed,
)
from reformer_pl.config.rules import ConfigError as ConfigError
from reformer_pl.config.run_rules import check as check
from reformer_pl.config.schema import (
    AxialConfig as AxialConfig,
)
from reformer_pl.config.schema import (
    BenchmarkConfig as BenchmarkConfig,
)
from reformer_pl.config.schema import (
    BlocksConfig as BlocksConfig,
)
from reformer_pl.config.schema import (
    LocalConfig as LocalConfig,
)
from reformer_pl.config.schema import (
    LSHConfig as LSHConfig,
)
from reformer_pl.config.schema import (
    ModelConfig as ModelConfig,
)
from reformer_pl.config.schema import (
    OptimConfig as OptimConfig,
)
from reformer_pl.config.schema import (
    RunConfig as RunConfig,
)
from reformer_pl.config.schema import (
    SinksConfig as SinksConfig,
)
from reformer_pl.config.schema import (
    TaskConfig as TaskConfig,
)
from reformer_pl.config.schema import (
    TopKConfig as TopKConfig,
)
from reformer_pl.config.schema import (
    TrainerConfig as TrainerConfig,
)
