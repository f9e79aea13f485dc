"""LitSequenceModel: training and evaluation steps, metrics and the optimiser; nothing else."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torchmetrics import MetricCollection

from reformer_pl.config import OptimConfig, RunConfig, load, to_dict
from reformer_pl.config.rules import OPTIMIZERS, SCHEDULES, ConfigError
from reformer_pl.loss import BitsPerDim, TokenLoss, TokenMean
from reformer_pl.model import SequenceModel
from reformer_pl.tasks.batches import Batch, generator

TRAIN, HELD_OUT, DROPOUT = 0, 1, 2


class LitSequenceModel(LightningModule):
    """The model of a RunConfig, trained on (tokens, scored) batches.

    Every random choice is a pure function of (seed, step): rotations alike on every rank, dropout different on each. So a resumed
    run repeats what an undisturbed one would have done.
    """

    def __init__(self, config: RunConfig | dict[str, Any], vocab_size: int) -> None:
        super().__init__()
        self.config = config if isinstance(config, RunConfig) else load(config)
        self.save_hyperparameters(
            {"config": to_dict(self.config), "vocab_size": vocab_size}, logger=False
        )
        self.model = SequenceModel(self.config.model, vocab_size, self.config.task.length)
        if self.config.trainer.precision == "64-true":
            self.model.double()  # Lightning does so after it has loaded a checkpoint, which would be rounded
        self.train_metrics, self.held_out_metrics = token_metrics(), token_metrics()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        step = self.global_step
        torch.manual_seed(derived_seed(self.config.seed, DROPOUT, step, self.global_rank))
        loss = self.model.loss(*batch, hash_seed=derived_seed(self.config.seed, TRAIN, step))
        update(self.train_metrics, loss)
        if (step + 1) % self.config.trainer.log_every_steps == 0:
            values = self.train_metrics.compute()
            self.train_metrics.reset()
            if not math.isfinite(values["loss_nats"]):
                raise FloatingPointError(
                    f"the training loss is {float(values['loss_nats'])} at step {step + 1}: lower optim.lr or set optim.clip_norm"
                )
            self.log_dict(
                {f"train/{name}": value for name, value in values.items()}, sync_dist=False
            )
            self.log("loss_nats", values["loss_nats"], prog_bar=True, logger=False)
        return loss.mean()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        self.optimizers().zero_grad()  # Lightning would keep the gradients through the next forward pass

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        loss = self.model.loss(
            *batch, hash_seed=derived_seed(self.config.seed, HELD_OUT, batch_index)
        )
        update(self.held_out_metrics, loss)

    def on_validation_epoch_end(self) -> None:
        values = self.held_out_metrics.compute()
        self.held_out_metrics.reset()
        self.log_dict({f"valid/{name}": value for name, value in values.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the next training row will say of the steps before, summed over the ranks. Every rank comes here."""
        sums = checkpoint["train_metrics"] = {}
        for name, metric in self.train_metrics.items():
            with metric.sync_context():
                sums[name] = {state: value.clone() for state, value in metric.metric_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, states in checkpoint.get("train_metrics", {}).items():
            for (
                state,
                value,
            ) in states.items():  # on the first rank alone, or they would count once for each
                setattr(
                    self.train_metrics[name], state, value.to(self.device) * (self.global_rank == 0)
                )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optim = self.config.optim
        optimizer = build_optimizer(optim, self.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(optim, step, self.config.trainer.max_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(
    optim: OptimConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    match optim.name:
        case "adam":
            return torch.optim.Adam(parameters, lr=optim.lr, betas=optim.betas, eps=1e-9)
        case "adafactor":
            return torch.optim.Adafactor(parameters, lr=optim.lr)
        case word:
            raise ConfigError(f"optim.name={word} is unknown: choose {', '.join(OPTIMIZERS)}")


def lr_factor(optim: OptimConfig, step: int, max_steps: int) -> float:
    """Linear warm-up to 1, then constant, 1/sqrt(step) as published, or a cosine to 0 at max_steps."""
    warm = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
    match optim.schedule:
        case "constant":
            return warm
        case "rsqrt":
            start = max(1, optim.warmup_steps)
            return warm * math.sqrt(start / max(step + 1, start))
        case "cosine":
            done = (step - optim.warmup_steps) / max(1, max_steps - optim.warmup_steps)
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
        case word:
            raise ConfigError(f"optim.schedule={word} is unknown: choose {', '.join(SCHEDULES)}")


def token_metrics() -> MetricCollection:
    """Means over tokens, synchronised over ranks."""
    return MetricCollection(
        {"loss_nats": TokenMean(), "accuracy": TokenMean(), "bits_per_dim": BitsPerDim()},
        compute_groups=False,  # each is fed its own value
    )


def update(metrics: MetricCollection, loss: TokenLoss) -> None:
    nats, accuracy = loss.mean().detach().float(), loss.correct / loss.tokens
    metrics["loss_nats"].update(nats, loss.tokens)
    metrics["accuracy"].update(accuracy, loss.tokens)
    metrics["bits_per_dim"].update(nats, loss.tokens)


def derived_seed(*words: int) -> int:
    """A seed below 2**32 that depends on every word, the same everywhere."""
    return int(torch.randint(2**32, (), generator=generator(*words)))
