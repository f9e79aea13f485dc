"""The Reformer's ideas as interchangeable parts (arXiv 2001.04451). A name loads its module when it is used."""

from importlib import import_module
from typing import Any

_HOMES = {
    "LitSequenceModel": "reformer_pl.module",
    "SequenceModel": "reformer_pl.model",
    "lsh_attention": "reformer_pl.lsh",
    "MultiHeadAttention": "reformer_pl.attention",
    "run_reversible": "reformer_pl.residual",
    "build_task": "reformer_pl.tasks",
    "predict_memory": "reformer_pl.measure",
    "attention_coverage": "reformer_pl.coverage",
    "RunConfig": "reformer_pl.config",
    "ModelConfig": "reformer_pl.config",
    "LSHConfig": "reformer_pl.config",
}


def __getattr__(name: str) -> Any:
    if name == "load_config":
        return import_module("reformer_pl.config").load
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
