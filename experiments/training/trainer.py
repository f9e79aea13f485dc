"""The Lightning Trainer of a config, and the device it finds."""

import logging
import sys
import warnings
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from experiments.cluster import n_nodes
from experiments.device import device_kind, hardware_name
from reformer_pl.config import ConfigError, RunConfig, one_line

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)  # it advertises
warnings.filterwarnings(
    "ignore",
    module="lightning",
    message=".*(num_workers|IterableDataset|sync_dist|LeafSpec|srun).*",
)


class StepBar(TQDMProgressBar):
    """A bar of max_steps: the training data have no end of their own."""

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps


def build_trainer(config: RunConfig, **more: Any) -> Trainer:
    """The Lightning Trainer of a config. `more` adds callbacks and a logger."""
    options, nodes = config.trainer, n_nodes()
    if options.devices % nodes:
        raise ConfigError(
            f"trainer.devices {options.devices} cannot be divided among the {nodes} nodes of this job"
        )
    more["callbacks"] = [
        *more.get("callbacks", []),
        StepBar(refresh_rate=1 if sys.stdout.isatty() else 0),
    ]
    try:
        return Trainer(
            accelerator=device_kind(config),
            devices=options.devices // nodes,
            num_nodes=nodes,
            strategy=options.strategy,
            precision=options.precision,
            max_steps=options.max_steps,
            max_epochs=-1,
            val_check_interval=options.eval_every_steps,
            check_val_every_n_epoch=None,
            log_every_n_steps=options.log_every_steps,
            gradient_clip_val=config.optim.clip_norm or None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the data modules cut their batches by rank themselves
            enable_checkpointing=False,
            enable_model_summary=False,
            **more,
        )
    except MisconfigurationException as error:  # no GPU, or too few
        asked = f"trainer.accelerator={options.accelerator} trainer.devices={options.devices}"
        raise ConfigError(f"{asked} cannot be had here: {one_line(error)}") from error


def device_name(trainer: Trainer) -> str:
    """What the numbers of a run were measured on. Asked of the strategy: Lightning moves a module back to the CPU when it has finished."""
    times = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    return times + hardware_name(trainer.strategy.root_device)
