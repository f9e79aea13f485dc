"""`phases`: the model of a run goes on under other settings at steps that its config names."""

import copy
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from ablations.results import load_results
from ablations.study import compose_cells, load_study
from experiments import train
from experiments.compose import compose
from experiments.run_dir.files import checkpoint_path
from experiments.training.callbacks import Checkpoints
from experiments.training.coverage_file import cover
from processes import result, rows, timeless
from reformer_pl.config import ConfigError, RunConfig, changes, flat, load, to_dict
from reformer_pl.config.evaluations import load_evaluation, load_named_evaluation, phase_configs
from reformer_pl.config.loading import read_yaml
from reformer_pl.config.unread import unread_keys
from reformer_pl.measure import needed_gib, predict_memory
from reformer_pl.memory.predict import predict_step
from reformer_pl.module import TRAIN, LitSequenceModel, derived_seed, held_out_seed
from reformer_pl.optimizer import lr_factor
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import Batch
from tiny import assert_same_grads, grads, tiny

LSH = "model.attention=lsh"
FIRST = [
    "experiment=smoke",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=64-true",
    "trainer.max_steps=7",
    "trainer.eval_every_steps=1",
    "trainer.log_every_steps=1",
    "trainer.coverage_every_steps=2",
    "trainer.loggers=[]",
    "model.attention=shared_full",
    "model.residual=reversible",
]
UNCOVERED = [word for word in FIRST if "coverage" not in word]  # it reads the options of hashing
PHASES = (
    "phases={2: [model.attention=lsh, model.lsh.n_hashes=4], "
    "5: [model.attention=lsh, model.lsh.n_hashes=1, model.ff_chunks=2]}"
)
RUN = [*FIRST, PHASES, "+evaluations={LSH-8:['model.lsh.n_hashes=8']}"]
LAST_STEP = 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through all phases that nothing disturbs. It keeps the checkpoint of every step."""
    directory = tmp_path_factory.mktemp("whole")
    save = Checkpoints.save

    def save_and_keep(self: Checkpoints, trainer: Any) -> None:
        save(self, trainer)
        shutil.copytree(directory / "run", directory / f"step-{trainer.global_step}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_keep)
        assert train.main([*RUN, f"out_dir={directory / 'run'}"]) == 0
    return directory


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint_path(directory), weights_only=True)["state_dict"]


def by_hand() -> tuple[list[float], list[list[dict[str, Any]]], LitSequenceModel]:
    """(held-out loss after each step, coverage, the model): a new model and optimiser at a switch.

    They get the weights and the state of those before. Nothing here reads `phases`.
    """
    second = [LSH, "model.lsh.n_hashes=4"]
    third = [LSH, "model.lsh.n_hashes=1", "model.ff_chunks=2"]
    torch.manual_seed(0)
    module, state, losses, covered = None, None, [], []
    for step in range(LAST_STEP + 1):
        settings = {0: [], 2: second, 5: third}.get(step)
        if settings is not None:
            config = compose([*FIRST, *settings])
            data = build_task(config)
            before = module.state_dict() if module else None
            module = LitSequenceModel(config, data.vocab_size).train()
            optimizer = module.configure_optimizers()["optimizer"]
            if before:
                module.load_state_dict(before)
                optimizer.load_state_dict(state)
        with torch.no_grad():
            module.eval()
            batches = [data.eval_batch(i) for i in range(data.n_eval_batches)]
            values = [module.loss(b, held_out_seed(0)).values()["loss_nats"] for b in batches]
            module.train()
        losses.append(sum(float(v * w) for v, w in values) / sum(float(w) for _, w in values))
        if step % 2 == 0 or step == LAST_STEP:
            covered.append(cover(module, config, [data.eval_batch(0).tokens], step))
        if step < LAST_STEP:
            for group in optimizer.param_groups:
                group["lr"] = config.optim.lr * lr_factor(config.optim, step, LAST_STEP)
            module.loss(data.train_batch(step), derived_seed(0, TRAIN, step)).mean().backward()
            if config.optim.clip_norm:
                torch.nn.utils.clip_grad_norm_(module.parameters(), config.optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            state = copy.deepcopy(optimizer.state_dict())
    return losses, covered, module


def test_a_phase_goes_on_with_the_weights_and_the_optimiser_of_the_one_before(whole: Path) -> None:
    """Full, then LSH-4, then LSH-1 with chunks: float64, weights, curve and coverage."""
    losses, covered, module = by_hand()
    trained = weights(whole / "run")
    for name, value in module.state_dict().items():
        assert torch.allclose(trained[name], value, rtol=0, atol=1e-12), name
    curve = [row["loss_nats"] for row in rows(whole / "run", "valid")]
    assert curve == pytest.approx(losses[1:], rel=1e-6)  # the means of metrics are float32
    assert result(whole / "run")["loss_nats"] == pytest.approx(losses[-1], rel=1e-6)
    lines = (whole / "run" / "coverage.jsonl").read_text().splitlines()
    expected = [row for part in covered for row in part]
    assert len(lines) == len(expected) == 5 * 2 * 2 * 4  # steps, layers, heads, rounds
    for line, row in zip(lines, expected, strict=True):
        assert json.loads(line) == pytest.approx(row, abs=2e-6)


@pytest.mark.parametrize("step", [2, 3, 5], ids="at step {}".format)
def test_a_run_resumed_in_any_phase_or_at_a_switch_is_bit_equal(
    step: int, whole: Path, tmp_path: Path
) -> None:
    """Its directory may be elsewhere: out_dir is no part of the config's identity."""
    directory = tmp_path / "run"
    shutil.copytree(whole / f"step-{step}", directory)
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    assert timeless(result(directory)) == timeless(result(whole / "run"))
    resumed, expected = weights(directory), weights(whole / "run")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    for split in ("train", "valid"):
        assert list(map(timeless, rows(directory, split))) == list(
            map(timeless, rows(whole / "run", split))
        )
    for name in ("coverage.jsonl", "evaluations/LSH-8.json"):
        assert (directory / name).read_bytes() == (whole / "run" / name).read_bytes()


def test_the_peak_is_the_largest_of_all_phases(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose(RUN)
    peaks: list[float] = []

    def keep(phase: RunConfig, device: str) -> dict[str, float]:
        predicted = predict_step(phase, device)
        peaks.append(needed_gib(predicted))
        return predicted

    monkeypatch.setattr("reformer_pl.memory.predict.predict_step", keep)
    assert needed_gib(predict_memory(config)) == max(peaks)
    assert peaks[1] > max(peaks[0], peaks[2]), "neither the first phase nor the last"
    assert result(whole / "run")["peak_memory_gib"] == pytest.approx(max(peaks), rel=0.02)


def test_a_checkpoint_is_loaded_into_its_phase(whole: Path) -> None:
    for step, start in {1: 0, 2: 2, 7: 5}.items():
        path = checkpoint_path(whole / f"step-{step}")
        module = LitSequenceModel.load_from_checkpoint(path, map_location="cpu")
        assert module.phase.model == phase_configs(compose(RUN))[start].model
        assert module.model.config == module.phase.model


@pytest.mark.parametrize("residual", ["standard", "checkpoint", "reversible"])
@pytest.mark.parametrize(
    "first, later",
    [
        ("model.attention=shared_full", [LSH, "model.lsh.n_hashes=3"]),
        (LSH, ["model.lsh.chunk_len=6", "model.lsh.n_buckets=4"]),
        ("model.attention=full", ["model.attention='local topk'", "model.dropout=0.2"]),
    ],
)
def test_gradients_of_a_phase_are_those_of_its_config(
    first: str, later: list[str], residual: str
) -> None:
    """In training mode, on the parameters that the optimiser holds, and dropout drawn alike."""
    settings = [first, f"model.residual={residual}", "trainer.precision=64-true"]
    data = build_task(tiny(*settings))
    values = to_dict(tiny(*settings)) | {"phases": {3: later}}
    module = LitSequenceModel(load(values), data.vocab_size)
    parameters = dict(module.named_parameters())
    drawn = torch.get_rng_state()
    module.enter_phase(3)
    assert torch.equal(torch.get_rng_state(), drawn), "a switch draws nothing"
    assert all(parameters[name] is p for name, p in module.named_parameters())
    expected = LitSequenceModel(load(to_dict(tiny(*settings)), later), data.vocab_size)
    expected.load_state_dict(module.state_dict())
    for model in (module, expected):
        torch.manual_seed(5)
        model.loss(data.train_batch(3), 4).mean().backward()
    assert_same_grads(module, expected, tolerance=1e-12)
    module.zero_grad()
    module.enter_phase(2)
    assert module.model.config == tiny(*settings).model


def test_a_switch_keeps_the_mode_and_compiles_where_the_run_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = to_dict(tiny(LSH)) | {"phases": {1: ["model.lsh.n_hashes=1"]}}
    for compiles in (False, True):
        values["trainer"]["compile"] = compiles
        module = LitSequenceModel(load(values), 8).eval()
        module.enter_phase(1)
        assert not any(m.training for m in module.model.modules())
        compiled = {getattr(m, "is_compiled", False) for m in module.model.modules()}
        assert compiled == {compiles}


class LossOf(torch.nn.Module):
    """What DDP wraps: it calls `forward`."""

    def __init__(self, module: LitSequenceModel) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.module.loss(batch, 4).mean()


@pytest.mark.parametrize("residual", ["standard", "reversible"])
def test_ddp_reduces_the_gradients_of_every_phase(residual: str) -> None:
    """One rank is enough to see that each parameter still reaches its bucket."""
    config = tiny(LSH, f"model.residual={residual}", "trainer.precision=64-true")
    phases = {1: ["model.lsh.n_hashes=1"], 2: ["model.attention=shared_full"]}
    data, hooked = build_task(config), []
    module = LitSequenceModel(load(to_dict(config) | {"phases": phases}), data.vocab_size)
    batch = data.train_batch(0)
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )

    def halve(
        _: object, bucket: torch.distributed.GradBucket
    ) -> torch.futures.Future[torch.Tensor]:
        hooked.append(bucket.buffer().numel())
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer() / 2)
        return done

    try:
        ddp = DistributedDataParallel(LossOf(module), gradient_as_bucket_view=True)
        ddp.register_comm_hook(None, halve)
        for step in range(3):
            module.enter_phase(step)
            ddp(batch).backward()
            halved = {name: 2 * gradient for name, gradient in grads(module).items()}
            module.zero_grad()
            module.loss(batch, 4).mean().backward()
            assert_same_grads(halved, grads(module), tolerance=1e-12)
            module.zero_grad()
    finally:
        torch.distributed.destroy_process_group()
    assert sum(hooked) == 3 * sum(p.numel() for p in module.parameters())


def test_draws_of_an_evaluation_are_those_of_its_phase() -> None:
    config = load(
        to_dict(tiny("model.attention=shared_full"))
        | {"phases": {1: [LSH, "model.lsh.eval_draws=3"], 2: [LSH, "model.lsh.eval_draws=2"]}}
    )
    data = build_task(config)
    module = LitSequenceModel(config, data.vocab_size).eval()
    logged: dict[str, Any] = {}
    module.log_dict = logged.update  # type: ignore[method-assign]
    for step, draws in {0: 1, 1: 3, 2: 2}.items():
        logged.clear()
        module.enter_phase(step)
        with torch.no_grad():
            module.validation_step(data.eval_batch(0), 0)
        module.on_validation_epoch_end()
        assert ("valid/eval_draws_std" in logged) == (draws > 1)
        assert all(math.isfinite(value) for value in logged.values())


REFUSED = {
    "phases={7: [model.lsh.n_hashes=4]}": "must be below trainer.max_steps=7",
    "phases={3: [], 900: [model.lsh.n_hashes=4]}": "phases has the step 900, and no step",
    "phases={0: [model.lsh.n_hashes=4]}": "begin at step 1 or later",
    "phases={-3: [model.lsh.n_hashes=4]}": "begin at step 1 or later",
    "phases={1.5: [model.lsh.n_hashes=4]}": "a step is a whole number",
    "phases={late: [model.lsh.n_hashes=4]}": "a step is a whole number",
    "phases={010: [model.lsh.n_hashes=4]}": "a step is a whole number",
    "phases={true: [model.lsh.n_hashes=4]}": "a step is a whole number",
    "phases.x=[model.lsh.n_hashes=4]": "a step is a whole number",
    "phases={3: [], 3: [model.lsh.n_hashes=4]}": "has the step 3 twice",
    "phases={3: model.lsh.n_hashes=4}": "must be steps with lists of overrides, such as phases=",
    "phases={3: [[model.lsh.n_hashes=4]]}": "must be steps with lists",
    "phases=[model.lsh.n_hashes=4]": "must be steps with lists",
    "phases=3": "must be steps with lists",
    "phases={3: [": "must be steps with lists",
    "phases={3: [n_hashes]}": "phases.3: override 'n_hashes' is not of the form key=value",
    "phases={3: [task.length=8]}": "a phase changes keys of the model alone, and not task.length",
    "phases={3: [optim.lr=1]}": "and not optim.lr",
    "phases={3: [seed=1]}": "and not seed",
    "phases={3: ['phases={4: []}']}": "and not phases",
    "phases={3: [model=reformer]}": "and not model",
    "phases={3: [model.d_model=64]}": "a phase keeps the weights, whose shapes follow from",
    "phases={3: [model.n_layers=3]}": "whose shapes follow from model.n_layers=2",
    "phases={3: [model.positions=none]}": "whose shapes follow from model.positions=",
    "phases={3: [model.n_heads=1]}": "a phase keeps the weights: a model trained with",
    "phases={3: [model.residual=standard]}": "model.residual=reversible cannot go on with standard",
    "phases={3: [model.attention=full]}": "with shared_full in layer 0 cannot go on with full",
    "phases={3: [model.attention=nosuch]}": "phases.3: model.attention=nosuch is unknown",
    "phases={3: [model.lsh.n_hashes=0]}": "phases.3: n_hashes must be at least 1",
    "phases={3: [model.lsh.n_hash=1]}": "phases.3: key model.lsh.n_hash is unknown",
}


@pytest.fixture(scope="module")
def uncovered() -> dict[str, Any]:
    return to_dict(compose(UNCOVERED))


@pytest.mark.parametrize("override", REFUSED)
def test_a_phase_that_cannot_be_is_refused_with_its_reason(
    override: str, uncovered: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        phase_configs(load(uncovered, [override]))
    assert REFUSED[override] in str(caught.value)


@pytest.mark.parametrize("override", list(REFUSED)[:25:8])
def test_the_command_line_refuses_a_phase_in_one_line(
    override: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train.main([*UNCOVERED, override, f"out_dir={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert REFUSED[override] in line
    assert not (tmp_path / "run").exists()


def test_a_benchmark_and_an_evaluation_have_no_phases() -> None:
    phases = {3: ["model.lsh.n_hashes=4"]}
    for measure in ("attention", "layer", "step"):
        with pytest.raises(ConfigError, match="and so has no phases: leave them out"):
            load({"phases": phases, "benchmark": {"measure": measure}})
    with pytest.raises(ConfigError, match="an evaluation scores one model and has no phases"):
        load_evaluation(load({}), ["phases={3: [model.lsh.n_hashes=4]}"])


FORMS = (
    "phases={300: [model.attention='local lsh', model.lsh.n_hashes=2], 600: []}",
    '+phases={300: ["model.attention=local lsh", "model.lsh.n_hashes=2"], 600: []}',
    "phases={300:['model.attention=local lsh','model.lsh.n_hashes=2'],600:[]}",
    "phases.300=[model.attention=local lsh, model.lsh.n_hashes=2] phases.600=[]",
    "+phases.300=['model.attention=local lsh',model.lsh.n_hashes=2] +phases={600: []}",
)


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_phases_means_the_same(form: str) -> None:
    overrides = form.replace(" phases", "\0phases").replace(" +phases", "\0+phases").split("\0")
    mixed = ["experiment=smoke", "trainer.max_steps=700"]
    mixed += ["model.attention=local lsh", "model.lsh.n_hashes=8"]
    composed = compose([*mixed, *overrides])
    assert list(composed.phases) == [300, 600]
    models = [config.model for config in phase_configs(composed).values()]
    assert [model.attention for model in models] == ["local lsh"] * 3
    assert [model.lsh.n_hashes for model in models] == [8, 2, 8], "each changes the first config"
    if form == FORMS[0]:  # by the way of a study's cells, too
        assert to_dict(compose([*mixed, *overrides], {})) == to_dict(composed)
    typed = load(
        to_dict(composed) | {"phases": {}}, [override.removeprefix("+") for override in overrides]
    )
    assert typed.phases == composed.phases
    assert to_dict(load(json.loads(json.dumps(to_dict(composed))))) == to_dict(composed)


def test_evaluations_change_the_settings_of_the_last_phase(whole: Path) -> None:
    config = compose(RUN)
    last = phase_configs(config)[5]
    scored = load_named_evaluation(config, "LSH-8")
    assert (scored.model.attention, scored.model.lsh.n_hashes, scored.model.ff_chunks) == (
        "lsh",
        8,
        2,
    )
    assert load_evaluation(config, []).model == last.model
    assert scored.phases == {}


def test_phases_are_a_part_of_what_a_run_is(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_yaml(whole / "run" / "config.yaml")["phases"] == {
        2: [LSH, "model.lsh.n_hashes=4"],
        5: [LSH, "model.lsh.n_hashes=1", "model.ff_chunks=2"],
    }
    other = [*FIRST, "phases={2: [model.attention=lsh]}"]
    later = compose(other)
    first = load(to_dict(later) | {"phases": {}})
    assert changes(first, later) == "phases {} -> {2: ['model.attention=lsh']}"
    assert train.main([*other, f"out_dir={whole / 'run'}"]) == 2
    assert "holds a run with another config (phases {2:" in capsys.readouterr().err


def test_keys_that_a_phase_alone_reads_are_read() -> None:
    def unread(config: RunConfig) -> set[str]:
        return unread_keys(flat(to_dict(config)))

    assert "model.lsh.n_hashes" in unread(compose(UNCOVERED))
    later = compose([*UNCOVERED, "phases={3: [model.attention=lsh]}"])
    assert "model.lsh.n_hashes" not in unread(later)
    assert {"model.local.chunk_len", "model.topk.n_keys"} <= unread(later)


def test_a_cell_of_a_study_may_have_phases(whole: Path, tmp_path: Path) -> None:
    """The study of docs/studies.md, and the ways in which its YAML may quote them."""
    page = (Path(__file__).parent.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "phases=" in b)
    path = tmp_path / "rounds.yaml"
    path.write_text(
        f"{block}when: {{}}\n".replace(
            "evaluations:",
            "    Block:\n"
            "      - model.attention=lsh\n"
            "      - phases={3:[model.lsh.n_hashes=2],6:[model.lsh.n_hashes=1]}\n"
            "evaluations:",
        )
    )
    study = load_study(path, tmp_path / "runs")
    full, falling, block = (config.phases for config in compose_cells(study)[1:])
    assert full == {500: [LSH, "model.lsh.n_hashes=1"]}
    assert falling == {400: ["model.lsh.n_hashes=4"], 800: ["model.lsh.n_hashes=1"]}
    assert block == {3: ["model.lsh.n_hashes=2"], 6: ["model.lsh.n_hashes=1"]}


def test_the_columns_of_a_run_are_its_settings_before_the_first_phase(whole: Path) -> None:
    frame = load_results(whole)
    assert json.loads(frame["config.phases"].iloc[0])["2"] == [LSH, "model.lsh.n_hashes=4"]
    first = frame[["config.model.attention", "config.model.lsh.n_hashes"]].iloc[0]
    assert list(first) == ["shared_full", 2], "the settings before the first phase"
