"""LitSequenceModel: training and evaluation steps, and metrics; nothing else."""

import math
from pathlib import Path
from typing import IO, Any, Self

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torchmetrics import MetricCollection

from reformer_pl.compiled import compile_parts
from reformer_pl.config import RunConfig, load, to_dict
from reformer_pl.config.evaluations import phase_configs
from reformer_pl.config.phases import phase_start
from reformer_pl.config.rules import ConfigError
from reformer_pl.loss import Loss, WeightedMean
from reformer_pl.metrics import DRAWS_STD, loss_name, task_metrics
from reformer_pl.model import SequenceModel, in_phase
from reformer_pl.optimizer import build_optimizer, lr_factor
from reformer_pl.precision import dtypes
from reformer_pl.tasks import task_class
from reformer_pl.tasks.batches import Batch, generator

TRAIN, HELD_OUT, DROPOUT = 0, 1, 2


class LitSequenceModel(LightningModule):
    """The model of a RunConfig, trained on the batches of a task by the task's loss.

    Every random choice is a pure function of (seed, step): rotations alike on every rank, dropout
    different on each. So a resumed run repeats what an undisturbed one would have done. The
    micro-batches of optim.accumulate have the rotations of the step. Where a Trainer accumulates
    gradients itself, the batches of one step differ by their number within it.
    """

    def __init__(self, config: RunConfig | dict[str, Any], vocab_size: int) -> None:
        super().__init__()
        self.config = config if isinstance(config, RunConfig) else load(config)
        self.save_hyperparameters(
            {"config": to_dict(self.config), "vocab_size": vocab_size}, logger=False
        )
        self.phases, self.start = phase_configs(self.config), 0
        self.model = SequenceModel(self.config.model, vocab_size, self.config.task.length)
        # Lightning does so after it has loaded a checkpoint, which would be rounded.
        self.model.to(dtypes(self.config).weights)
        if self.config.trainer.compile:
            compile_parts(self.model)
        name = self.config.task.name
        self.task_loss = task_class(name).loss
        self.train_metrics, self.held_out_metrics = score_means(name), score_means(name)
        # The score that the task is judged by, for each draw of rotations.
        self.judged = task_metrics(name)[0]
        n_draws = max(phase.model.lsh.eval_draws for phase in self.phases.values())
        self.draw_scores = nn.ModuleList(
            WeightedMean(self.judged.divisor) for _ in range(n_draws if n_draws > 1 else 0)
        )
        self.accumulated = 0  # batches since the last step of the optimiser
        self.step_before = 0  # the step at which this batch began

    @property
    def phase(self) -> RunConfig:
        """The config under which the model works now. Its weights are those of all phases."""
        return self.phases[self.start]

    def enter_phase(self, step: int) -> None:
        """Let the model work as `phases` says for this step."""
        start = phase_start(self.phases, step)
        if start != self.start:
            self.model, self.start = in_phase(self.model, self.phases[start].model), start
            if self.config.trainer.compile:
                compile_parts(self.model)

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        step, seed = self.global_step, self.config.seed
        within = (self.accumulated,) if self.accumulated else ()
        torch.manual_seed(derived_seed(seed, DROPOUT, step, self.global_rank, *within))
        loss = self.step_loss(batch, derived_seed(seed, TRAIN, step, *within))
        if (step + 1) % self.config.trainer.log_every_steps == 0:
            means = self.train_metrics.compute()
            self.train_metrics.reset()
            name = loss_name(self.config.task.name)
            if not math.isfinite(means[name]):
                raise FloatingPointError(
                    f"the training loss is {float(means[name])} at step {step + 1}: "
                    "lower optim.lr or set optim.clip_norm"
                )
            self.log_dict({f"train/{name}": mean for name, mean in means.items()}, sync_dist=False)
            self.log(name, means[name], prog_bar=True, logger=False)
        return loss

    def step_loss(self, batch: Batch, hash_seed: int) -> torch.Tensor:
        """The training loss of a step, a scalar: the mean over ranks is that of the whole batch.

        It is a mean over all that is scored, for micro-batches and ranks are joined by the weights
        of their losses. Of optim.accumulate micro-batches all but the last have run backward when
        this returns, so the activations of one are alive at a time. DDP reduces gradients in the
        backward pass of what is returned alone: it does not listen before its forward has ended.
        """
        batch = Batch(*batch)  # a DataLoader of one's own may give a list
        n_parts = self.config.optim.accumulate
        unit = batch.tokens.numel() / n_parts  # keeps sums of tokens in the range of a mean
        earlier = total = torch.zeros((), device=batch.tokens.device)
        for n in range(n_parts - 1):
            mean, weight = self._mean_and_weight(batch.rows(n, n_parts), hash_seed)
            share = mean * (weight / unit)
            self._backward(share)
            earlier, total = earlier + share.detach(), total + weight
            del mean, share  # and with them what the graph holds
        mean, weight = self._mean_and_weight(batch.rows(n_parts - 1, n_parts), hash_seed)
        total = self._mean_over_ranks(total + weight)
        if n_parts > 1:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad *= unit / total
        return mean * (weight / total) + earlier * (unit / total)

    def _mean_and_weight(self, batch: Batch, hash_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The training loss of a micro-batch, and what it is a mean over; both scalars."""
        loss = self.loss(batch, hash_seed)
        values = loss.values()
        update(self.train_metrics, values)
        mean, (_, weight) = loss.mean(), next(iter(values.values()))
        return mean, weight.detach().to(mean.dtype)

    def _backward(self, loss: torch.Tensor) -> None:
        """What the Trainer does with a loss, here within its forward pass."""
        torch.clear_autocast_cache()  # or a cast weight would outlive its graph
        with torch.autocast(loss.device.type, enabled=False):
            if self._trainer is None:
                loss.backward()
            else:
                self.trainer.strategy.backward(loss, None)

    def _mean_over_ranks(self, number: torch.Tensor) -> torch.Tensor:
        if self._trainer is None or self.trainer.world_size == 1:
            return number
        torch.distributed.all_reduce(number)
        return number / self.trainer.world_size

    def loss(self, batch: Batch, hash_seed: int) -> Loss:
        """The task's loss of a batch."""
        return self.model.loss(*batch, hash_seed=hash_seed, loss=self.task_loss)

    def on_train_start(self) -> None:
        if self.config.optim.accumulate > 1:
            if self.trainer.accumulate_grad_batches > 1:
                raise ConfigError(
                    f"the Trainer's accumulate_grad_batches={self.trainer.accumulate_grad_batches} "
                    f"and optim.accumulate={self.config.optim.accumulate} both accumulate "
                    "gradients: one of them must be 1"
                )
            self.zero_grad()

    def optimizer_zero_grad(self, *arguments: Any) -> None:
        """The Trainer comes here after the forward pass, where micro-batches left gradients."""
        if self.config.optim.accumulate == 1:
            super().optimizer_zero_grad(*arguments)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        self.step_before = self.global_step
        self.enter_phase(self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        if self.global_step == self.step_before:  # the Trainer accumulates gradients
            self.accumulated += 1
            return
        self.accumulated = 0
        # Lightning would keep the gradients through the next forward pass.
        self.optimizers().zero_grad()
        self.enter_phase(self.global_step)  # an evaluation that follows is of this step

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        # The same draws of rotations for the whole evaluation, so that the score does not depend on
        # how the sequences are split into batches and over devices.
        draws = self.phase.model.lsh.eval_draws
        for draw in range(draws):
            values = self.loss(batch, held_out_seed(self.config.seed, draw)).values()
            update(self.held_out_metrics, values)
            if draws > 1:
                self.draw_scores[draw].update(*values[self.judged.name])

    def on_validation_epoch_end(self) -> None:
        values = self.held_out_metrics.compute()
        self.held_out_metrics.reset()
        name = loss_name(self.config.task.name)
        if not math.isfinite(values[name]):
            raise FloatingPointError(
                f"the held-out {name} is {float(values[name])} at step {self.global_step}: "
                "lower optim.lr or set optim.clip_norm"
            )
        draw_scores = self.draw_scores[: self.phase.model.lsh.eval_draws]
        if len(draw_scores) > 1:
            values[DRAWS_STD] = torch.stack([s.compute() for s in draw_scores]).std()
            for draw_score in draw_scores:
                draw_score.reset()
        self.log_dict({f"valid/{name}": value for name, value in values.items()})

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: str | Path | IO[bytes], *args: Any, **options: Any
    ) -> Self:
        """Lightning's own, but that a file which is there is never taken for a URL.

        Lightning would take http_runs/last.ckpt and a::b/last.ckpt for one.
        """
        if isinstance(checkpoint_path, str | Path) and Path(checkpoint_path).is_file():
            with open(checkpoint_path, "rb") as file:
                return super().load_from_checkpoint(file, *args, **options)
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The sums of the steps that no row of metrics.jsonl has yet, over all ranks.

        Every rank comes here.
        """
        sums = checkpoint["train_metrics"] = {}
        for name, metric in self.train_metrics.items():
            with metric.sync_context():
                sums[name] = {state: value.clone() for state, value in metric.metric_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.enter_phase(checkpoint.get("global_step", 0))
        for name, states in checkpoint.get("train_metrics", {}).items():
            for state, value in states.items():
                # On the first rank alone, or they would count once for each.
                sums = value.to(self.device) * (self.global_rank == 0)
                setattr(self.train_metrics[name], state, sums)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optim = self.config.optim
        optimizer = build_optimizer(optim, self.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(optim, step, self.config.trainer.max_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def score_means(task: str) -> MetricCollection:
    """The mean of each score of a task, synchronised over ranks."""
    return MetricCollection(
        {metric.name: WeightedMean(metric.divisor) for metric in task_metrics(task)},
        compute_groups=False,  # each is fed its own value
    )


def update(means: MetricCollection, values: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Feed each mean the (value, weight) that a loss gives for it."""
    for name, mean in means.items():
        mean.update(*values[name])


def held_out_seed(seed: int, draw: int = 0) -> int:
    """The hash seed of every evaluation of a run with this seed, of its n-th draw of rotations."""
    return derived_seed(seed, HELD_OUT, *([draw] if draw else []))


def derived_seed(*words: int) -> int:
    """A seed below 2**32 that depends on every word, the same everywhere."""
    return int(torch.randint(2**32, (), generator=generator(*words)))
