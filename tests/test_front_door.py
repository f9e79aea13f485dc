"""The names of `import reformer_pl`, a config from anywhere, and the model under a Trainer of one's own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Callback, Trainer
from torch.utils.data import DataLoader

import reformer_pl
from experiments import train
from reformer_pl import ConfigError, LitSequenceModel, build_task, load_config
from reformer_pl.config import to_dict
from reformer_pl.module import TRAIN, derived_seed
from reformer_pl.tasks.batches import Batch
from tiny import assert_same_grads, grads, tiny


def test_the_package_names_its_api_and_imports_no_torch_for_it() -> None:
    code = "import sys, reformer_pl; print(*sorted({'torch', 'lightning', 'omegaconf'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    for name in reformer_pl.__all__:
        assert getattr(reformer_pl, name).__name__ == name
    assert {*reformer_pl.__all__} <= {*dir(reformer_pl)}
    with pytest.raises(AttributeError, match="no attribute lsh_attentoin"):
        reformer_pl.lsh_attentoin  # noqa: B018


def test_a_config_is_loaded_from_a_directory_a_file_and_a_dict(tmp_path: Path) -> None:
    expected = tiny("seed=3")
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(to_dict(expected) | {"optim": {"lr": 0.5}})
    )
    for source in (tmp_path, str(tmp_path / "config.yaml")):
        config = load_config(source, ["model.n_heads=4"])
        assert (config.seed, config.optim.lr, config.model.n_heads) == (3, 0.5, 4)
    assert load_config(to_dict(expected)) == expected
    for text, reason in (("a: [", "not YAML"), ("word", "holds no config"), ("a: 1", "key a is")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ConfigError, match=reason):
            load_config(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nothing")


def test_a_checkpoint_of_a_run_is_loaded_as_a_module(tmp_path: Path) -> None:
    options = ["trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_steps=2"]
    assert train.main(["experiment=smoke", *options, f"out_dir={tmp_path}"]) == 0
    path = tmp_path / "checkpoints" / "last.ckpt"
    module = LitSequenceModel.load_from_checkpoint(path)
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert module.config == load_config(tmp_path)
    data = build_task(module.config)
    assert module.loss(data.eval_batch(0), hash_seed=0).mean().isfinite()


class Gradients(Callback):
    """The gradients of each step of the optimiser."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        self.steps.append({name: g.clone() for name, g in grads(module).items()})


def fit(batches: list[Batch], accumulate: int, steps: int) -> tuple[Gradients, list[int]]:
    """The gradients of each step and the hash seed of each batch, under a Trainer of one's own."""
    config = tiny("model.attention=full", "trainer.precision=64-true")
    torch.manual_seed(0)
    module, gradients = LitSequenceModel(config, build_task(config).vocab_size), Gradients()
    loss, seeds = module.loss, []
    module.loss = lambda batch, seed: (seeds.append(seed), loss(batch, seed))[1]
    Trainer(
        accelerator="cpu",
        precision="64-true",
        accumulate_grad_batches=accumulate,
        max_steps=steps,
        max_epochs=-1,
        callbacks=[gradients],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(batches, batch_size=None))
    return gradients, seeds


def test_two_accumulated_batches_are_one_batch_of_both() -> None:
    data = build_task(tiny())
    parts = [data.train_batch(step) for step in range(4)]
    wholes = [Batch(*map(torch.cat, zip(*pair, strict=True))) for pair in (parts[:2], parts[2:])]
    accumulated, seeds = fit(parts, 2, 2)
    whole, whole_seeds = fit(wholes, 1, 2)
    assert len(accumulated.steps) == len(whole.steps) == 2
    for actual, expected in zip(accumulated.steps, whole.steps, strict=True):
        assert_same_grads(actual, expected)
    assert whole_seeds == [derived_seed(0, TRAIN, step) for step in range(2)]
    words = ((0,), (0, 1), (1,), (1, 1))  # the step, and the batch within it
    assert seeds == [derived_seed(0, TRAIN, *word) for word in words]
