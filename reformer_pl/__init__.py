"""The Reformer's ideas as interchangeable parts (arXiv 2001.04451).

The public API stands here, by name. A name is imported when it is first used, so that
`import reformer_pl` takes neither torch nor Lightning.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "reformer_pl.attention": ("Memo", "MultiHeadAttention", "build_attention"),
    "reformer_pl.config": (
        "AxialConfig",
        "BenchmarkConfig",
        "ConfigError",
        "LSHConfig",
        "LocalConfig",
        "ModelConfig",
        "OptimConfig",
        "RunConfig",
        "TaskConfig",
        "TrainerConfig",
    ),
    "reformer_pl.config.saved": ("load_config",),
    "reformer_pl.lsh": ("lsh_attention",),
    "reformer_pl.measure": ("attention_coverage", "predict_memory"),
    "reformer_pl.model": ("SequenceModel",),
    "reformer_pl.module": ("LitSequenceModel",),
    "reformer_pl.residual": ("run_reversible",),
    "reformer_pl.tasks": ("build_task",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
