"""What a run records while it trains: metrics.jsonl, its cost, and a checkpoint at each evaluation; and how Ctrl-C ends it."""

import os
import signal
import sys
import time
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from experiments.run_dir.files import METRICS, append_rows, checkpoint_path, drop_rows_after
from experiments.training.tensorboard import TensorBoardFile
from reformer_pl.measure import PeakMemory, training_tensors
from reformer_pl.module import lr_factor

UNTIMED_STEPS = (
    2  # the first two steps of a process warm caches up and are left out of step_seconds
)


class Cost(Callback):
    """Seconds of each step and the peak memory of one: the second after the start, when the optimiser's state exists.

    Both are kept in the checkpoint, so that a resumed run reports the whole. When the steps of this process began and ended is not.
    """

    def __init__(self) -> None:
        self.step_seconds: list[float] = []
        self.train_seconds = 0.0
        self.peak_bytes = 0
        self.steps_here = 0
        self.peak: PeakMemory | None = None
        self.first_started = self.started = self.ended = (
            time.perf_counter()
        )  # of this process's steps

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        self.steps_here += 1
        last = trainer.global_step + 1 == trainer.max_steps
        if not self.peak_bytes and (self.steps_here == UNTIMED_STEPS or last):
            self.peak = PeakMemory(
                module.device, [*training_tensors(module, trainer.optimizers), *batch]
            )
            self.peak.__enter__()
        self.started = _now(module.device)
        if self.steps_here == 1:
            self.first_started = self.started

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.ended = _now(module.device)
        seconds = self.ended - self.started
        self.train_seconds += seconds
        if self.peak is not None:
            self.peak.__exit__(None, None, None)
            self.peak_bytes, self.peak = self.peak.bytes, None
        elif self.steps_here > UNTIMED_STEPS:
            self.step_seconds.append(seconds)

    def on_exception(self, trainer: Trainer, module: LightningModule, error: BaseException) -> None:
        if (
            self.peak is not None
        ):  # a profiler that is left on makes the process end with a segmentation fault
            self.peak.__exit__(type(error), error, error.__traceback__)
            self.peak = None

    @property
    def median_step_seconds(self) -> float:
        """NaN when the run was too short to time a step."""
        return median(self.step_seconds) if self.step_seconds else float("nan")

    def state_dict(self) -> dict[str, Any]:
        return {
            "step_seconds": self.step_seconds,
            "train_seconds": self.train_seconds,
            "peak_bytes": self.peak_bytes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step_seconds, self.train_seconds, self.peak_bytes = (
            list(state["step_seconds"]),
            state["train_seconds"],
            state["peak_bytes"],
        )


class MetricsFile(Callback):
    """Appends a row to metrics.jsonl, and to TensorBoard's view of it, at each log step and each evaluation."""

    def __init__(
        self, directory: Path, cost: Cost, tokens_per_step: int, log_every_steps: int
    ) -> None:
        self.path = directory / METRICS
        self.cost, self.tokens_per_step, self.log_every_steps = (
            cost,
            tokens_per_step,
            log_every_steps,
        )
        self.tensorboard: TensorBoardFile | None = None  # the first rank's, if there is one

    def drop_after(self, step: int) -> list[dict[str, Any]]:
        """Drop the rows that a run resumed at this step will repeat, and return those that stand. For one rank to call."""
        return drop_rows_after(self.path, step)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step % self.log_every_steps == 0:
            optim = (
                module.config.optim
            )  # the optimizer itself holds the rate of the next step by now
            self._write(
                trainer,
                "train",
                lr=optim.lr * lr_factor(optim, trainer.global_step - 1, trainer.max_steps),
            )

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._write(trainer, "valid")

    def _write(self, trainer: Trainer, split: str, **more: float) -> None:
        if not trainer.is_global_zero:
            return
        values = {
            name.split("/")[1]: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(f"{split}/")
        }
        row = {
            "step": trainer.global_step,
            "split": split,
            **values,
            "seconds": round(self.cost.train_seconds, 3),
        }
        row |= {"tokens": trainer.global_step * self.tokens_per_step, **more}
        append_rows(self.path, [row])
        if self.tensorboard is not None:
            self.tensorboard.add(row)
        if split == "valid":
            said = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            tqdm.write(
                f"step {trainer.global_step}/{trainer.max_steps}: held out {said}"
            )  # above the progress bar, if there is one
            sys.stdout.flush()


class Checkpoints(Callback):
    """checkpoints/last.ckpt after each evaluation, replaced whole; and on Ctrl-C, after the step that runs and its evaluation if due."""

    def __init__(self, directory: Path, eval_every_steps: int) -> None:
        self.path = checkpoint_path(directory)
        self.eval_every_steps = eval_every_steps
        self.asked = self.interrupted = False  # this rank heard Ctrl-C; all ranks agreed to stop

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.previous = signal.signal(signal.SIGINT, self._interrupt)
        self.terminate = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        signal.signal(
            signal.SIGTERM, self.terminate
        )  # Lightning has put its own there, which broadcasts from within the handler

    on_validation_start = on_train_start  # it does so again for an evaluation outside of training

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        signal.signal(signal.SIGINT, self.previous)
        self._agree(trainer)  # on a Ctrl-C that came after the last step

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        print(
            "interrupted: saving a checkpoint after this step (again to stop at once)",
            file=sys.stderr,
            flush=True,
        )
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = (
                True  # Lightning then evaluates, multiple of eval_every_steps or not
            )
        elif self._agree(trainer) and trainer.global_step % self.eval_every_steps:
            self.save(trainer)
            trainer.should_stop, trainer.limit_val_batches = True, 0  # and here it would, too

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.save(trainer)
            if self._agree(trainer):
                trainer.should_stop = True

    def _agree(self, trainer: Trainer) -> bool:
        """Whether any rank was asked: all stop after the same step, or one would wait for the others for ever."""
        asked = self.asked
        self.interrupted = (
            trainer.strategy.reduce_boolean_decision(asked, all=False)
            if trainer.world_size > 1
            else asked
        )
        return self.interrupted

    def save(self, trainer: Trainer) -> None:
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            os.replace(partial, self.path)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
