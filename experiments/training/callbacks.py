"""What a run records while it trains: its cost, metrics.jsonl, and checkpoints.

Ctrl-C ends it here, too.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from experiments.device import is_shared
from experiments.rank import end_now
from experiments.run_dir.durable import put_in_place, sync
from experiments.run_dir.files import (
    COVERAGE,
    METRICS,
    SESSIONS,
    append_rows,
    checkpoint_path,
    drop_rows_after,
    previous_checkpoint_path,
)
from experiments.run_dir.outcome import first_line
from experiments.times.waited import Counters, TimedSteps, read_counters
from experiments.training.tensorboard import TensorBoardFile
from reformer_pl.measure import PeakMemory, training_tensors
from reformer_pl.optimizer import lr_factor

LEAVE_SECONDS = 60.0  # from the error of a rank until it ends in any case
UNTIMED_STEPS = 2  # the first steps of a process warm caches up: step_seconds leaves them out


class Cost(Callback):
    """Seconds of each step and what disturbed them, and the peak memory in bytes of the second one.

    The optimiser's state exists by then. Of a run with phases the first step of each later phase
    counts as well, and is not timed. The peak is the largest of these steps, and of all ranks. All
    are kept in the checkpoint, so that a resumed run reports the whole. When the steps of this
    process began and ended is not kept.
    """

    def __init__(self, phases: Collection[int] = ()) -> None:
        self.phases = phases  # the first steps of all but the first
        self.steps = TimedSteps()
        self.before: Counters = read_counters()
        self.train_seconds = 0.0
        self.peak_bytes = 0
        self.steps_here = 0
        self.peak: PeakMemory | None = None
        # When the steps of this process began and ended.
        self.first_started = self.started = self.ended = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        self.steps_here += 1
        last = trainer.global_step + 1 == trainer.max_steps
        is_first = not self.peak_bytes and (self.steps_here == UNTIMED_STEPS or last)
        if is_first or trainer.global_step in self.phases:
            tensors = [*training_tensors(module, trainer.optimizers), *batch]
            self.peak = PeakMemory(module.device, tensors)
            self.peak.__enter__()
        self.before = read_counters()
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
            peak_bytes = _largest(trainer, module, self.peak.bytes)
            self.peak_bytes, self.peak = max(self.peak_bytes, peak_bytes), None
        elif self.steps_here > UNTIMED_STEPS:
            self.steps.add([seconds], self.before, read_counters())

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        answers = {None: 0, False: 1, True: 2}  # the worst of all ranks counts
        shared = list(answers)[_largest(trainer, module, answers[is_shared(module.device)])]
        if shared is not None:
            self.steps.device_is_shared = shared or bool(self.steps.device_is_shared)

    def on_exception(self, trainer: Trainer, module: LightningModule, error: BaseException) -> None:
        # A profiler that is left on makes the process end with a segmentation fault.
        if self.peak is not None:
            self.peak.__exit__(type(error), error, error.__traceback__)
            self.peak = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "step_seconds": self.steps.seconds,
            "train_seconds": self.train_seconds,
            "peak_bytes": self.peak_bytes,
            "timed_steps": self.steps.counts(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # A checkpoint of version 0.1.0 has no counts: what disturbed its steps is not known.
        counts = state.get("timed_steps", {"waited_seconds": None})
        self.steps = TimedSteps(list(state["step_seconds"]), **counts)
        self.train_seconds = state["train_seconds"]
        self.peak_bytes = state["peak_bytes"]


class LeaveInTime(Callback):
    """Of several ranks one that fails ends, even where Lightning's own clearing up hangs.

    It moves the model to the CPU, which waits for the GPU, and that for the other ranks. Where all
    goes well, the error has been recorded and the process has ended long before.
    """

    def on_exception(self, trainer: Trainer, module: LightningModule, error: BaseException) -> None:
        if trainer.world_size > 1 and not isinstance(error, KeyboardInterrupt):
            timer = threading.Timer(LEAVE_SECONDS, self.end, [error])
            timer.daemon = True
            timer.start()

    def end(self, error: BaseException) -> None:
        """The last line of the log is what a driver records."""
        print(f"this rank hung after an error and was ended\n{first_line(error)}", file=sys.stderr)
        end_now(1)


class MetricsFile(Callback):
    """Appends a row to metrics.jsonl at each log step and each evaluation.

    The same row goes into the file of TensorBoard, if there is one.
    """

    def __init__(
        self, directory: Path, cost: Cost, tokens_per_step: int, log_every_steps: int
    ) -> None:
        self.path = directory / METRICS
        self.cost, self.tokens_per_step = cost, tokens_per_step
        self.log_every_steps = log_every_steps
        self.tensorboard: TensorBoardFile | None = None  # the first rank's, if there is one

    def drop_after(self, step: int) -> list[dict[str, Any]]:
        """Drop the rows that a run resumed at this step will repeat, and return the others.

        For one rank to call.
        """
        return drop_rows_after(self.path, step)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if step % self.log_every_steps == 0:
            optim = module.config.optim  # the optimiser itself has the rate of the next step by now
            lr = optim.lr * lr_factor(optim, step - 1, trainer.max_steps)
            self._write(trainer, "train", lr=lr)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._write(trainer, "valid")

    def _write(self, trainer: Trainer, split: str, **more: float) -> None:
        if not trainer.is_global_zero:
            return
        values = {
            name.split("/")[1]: float(value) if math.isfinite(value) else None
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
            scores = ", ".join(
                f"{name} {value:.4g}" for name, value in values.items() if value is not None
            )
            steps = f"step {trainer.global_step}/{trainer.max_steps}"
            tqdm.write(f"{steps}: held out {scores}")  # above the progress bar, if there is one
            sys.stdout.flush()


class Checkpoints(Callback):
    """Replaces checkpoints/last.ckpt after each evaluation, and on Ctrl-C. The one before is kept.

    Ctrl-C lets the step that runs end, and its evaluation where one is due.
    """

    def __init__(
        self, directory: Path, eval_every_steps: int, resumed_from: Path | None = None
    ) -> None:
        self.directory, self.path = directory, checkpoint_path(directory)
        # Only a whole one may become the one before the last.
        self.last_is_whole = resumed_from in (None, self.path)
        self.eval_every_steps = eval_every_steps
        self.asked = False  # this rank got a Ctrl-C
        self.interrupted = False  # all ranks agreed to stop

    def forget_previous(self, trainer: Trainer) -> None:
        """Of a run that has come to its end: the last checkpoint is all that it needs."""
        if trainer.is_global_zero:
            previous_checkpoint_path(self.directory).unlink(missing_ok=True)

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.previous = signal.signal(signal.SIGINT, self._interrupt)
        self.terminate = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        # Lightning has put its own handler there, which broadcasts from within.
        signal.signal(signal.SIGTERM, self.terminate)

    on_validation_start = on_train_start  # it does so again for an evaluation outside of training

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        signal.signal(signal.SIGINT, self.previous)
        self._agree(trainer)  # on a Ctrl-C that came after the last step

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # closing the terminal is no second Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print(
            "interrupted: saving a checkpoint after this step (again to stop at once)",
            file=sys.stderr,
            flush=True,
        )

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step == trainer.max_steps:
            # Lightning then evaluates, whether or not this is a multiple of eval_every_steps.
            trainer.should_stop = True
        elif self._agree(trainer) and trainer.global_step % self.eval_every_steps:
            self.save(trainer)
            trainer.should_stop, trainer.limit_val_batches = True, 0  # and here it would, too

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.save(trainer)
            if self._agree(trainer):
                trainer.should_stop = True

    def _agree(self, trainer: Trainer) -> bool:
        """Whether any rank was asked to stop.

        All stop after the same step: otherwise one would wait for the others for ever.
        """
        self.interrupted = self.asked
        if trainer.world_size > 1:
            strategy = trainer.strategy
            self.interrupted = strategy.reduce_boolean_decision(self.asked, all=False)
        return self.interrupted

    def save(self, trainer: Trainer) -> None:
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if not trainer.is_global_zero:
            return
        # The rows first: a checkpoint must not be ahead of them after a power cut.
        for rows in (METRICS, COVERAGE, SESSIONS):
            sync(self.directory / rows)
        sync(partial)
        if self.last_is_whole and self.path.exists():
            os.replace(self.path, previous_checkpoint_path(self.directory))
        put_in_place(partial, self.path)
        self.last_is_whole = True


def _largest(trainer: Trainer, module: LightningModule, number: int) -> int:
    """Of the numbers of all ranks, each of which comes here."""
    numbers = torch.tensor(number, device=module.device)
    return int(trainer.strategy.reduce(numbers, reduce_op="max"))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
