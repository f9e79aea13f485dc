"""coverage.jsonl: how much of full attention the hash buckets reach while a run trains.

It has a row for each layer, head and number of rounds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from experiments.run_dir.files import COVERAGE as FILE
from experiments.run_dir.files import append_rows, drop_rows_after
from reformer_pl.attention import MultiHeadAttention
from reformer_pl.config import RunConfig, TrainerConfig
from reformer_pl.measure import attention_coverage
from reformer_pl.module import LitSequenceModel, held_out_seed
from reformer_pl.reach.coverage import ROUNDS
from reformer_pl.tasks.batches import generator

COVERAGE = 3  # a word of its own beside TRAIN, HELD_OUT and DROPOUT of reformer_pl.module
Row = dict[str, int | float]


class CoverageFile(Callback):
    """Appends rows to coverage.jsonl before the first step, at each due step and after the last.

    Only the first rank does so, every time on the same held-out sequences. Rotations and queries
    are drawn anew from (seed, step, layer), so that training is untouched. The callback must stand
    after `Cost`, which has then stopped its clock, and before `Checkpoints`, so that no checkpoint
    is ahead of its rows.
    """

    def __init__(self, directory: Path, config: RunConfig) -> None:
        self.path, self.config = directory / FILE, config

    def drop_after(self, step: int) -> None:
        """Drop the rows that a run resumed at this step will repeat: from the start, all of them.

        For one rank to call.
        """
        drop_rows_after(self.path, step or -1)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step == 0:
            self._write(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if is_due(self.config.trainer, trainer.global_step):
            self._write(trainer, module)

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        # Of as many sequences at a time as this rank trains on, so that memory suffices.
        batch = trainer.datamodule.eval_batch(0)
        n_parts = trainer.world_size * self.config.optim.accumulate
        parts = [batch.rows(i, n_parts).tokens for i in range(min(n_parts, len(batch.tokens)))]
        module.enter_phase(trainer.global_step)  # Lightning calls the module after its callbacks
        with trainer.precision_plugin.forward_context():
            rows = cover(
                module,
                module.phase,
                [part.to(module.device) for part in parts],
                trainer.global_step,
            )
        append_rows(self.path, rows)


def is_due(options: TrainerConfig, step: int) -> bool:
    """At multiples of coverage_every_steps, the start included, and at the end."""
    every = options.coverage_every_steps
    return every > 0 and (step % every == 0 or step == options.max_steps)


@torch.no_grad()
def cover(
    module: LitSequenceModel, config: RunConfig, parts: Sequence[Tensor], step: int
) -> list[Row]:
    """One row per layer, head and number of rounds: means over the sequences of all parts (B, L).

    Layers of other attention have none. How the sequences are split into parts changes nothing.
    """
    sums: dict[tuple[int, int, int], Tensor] = {}
    n_sequences = sum(len(tokens) for tokens in parts)
    lsh = config.model.lsh
    options = {
        "chunk_len": lsh.chunk_len,
        "n_buckets": lsh.n_buckets,
        "bucket_mask": lsh.bucket_mask,
        "window": lsh.window,
    }

    def measure(layer: int, qk: Tensor) -> None:
        measured = attention_coverage(
            qk, **options, rounds=ROUNDS, generator=generator(config.seed, COVERAGE, step, layer)
        )
        shares = torch.stack([x.double().sum(1) for x in measured], -1).cpu()  # (rounds, heads, 3)
        for i, r in enumerate(ROUNDS):
            for head in range(qk.shape[1]):
                key = (layer, r, head)
                sums[key] = sums.get(key, 0) + shares[i, head]

    with evaluating(module), watched(module, measure):
        for tokens in parts:
            module.model(tokens, hash_seed=held_out_seed(config.seed))
    rows: list[Row] = []
    for (layer, r, head), total in sums.items():
        shares = (round(share, 6) for share in (total / n_sequences).tolist())
        values = dict(zip(("coverage", "chance", "ceiling"), shares, strict=True))
        rows.append({"step": step, "layer": layer, "head": head, "rounds": r, **values})
    return rows


@contextmanager
def watched(module: LitSequenceModel, measure: Callable[[int, Tensor], None]) -> Iterator[None]:
    """measure(layer, qk (B, H, L, D)) at every forward pass of a layer whose queries are its keys.

    Nothing is left on the modules.
    """
    hooks = []
    for layer, attention, _ in module.model.attentions():
        if isinstance(attention, MultiHeadAttention) and attention.shared_qk:

            def hook(
                _: nn.Module,
                __: Any,
                y: Tensor,
                layer: int = layer,
                attention: MultiHeadAttention = attention,
            ) -> None:
                with torch.autocast(y.device.type, enabled=False):
                    measure(layer, attention.place(y))

            hooks.append(attention.qk.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout inside, and in the mode of before after it."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
