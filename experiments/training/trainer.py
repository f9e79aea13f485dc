"""The Lightning Trainer of a config, and the device it finds."""

import logging
import os
import sys
import warnings
from collections.abc import Iterable

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from experiments.device import device_kind, hardware_name
from experiments.rank import is_task_of_srun, is_task_of_torchrun, n_nodes
from experiments.training.local_checkpoints import LocalCheckpoints
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


def build_trainer(
    config: RunConfig,
    *,
    callbacks: Iterable[Callback] = (),
    logger: Logger | Iterable[Logger] | bool = False,
) -> Trainer:
    """The Lightning Trainer of a config. `callbacks` come before its progress bar.

    `logger` is as Lightning's Trainer takes it. The default is none: the files of a run are written
    by callbacks. Raises ConfigError where this machine has not the devices that the config names.
    """
    options, nodes = config.trainer, n_nodes()
    if options.devices % nodes:
        raise ConfigError(
            f"trainer.devices {options.devices} cannot be divided among "
            f"the {nodes} nodes of this job"
        )
    kind = device_kind(config)
    bar = StepBar(refresh_rate=1 if sys.stdout.isatty() else 0)
    try:
        return Trainer(
            accelerator=kind,
            devices=_devices(kind, options.devices // nodes),
            num_nodes=nodes,
            strategy=_strategy(options.strategy, kind, options.devices // nodes),
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
            callbacks=[*callbacks, bar],
            logger=logger,
            plugins=[_environment(options.devices // nodes), LocalCheckpoints()],
        )
    except MisconfigurationException as error:  # no GPU, or too few
        devices = f"trainer.accelerator={options.accelerator} trainer.devices={options.devices}"
        raise ConfigError(f"{devices} cannot be had here: {one_line(error)}") from error


def _devices(kind: str, devices_per_node: int) -> int:
    return 1 if _has_one_each(kind, devices_per_node) else devices_per_node


def _strategy(word: str, kind: str, devices_per_node: int) -> str | DDPStrategy:
    """With `ddp` the gradients are views of the buckets that are reduced, and no copies of them."""
    if word != "ddp":
        return word
    own = [torch.device("cuda", 0)] * devices_per_node
    return DDPStrategy(
        parallel_devices=own if _has_one_each(kind, devices_per_node) else None,
        gradient_as_bucket_view=True,
    )


def _has_one_each(kind: str, devices_per_node: int) -> bool:
    """Whether each process of a node sees one GPU alone, its own, as --gpus-per-task=1 binds it.

    Lightning would look for as many GPUs as there are processes, and take that of its rank.
    """
    bound = is_task_of_srun() or is_task_of_torchrun()
    return kind == "cuda" and bound and devices_per_node > 1 == torch.cuda.device_count()


def _environment(devices_per_node: int) -> ClusterEnvironment:
    """Who starts the processes, as experiments/rank.py reads it.

    Lightning by itself would take a shell within an allocation of SLURM for a task of srun.
    """
    if is_task_of_torchrun():
        return TorchElasticEnvironment()
    if is_task_of_srun():
        # Lightning compares it with its own devices, and that of the allocation may be another.
        os.environ["SLURM_NTASKS_PER_NODE"] = str(devices_per_node)
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def device_name(trainer: Trainer) -> str:
    """What the numbers of a run were measured on.

    The strategy knows it. The module does not: Lightning moves it to the CPU when it has finished.
    """
    times = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    return times + hardware_name(trainer.strategy.root_device)
