"""Tasks: one LightningDataModule per file."""

from reformer_pl.config import TASKS, ConfigError, RunConfig
from reformer_pl.tasks.batches import SequenceData


def build_task(config: RunConfig) -> SequenceData:
    """The data module that task.name names."""
    match config.task.name:
        case "duplication":
            from reformer_pl.tasks.duplication import Duplication

            return Duplication(config)
        case "enwik8":
            from reformer_pl.tasks.enwik8 import Enwik8

            return Enwik8(config)
        case word:
            raise ConfigError(f"task.name={word} is unknown: choose {', '.join(TASKS)}")
