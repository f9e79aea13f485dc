"""Tasks: one LightningDataModule per file."""

from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.config.rules import TASKS
from reformer_pl.tasks.batches import SequenceData


def build_task(config: RunConfig) -> SequenceData:
    """The data module that task.name names."""
    return task_class(config.task.name)(config)


def task_class(name: str) -> type[SequenceData]:
    """Its class, which knows its vocab_size and its loss without reading any data."""
    match name:
        case "duplication":
            from reformer_pl.tasks.duplication import Duplication

            return Duplication
        case "enwik8":
            from reformer_pl.tasks.enwik8 import Enwik8

            return Enwik8
        case "recall":
            from reformer_pl.tasks.recall import Recall

            return Recall
        case word:
            raise ConfigError(f"task.name={word} is unknown: choose {', '.join(TASKS)}")
