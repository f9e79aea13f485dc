"""Score a trained run again, under other settings.

examples:
  python -m experiments.evaluate runs/single/smoke/model.attention=lsh/seed=0
  python -m experiments.evaluate runs/single/smoke/model.attention=lsh/seed=0 model.lsh.n_hashes=8
  python -m experiments.evaluate runs/single/smoke/default/seed=0 model.attention=shared_full
  python -m experiments.evaluate runs/single/smoke/default/seed=0 --split test

The first argument is the run's directory. The others are changes of its config: keys that keep the
weights, such as those of the attention. `python -m experiments.train --help` lists all keys.
--split test, or task.split=test, scores the third part of the data, which no curve and no choice
has seen: score it once, at the end. --cfg job prints the changed config and scores nothing.

Prints the loss in nats, the accuracy from 0 to 1, bits per dimension, the mean number of keys that
a token reaches, the number of sequences scored and the part of the data that they are of, and
writes the numbers to RUN_DIR/evaluations/NAME.json, where NAME is made of the changes. The run's
own result stays as it is. Two evaluations print the same numbers: the sequences of a part and the
hash rotations are fixed, whatever task.batch_size and the number of devices. With
model.lsh.eval_draws=8 a score is the mean over 8 draws of rotations, and eval_draws_std is the
standard deviation over them of the score that the task is judged by.

exit codes: 0 done, 1 the loss is not finite, 2 bad input
"""

import math
import sys
from pathlib import Path

from experiments.fast_imports import without_collector
from experiments.hydra_options import split_options
from experiments.log import Output, printing
from experiments.rank import check_world, first_rank, leave
from experiments.run_dir.files import config_text, load_run_config, read_config
from experiments.run_dir.identity import check_data, check_trained_by
from experiments.run_dir.outcome import write_evaluation
from reformer_pl.config import ConfigError
from reformer_pl.config.evaluations import split_of
from reformer_pl.config.local_path import local_place
from reformer_pl.config.rules import PARTS
from reformer_pl.metrics import DRAWS_STD, N_DRAWS

SPLIT = "--split"


def main(arguments: list[str]) -> int:
    with printing() as output:
        return _main(arguments, output)


def _main(arguments: list[str], output: Output) -> int:
    if set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return 0
    if not arguments or arguments[0].startswith("-"):
        print(
            "error: which run? python -m experiments.evaluate RUN_DIR [key=value ...]",
            file=sys.stderr,
        )
        return 2
    try:
        (text, *overrides), shows_config = split_options(split_as_override(arguments))
        directory = local_place(text)
        if shows_config:
            print(config_text(read_config(directory, overrides)), end="")
            return 0
        output.is_all = False
        values = evaluate(directory, overrides)
        part = PARTS[split_of(overrides)]
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if first_rank():
        print(f"{scores_text(values)} of the {part}")
    return 0


def scores_text(values: dict[str, float]) -> str:
    """ "loss_nats 2.1, accuracy 0.5, eval_draws_std 0.004 over 8 draws, sequences 64".

    A score of tokens that are not there, such as those of a distance, is left out.
    """
    texts = {key: f"{key} {value:.6g}" for key, value in values.items() if not math.isnan(value)}
    if N_DRAWS in texts:
        texts[DRAWS_STD] += f" over {values[N_DRAWS]} draws"
        del texts[N_DRAWS]
    return ", ".join(texts.values())


def split_as_override(arguments: list[str]) -> list[str]:
    """--split WORD and --split=WORD are task.split=WORD. Raises ConfigError without a word."""
    words = []
    for argument in arguments:
        if words and words[-1] == SPLIT:
            words[-1] = f"task.split={argument}"
        else:
            words.append(argument.replace(f"{SPLIT}=", "task.split=", 1))
    if SPLIT in words:
        raise ConfigError(f"{SPLIT} needs a word: {SPLIT} test")
    return words


def evaluate(directory: Path, overrides: list[str]) -> dict[str, float]:
    """Score the checkpoint of a run under its config, changed by overrides.

    Returns the scores of the task, the keys per token and the number of sequences, and writes them
    below evaluations/. Raises ConfigError.
    """
    config = read_config(directory, overrides)
    check_world(config.trainer.devices)
    with without_collector():
        from experiments.device import set_matmul_precision, set_threads
        from experiments.training.checkpoint import trained_checkpoint
        from experiments.training.scoring import load_weights, score
        from experiments.training.trainer import build_trainer
        from reformer_pl.module import LitSequenceModel
        from reformer_pl.tasks import build_task

    trained = load_run_config(directory)
    path, checkpoint = trained_checkpoint(directory)
    check_trained_by(path, checkpoint, trained)
    if checkpoint["global_step"] < config.trainer.max_steps:
        steps = f"step {checkpoint['global_step']} of {config.trainer.max_steps}"
        print(f"this run stands at {steps}", file=sys.stderr)
    data = build_task(config)
    if config.task.source == trained.task.source:
        check_data(directory, config.task.source, data.identity(), keep=False)
    set_threads(config)
    set_matmul_precision(config)
    module = LitSequenceModel(config, data.vocab_size)
    name = "_".join(overrides) or "own"
    load_weights(module, checkpoint["state_dict"], name)
    trainer = build_trainer(config)
    values = score(trainer, module, data)
    if trainer.is_global_zero:
        try:
            write_evaluation(directory, name, overrides, values)
        except OSError as error:
            raise ConfigError(
                f"the scores cannot be written below {directory}: {error.strerror}"
            ) from error
    return values


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
