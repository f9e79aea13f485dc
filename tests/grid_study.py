"""A made-up study of a grid with failures, written as real run directories within seconds.

    python -m tests.grid_study FOLDER [--variants 24] [--seeds 3] [--evaluations]

FOLDER then holds grid.yaml and runs/, for `python -m ablations report FOLDER/grid.yaml --runs-dir
FOLDER/runs` and for load_results. The same arguments write the same bytes.

The grid has three axes: the words of model.attention, numbers of optim.lr or of another key, and
the words of model.residual. Variants are counted from 0 in the order of the grid. Variant 5 has a
failed seed, 10 an oom and 13 a timeout; one of 16 still runs (`running` holds its lock); of 21 only
the first seed is ok. Numbers are drawn, and their order is plausible: full attention scores best
and costs most, reversible layers cost time and save memory, and seeds differ by some 0.01 bits.
"""

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ablations.study import Study, compose_cells, load_study
from ablations.study.cell import Cell
from experiments.run_dir.files import (
    CONFIG,
    LOG,
    METRICS,
    RESULT,
    config_text,
    evaluation_path,
    json_text,
)
from experiments.run_dir.lock import locked
from experiments.run_dir.outcome import FAILED, OK, OOM, RESULT_NUMBERS, TIMEOUT
from reformer_pl.config import RunConfig

RUNNING = "running"
WAITING = "waiting"  # an ending that leaves no directory
ATTENTIONS = ("full", "shared_full", "lsh", "local", "local lsh")
RESIDUALS = ("standard", "reversible")
# (variant, seed) counted from 0 -> how the cell ends; all others are ok.
ENDINGS = {(5, 1): FAILED, (10, 0): OOM, (13, 2): TIMEOUT, (16, 1): RUNNING}
ONE_OK_SEED = 21  # the variant whose seeds failed but for the first
ERRORS = {
    FAILED: "FloatingPointError: the loss of step 60 is not finite",
    OOM: "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    TIMEOUT: "no end after 3600 s",
}
# Bits per dim beside those of full attention, seconds of a step, memory in GiB.
OF_ATTENTION = {
    "full": (0.0, 0.31, 0.41), "shared_full": (0.013, 0.29, 0.39), "lsh": (0.031, 0.37, 0.27),
    "local": (0.055, 0.19, 0.22), "local lsh": (0.043, 0.28, 0.25),
}  # fmt: skip
OF_RESIDUAL = {"standard": (0.0, 1.0, 1.0), "reversible": (0.006, 1.38, 0.46)}
STEPS, EVERY, TOKENS = 200, 10, 2048
BASELINE = {
    "name": "byte frequencies", "loss_nats": 5.13 * math.log(2), "bits_per_dim": 5.13,
    "accuracy": 0.137,
}  # fmt: skip


def grid_study(
    folder: Path,
    variants: int = 24,
    seeds: int = 3,
    *,
    numbers: str = "optim.lr",
    values: Sequence[float] | None = None,
    labels: Callable[[str, Any], str] | Mapping[Any, str] | None = None,
    endings: Mapping[tuple[int, int], str] | None = None,
    evaluations: Mapping[str, list[str]] | bool = False,
    runs: bool = True,
    **keys: Any,
) -> Study:
    """Write the study and its runs below `folder`, and load it.

    `numbers` is the key of the second axis, and `values` are its numbers (default: for optim.lr
    0.0003, 0.001, 0.003 and more between them; for other keys 1, 2, 4, ...). `labels` gives each
    choice another label: from (axis, value), or a mapping from values. `endings` replaces ENDINGS
    and the variant of one ok seed. `evaluations` are those of the study; True is two of them.
    `keys` are further keys of the YAML, or replace one: report, timed, baseline, notes.
    `runs=False` leaves the study without any run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if evaluations is True:
        evaluations = {
            "rounds-2": ["model.lsh.n_hashes=2"],
            "rounds-8": ["model.lsh.n_hashes=8"],
        }
    axes = _axes(variants, numbers, values)
    content: dict[str, Any] = {
        "description": "Attention, learning rate and residual layers on a grid.",
        "timed": True,
        "base": [
            "experiment=enwik8",
            f"trainer.max_steps={STEPS}",
            f"trainer.log_every_steps={EVERY}",
            f"trainer.eval_every_steps={EVERY}",
        ],
        "axes": axes if labels is None else _labelled(axes, labels),
        "seeds": list(range(seeds)),
        "report": ["loss_memory", "learning_curves"],
    }
    if evaluations:
        content |= {"evaluations": dict(evaluations)}
        content["report"] = ["train_eval", *content["report"]]
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(content | keys, sort_keys=False, allow_unicode=True))
    study = load_study(path, folder / "runs")
    if runs:
        names = list(dict.fromkeys(cell.train for cell in study.cells))
        for cell, config in zip(study.cells, compose_cells(study), strict=True):
            at = (names.index(cell.train), cell.seed)
            write_cell(cell, config, ending_of(*at, endings))
    return study


def ending_of(variant: int, seed: int, endings: Mapping[tuple[int, int], str] | None = None) -> str:
    """How a cell of the grid ends: a status of result.json, RUNNING or WAITING."""
    if endings is not None:
        return endings.get((variant, seed), OK)
    return FAILED if variant == ONE_OK_SEED and seed else ENDINGS.get((variant, seed), OK)


@contextmanager
def running(study: Study) -> Iterator[None]:
    """The cells that have begun and not ended are held as a live run holds them."""
    with ExitStack() as stack:
        for cell in study.cells:
            if (cell.directory / LOG).exists() and not (cell.directory / RESULT).exists():
                stack.enter_context(locked(cell.directory))
        yield


def write_cell(cell: Cell, config: RunConfig, ending: str = OK) -> None:
    """A run directory as experiments.train leaves it: config, log, curve, result, evaluations."""
    if ending == WAITING:
        return
    directory = cell.directory
    directory.mkdir(parents=True)
    (directory / CONFIG).write_text(config_text(config))
    draw = random.Random(f"{config.model.attention} {config.optim.lr} {_number(config)}")
    own = random.Random(f"{draw.random()} {config.model.residual} {cell.seed}")
    attention, residual = OF_ATTENTION[config.model.attention], OF_RESIDUAL[config.model.residual]
    bits = 2.35 + attention[0] + residual[0] + _bits_of_numbers(config) + own.gauss(0, 0.004)
    seconds = attention[1] * residual[1] * own.uniform(0.97, 1.03)
    memory = attention[2] * residual[2]
    share = {OK: 1.0, RUNNING: 0.55, FAILED: 0.3, OOM: 0.1, TIMEOUT: 0.8}[ending]
    rows = []
    for step in range(EVERY, int(STEPS * share) + 1, EVERY):
        now = bits + 0.02 + 3.1 * math.exp(-step / 18) + 0.4 * math.exp(-step / 70)
        at = {"step": step, "seconds": step * seconds, "tokens": step * TOKENS}
        for split, noise in (("train", 0.03), ("valid", 0.002)):
            scores = _scores(now + own.gauss(0, noise))
            rate = {"lr": config.optim.lr} if split == "train" else {}
            rows.append({**at, "split": split, **scores, **rate})
    lines = [json_text(row, indent=None) for row in rows]
    (directory / METRICS).write_text("".join(lines))
    (directory / LOG).write_text(f"step {rows[-1]['step']}/{STEPS}\n{ERRORS.get(ending, ending)}\n")
    if ending == RUNNING:
        return
    result: dict[str, Any] = {"status": ending, "error": ERRORS.get(ending)}
    result |= dict.fromkeys(RESULT_NUMBERS)
    if ending == OK:
        result |= {"steps": STEPS, **_scores(bits), "peak_memory_gib": memory}
        result |= _times(seconds) | {"parameters": 1_054_208}
        for name, overrides in config.evaluations.items():
            scores = _scores(bits + own.uniform(0, 0.05))
            text = json_text({"name": name, "overrides": overrides, **scores, "tokens": 32768})
            place = evaluation_path(directory, name)
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
    result |= {
        "baseline": BASELINE if ending == OK else None, "device": "CPU, 2 cores", "threads": 2,
        "versions": {"torch": "2.13.0", "lightning": "2.6.6"}, "git_commit": "0123abc",
        "finished_at": "2026-11-21T12:00:00+00:00",
    }  # fmt: skip
    (directory / RESULT).write_text(json.dumps(result, indent=2) + "\n")


def _axes(variants: int, numbers: str, values: Sequence[float] | None) -> dict[str, list[Any]]:
    """Words x numbers x words whose product is `variants`."""
    residuals = RESIDUALS if variants % 2 == 0 else RESIDUALS[:1]
    rest = variants // len(residuals)
    if values is None:
        n_words = next(n for n in (4, 5, 3, 2, 1) if rest % n == 0)
        n_values = rest // n_words
        values = _rates(n_values) if numbers == "optim.lr" else [2**i for i in range(n_values)]
    else:
        n_words = rest // len(values)
    axes = {
        "model.attention": list(ATTENTIONS[:n_words]),
        numbers: list(values),
        "model.residual": list(residuals),
    }
    if math.prod(map(len, axes.values())) != variants:
        raise ValueError(f"{variants} variants are no product of such axes")
    return axes


def _rates(count: int) -> list[float]:
    if count <= 3:
        return [0.0003, 0.001, 0.003][:count]
    return [float(f"{0.0003 * 10 ** (i / (count - 1)):.3g}") for i in range(count)]


def _labelled(
    axes: dict[str, list[Any]], labels: Callable[[str, Any], str] | Mapping[Any, str]
) -> dict[str, dict[str, list[str]]]:
    def label(axis: str, value: Any) -> str:
        return labels(axis, value) if callable(labels) else labels.get(value, str(value))

    return {
        axis: {label(axis, value): [f"{axis}={value}"] for value in values}
        for axis, values in axes.items()
    }


def _number(config: RunConfig) -> float:
    """What a numeric axis other than the learning rate may change."""
    return config.model.lsh.n_hashes


def _bits_of_numbers(config: RunConfig) -> float:
    """The best learning rate is 0.001, and more hash rounds are better where they are read."""
    bits = 0.02 * math.log10(config.optim.lr / 0.001) ** 2
    reads_rounds = "lsh" in config.model.attention
    return bits + (0.03 / config.model.lsh.n_hashes if reads_rounds else 0.0)


def _scores(bits: float) -> dict[str, float]:
    return {
        "loss_nats": bits * math.log(2),
        "accuracy": max(0.01, 0.78 - 0.11 * bits),
        "bits_per_dim": bits,
    }


def _times(seconds: float) -> dict[str, float]:
    return {
        "step_seconds": seconds, "step_seconds_q1": 0.98 * seconds,
        "step_seconds_q3": 1.03 * seconds, "n_timed_steps": STEPS - 5,
        "tokens_per_second": TOKENS / seconds, "train_seconds": STEPS * seconds,
        "startup_seconds": 4.2, "closing_seconds": 1.6, "waited_share": 0.01,
        "involuntary_switches": 3, "device_is_shared": False,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a made-up study of a grid with failures.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--numbers", default="optim.lr", help="the key of the numeric axis")
    parser.add_argument("--evaluations", action="store_true")
    arguments = parser.parse_args()
    study = grid_study(
        arguments.folder,
        arguments.variants,
        arguments.seeds,
        numbers=arguments.numbers,
        evaluations=arguments.evaluations,
    )
    print(f"{len(study.cells)} cells: {arguments.folder / 'grid.yaml'}, {study.directory}")


if __name__ == "__main__":
    main()
