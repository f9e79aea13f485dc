"""Score a trained run again, under other settings.

examples:
  python -m experiments.evaluate runs/single/smoke/model.attention=lsh/seed=0
  python -m experiments.evaluate runs/single/smoke/model.attention=lsh/seed=0 model.lsh.n_hashes=8
  python -m experiments.evaluate runs/single/smoke/model.attention=lsh/seed=0 model.attention=shared_full

The first argument is the run's directory, the others are changes of its config: keys that keep the weights, such as those of the
attention; `python -m experiments.train --help` lists them all. Prints the held-out loss in nats, the accuracy from 0 to 1, bits per
dimension and the number of sequences scored, and writes them to RUN_DIR/evaluations/NAME.json, where NAME is made of the changes. The
run's own result stays as it is. Two evaluations print the same numbers: the held-out set and the hash rotations are fixed.

exit codes: 0 done, 2 bad input
"""

import pickle
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cluster import first_rank
from experiments.files import CHECKPOINT, read_config, read_json, safe_name, write_json
from experiments.imports import without_collector
from reformer_pl.config import ConfigError, RunConfig

if TYPE_CHECKING:
    from lightning import Trainer

    from reformer_pl.module import LitSequenceModel
    from reformer_pl.tasks.batches import SequenceData


def main(arguments: list[str]) -> int:
    if set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return 0
    if not arguments:
        print("error: which run? python -m experiments.evaluate RUN_DIR [key=value ...]", file=sys.stderr)
        return 2
    directory, overrides = Path(arguments[0]), arguments[1:]
    try:
        values = evaluate(directory, overrides)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if first_rank():
        print(", ".join(f"{key} {value:.6g}" for key, value in values.items()))
    return 0


def evaluate(directory: Path, overrides: list[str]) -> dict[str, float]:
    """Score the checkpoint of a run under its config changed by overrides, and write the numbers below evaluations/."""
    config = read_config(directory, overrides)
    with without_collector():
        from experiments.device import set_threads
        from experiments.trainer import build_trainer
        from reformer_pl.module import LitSequenceModel
        from reformer_pl.tasks import build_task

    checkpoint = load_checkpoint(directory / "checkpoints" / CHECKPOINT)
    if checkpoint["global_step"] < config.trainer.max_steps:
        print(f"this run stands at step {checkpoint['global_step']} of {config.trainer.max_steps}", file=sys.stderr)
    data = build_task(config)
    set_threads(config)
    module = LitSequenceModel(config, data.vocab_size)
    name = "_".join(overrides) or "own"
    load_weights(module, checkpoint["state_dict"], name)
    trainer = build_trainer(config, logger=False)
    values = score(trainer, module, data)
    if trainer.is_global_zero:
        write_evaluation(directory, name, overrides, values)
    return values


def score(trainer: "Trainer", module: "LitSequenceModel", data: "SequenceData") -> dict[str, float]:
    """Held-out loss_nats, accuracy (0-1), bits_per_dim, and the number of held-out sequences."""
    (values,) = trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    return {name.split("/")[1]: value for name, value in values.items()} | {"sequences": data.n_eval_sequences}


def write_evaluation(directory: Path, name: str, overrides: list[str], values: dict[str, float]) -> None:
    write_json(_path(directory, name), {"name": name, "overrides": overrides, **values})


def missing_evaluations(config: RunConfig, directory: Path) -> list[str]:
    """The names in config.evaluations that have no file yet, or one made under other overrides."""
    found = {name: read_json(_path(directory, name)) or {} for name in config.evaluations}
    return [name for name, overrides in config.evaluations.items() if found[name].get("overrides") != overrides]


def _path(directory: Path, name: str) -> Path:
    return directory / "evaluations" / f"{safe_name(name)}.json"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's dict, on the CPU. Raises ConfigError when it is missing or corrupt."""
    import torch

    if not path.is_file():
        raise ConfigError(f"{path} is missing: train the run first")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is corrupt: delete it and train again ({type(error).__name__})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= checkpoint.keys():
        raise ConfigError(f"{path} is no checkpoint of a run: delete it and train again")
    return checkpoint


def load_weights(module: "LitSequenceModel", weights: dict[str, Any], name: str) -> None:
    """Strictly, so that an evaluation never scores weights that were not trained."""
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(f"the checkpoint does not fit the evaluation '{name}': attention may differ, sizes of weights not") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
