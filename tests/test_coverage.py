"""Attention coverage equals its definition, and a run that measures it is the same run."""

import itertools
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import definition
from ablations.report.report import build_report
from ablations.result_columns import COVERAGE_COLUMNS
from ablations.results import load_cells, load_coverage
from ablations.study import Study, load_study
from experiments import train
from experiments.training import coverage_file as coverage
from experiments.training.coverage_file import cover
from processes import Fault, exit_code, result, rows, start, timeless
from reformer_pl.config.rules import ConfigError, bucket_factors
from reformer_pl.lsh import draw_rotations
from reformer_pl.measure import attention_coverage
from reformer_pl.module import LitSequenceModel
from reformer_pl.reach.coverage import ROUNDS
from reformer_pl.tasks import build_task
from tiny import tiny

B, H, D = 2, 2, 4
SMOKE = [
    "experiment=smoke",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.max_steps=6",
    "trainer.eval_every_steps=4",
]
SMOKE += [
    "trainer.log_every_steps=2",
    "model.attention=lsh local",
    "model.dropout=0.1",
    "model.residual=reversible",
]
EVERY = "trainer.coverage_every_steps=2"


def drawn(length: int, factors: tuple[int, ...], sharp: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    qk = sharp * torch.randn(B, H, length, D, generator=generator, dtype=torch.float64)
    return qk, draw_rotations(H, D, max(ROUNDS), factors, generator).double()


def quadratic(
    qk: Tensor, buckets: Tensor, chunk_len: int, bucket_mask: bool, window: str
) -> Tensor:
    """(mass, chance, ceiling), each (B, H), from the definition over all queries and rounds of buckets."""
    length = qk.shape[2]
    seen = torch.ones(length, length, dtype=torch.bool).tril(-1)
    seen[0, 0] = True
    mass, chance, ceiling = shares = torch.empty(3, B, H, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            q = qk[b, h]
            weight = (
                (q @ (q / q.norm(dim=-1, keepdim=True)).T).masked_fill(~seen, -math.inf).softmax(-1)
            )
            padded = torch.zeros(length, dtype=torch.bool)
            options = {
                "chunk_len": chunk_len,
                "causal": True,
                "bucket_mask": bucket_mask,
                "window": window,
            }
            hit = definition.reach_counts(buckets[b, h].long(), padded, **options) > 0
            hit[0, 0] = True
            mass[b, h], chance[b, h] = (
                (weight * hit).sum(-1).mean(),
                (hit.sum(-1) / seen.sum(-1).double()).mean(),
            )
            best = [
                sum(sorted(w)[length - n :])
                for w, n in zip(weight.tolist(), hit.sum(-1), strict=True)
            ]
            ceiling[b, h] = sum(best) / length
    return shares


@pytest.mark.parametrize(
    "window, bucket_mask", [("chunk", True), ("chunk", False), ("causal", True), ("wrap", False)]
)
@pytest.mark.parametrize("length, n_buckets", [(24, 4), (23, None), (26, (2, 4)), (3, 2)])
def test_coverage_is_what_the_definition_says(
    window: str, bucket_mask: bool, length: int, n_buckets: Any
) -> None:
    factors = bucket_factors(n_buckets, length, 4)
    qk, rotations = drawn(length, factors)
    options = {"chunk_len": 4, "bucket_mask": bucket_mask, "window": window}
    found = attention_coverage(
        qk, n_buckets=n_buckets, rotations=rotations, n_queries=length, **options
    )
    buckets = definition.hash_buckets(qk, rotations, factors)
    for i, r in enumerate(ROUNDS):
        expected = quadratic(qk, buckets[:, :, :r], **options)
        for share, by_definition in zip(found, expected, strict=True):
            torch.testing.assert_close(share[i], by_definition, rtol=0, atol=1e-12)
    assert (found.ceiling >= found.mass - 1e-12).all()
    assert (found.ceiling >= found.chance - 1e-12).all()
    if window != "wrap":  # whose first chunk looks into another round when there are more
        assert (found.mass.diff(dim=0) >= -1e-12).all() and (
            found.chance.diff(dim=0) >= -1e-12
        ).all()
    assert length == 3 or (found.mass[0] < 1).all()


@pytest.mark.parametrize("length", [1, 2, 17])
def test_one_chunk_of_one_bucket_reaches_everything(length: int) -> None:
    qk, rotations = drawn(length, (2,))
    found = attention_coverage(
        qk.abs(),
        chunk_len=length,
        n_buckets=2,
        rotations=rotations.abs(),
        generator=torch.Generator(),
    )
    torch.testing.assert_close(found.mass, torch.ones_like(found.mass))
    torch.testing.assert_close(found.chance, torch.ones_like(found.chance))
    torch.testing.assert_close(found.ceiling, torch.ones_like(found.ceiling))


@pytest.mark.parametrize("n_clusters, chunk_len", [(2, 16), (3, 11), (4, 8)])
def test_buckets_that_hold_the_best_keys_reach_the_ceiling(n_clusters: int, chunk_len: int) -> None:
    """Vectors point along the axes, and the rotations send each axis to a bucket of its own.

    So the keys of a query's bucket are its best, and no others weigh as much.
    """
    length = n_clusters * chunk_len
    qk = 9 * torch.eye(n_clusters, dtype=torch.float64)[torch.arange(length) % n_clusters]
    rotations = torch.eye(n_clusters, dtype=torch.float64)[None, :, None]
    options = {"chunk_len": chunk_len, "n_buckets": 2 * n_clusters, "rounds": (1,)}
    found = attention_coverage(qk[None, None], rotations=rotations, n_queries=length, **options)
    torch.testing.assert_close(found.ceiling, found.mass, rtol=0, atol=1e-12)
    assert (found.mass > found.chance + 0.1).all() and (found.mass < 1).all()


def test_the_sample_of_queries_and_the_draw_are_the_generators_and_the_mean_is_unbiased() -> None:
    qk, rotations = drawn(24, (4,))
    few = {"chunk_len": 4, "n_buckets": 4, "n_queries": 6}
    one, again, other = (
        attention_coverage(qk, **few, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.mass, again.mass) and not torch.equal(one.mass, other.mass)
    samples = [
        attention_coverage(
            qk, **few, rotations=rotations, generator=torch.Generator().manual_seed(i)
        ).mass
        for i in range(200)
    ]
    whole = attention_coverage(qk, **{**few, "n_queries": 24}, rotations=rotations).mass
    torch.testing.assert_close(torch.stack(samples).mean(0), whole, rtol=0, atol=0.05)


def test_vectors_in_clusters_are_covered_beyond_chance_and_uniform_attention_is_not() -> None:
    """The two ends of the scale.

    Hashing finds what attends to each other, and says nothing where all attend to all.
    """
    generator = torch.Generator().manual_seed(0)
    length = 256
    centres = torch.nn.functional.normalize(torch.randn(16, 16, generator=generator), dim=-1)
    clustered = 20 * centres[torch.randint(16, (1, 1, length), generator=generator)]
    clustered = clustered + 0.1 * torch.randn(clustered.shape, generator=generator)
    found = attention_coverage(clustered, chunk_len=32, n_queries=length, generator=generator)
    assert (found.mass > 0.9).all() and (found.chance < 0.6).all()
    random = torch.randn(1, 1, length, 16, generator=generator)
    found = attention_coverage(1e-3 * random, chunk_len=32, n_queries=length, generator=generator)
    torch.testing.assert_close(found.mass, found.chance, rtol=0, atol=0.01)


def test_bfloat16_is_added_up_in_float32_and_an_illegal_mode_is_refused() -> None:
    qk, rotations = drawn(24, (4,))
    found = attention_coverage(qk.bfloat16(), chunk_len=4, n_buckets=4, rotations=rotations)
    assert found.mass.dtype == torch.float32 and (found.mass <= 1 + 1e-6).all()
    for bad in (
        {"window": "wrap"},
        {"window": "ring"},
        {"rounds": (0, 1)},
        {"n_queries": 0},
        {"n_buckets": 3},
    ):
        with pytest.raises(ConfigError):
            attention_coverage(qk, **{"chunk_len": 4, **bad})


def covered(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "coverage.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def with_coverage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("with")
    assert train.main([*SMOKE, EVERY, f"out_dir={directory}"]) == 0
    return directory


def test_a_run_that_measures_coverage_is_the_same_run(with_coverage: Path, tmp_path: Path) -> None:
    """Bit for bit. Every step, layer, head and number of rounds has its row.

    A layer has rows where its queries are its keys.
    """
    assert train.main([*SMOKE, f"out_dir={tmp_path}"]) == 0
    assert not (tmp_path / "coverage.jsonl").exists()
    assert timeless(result(with_coverage)) == timeless(result(tmp_path))
    assert [timeless(row) for row in rows(with_coverage)] == [
        timeless(row) for row in rows(tmp_path)
    ]
    one, two = (
        torch.load(d / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for d in (with_coverage, tmp_path)
    )
    assert all(torch.equal(one[name], two[name]) for name in one | two)
    found = covered(with_coverage)
    keys = [(row["step"], row["layer"], row["head"], row["rounds"]) for row in found]
    assert sorted(keys) == [
        (step, 0, head, r) for step in (0, 2, 4, 6) for head in (0, 1) for r in ROUNDS
    ]  # layer 1 is local
    assert all(0 <= row["chance"] <= 1 and 0 <= row["coverage"] <= 1 for row in found)
    assert all(row["coverage"] - 1e-6 <= row["ceiling"] <= 1 + 1e-6 for row in found)


KILLS = {
    "before any checkpoint": (
        "experiments.training.callbacks",
        "MetricsFile.on_train_batch_end",
        3,
    ),
    "between its rows and the checkpoint": (
        "experiments.training.callbacks",
        "Checkpoints.on_train_batch_end",
        4,
    ),
    "after a checkpoint": (
        "experiments.training.coverage_file",
        "CoverageFile.on_train_batch_end",
        6,
    ),
}


@pytest.mark.parametrize("when", KILLS)
def test_a_killed_run_repeats_no_row(with_coverage: Path, tmp_path: Path, when: str) -> None:
    arguments = [*SMOKE, EVERY, f"out_dir={tmp_path}"]
    assert (
        exit_code(
            start(
                "experiments.train",
                arguments,
                tmp_path / "log.txt",
                (Fault(signal.SIGKILL, *KILLS[when]),),
            )
        )
        == -signal.SIGKILL
    )
    with (tmp_path / "coverage.jsonl").open("a") as file:
        file.write('{"step": 4, "lay')  # a row that the crash cut short
    assert train.main(arguments) == 0
    assert covered(tmp_path) == covered(with_coverage)
    assert result(tmp_path)["loss_nats"] == result(with_coverage)["loss_nats"]


def test_neither_its_seconds_nor_its_memory_are_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that only the measurement moves, no step takes any time."""
    clock, original = [0.0], coverage.attention_coverage

    def slow_and_large(*args: Any, **options: Any) -> Any:
        clock[0] += 100
        held = torch.empty(1 << 30, dtype=torch.uint8)  # never touched
        found = original(*args, **options)
        del held
        return found

    monkeypatch.setattr(coverage, "attention_coverage", slow_and_large)
    monkeypatch.setattr("experiments.training.callbacks._now", lambda device: clock[0])
    arguments = [*SMOKE, "trainer.coverage_every_steps=1", f"out_dir={tmp_path}"]
    train.main(arguments)  # it trains, and fails where it divides by the seconds of a step
    assert clock[0] == 700
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"][
        "Cost"
    ]
    assert (
        state["train_seconds"] == 0
        and not any(state["step_seconds"])
        and 0 < state["peak_bytes"] < 1 << 29
    )


@pytest.mark.parametrize("residual", ["standard", "checkpoint", "reversible"])
def test_cover_sees_every_layer_of_shared_queries_and_keys_and_leaves_nothing_behind(
    residual: str,
) -> None:
    config = tiny(
        f"model.residual={residual}",
        "model.n_layers=4",
        "model.attention=full shared_full local lsh",
        "model.dropout=0.2",
    )
    module = LitSequenceModel(config, build_task(config).vocab_size).train()
    before = {name: set(vars(part)) for name, part in module.named_modules()}
    state = torch.get_rng_state()
    found = cover(module, config, [build_task(config).eval_batch(0).tokens], 0)
    assert sorted({(row["layer"], row["head"]) for row in found}) == [
        (1, 0),
        (1, 1),
        (3, 0),
        (3, 1),
    ]
    assert module.training and all(part.training for part in module.model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert before == {name: set(vars(part)) for name, part in module.named_modules()}
    assert not any(part._forward_hooks for part in module.modules())


def recorded_study(folder: Path) -> Study:
    """Two variants and seeds, two layers of two heads, coverage by round.

    The first seed of the second variant has failed.
    """
    (folder / "covered.yaml").write_text(json.dumps({
        "base": ["experiment=smoke", "model.n_layers=2", "trainer.coverage_every_steps=5"],
        "seeds": [0, 1],
        "report": ["coverage"],
        "axes": {
            "train": {"Full": ["model.attention=shared_full"], "LSH-1": ["model.attention=lsh"]}
        },
    }))  # fmt: skip
    study = load_study(folder / "covered.yaml", folder / "runs")
    for i, cell in enumerate(study.cells):
        cell.directory.mkdir(parents=True)
        failed = (cell.train, cell.seed) == ("LSH-1", 0)
        (cell.directory / "result.json").write_text(
            json.dumps(
                {"status": "failed" if failed else "ok", "error": "boom" if failed else None}
            )
        )
        found = [
            {
                "step": step,
                "layer": layer,
                "head": head,
                "rounds": r,
                "coverage": 0.1 * r + 0.01 * head + 0.001 * i,
                "chance": 0.05 * r,
                "ceiling": 0.12 * r,
            }
            for step, layer, head, r in itertools.product(
                (0, 5, 10, 15, 20), (0, 1), (0, 1), ROUNDS
            )
        ]
        (cell.directory / "coverage.jsonl").write_text(
            "".join(f"{json.dumps(row)}\n" for row in found) + '{"step": 20, "la'
        )
    return study


def test_the_report_shows_the_mean_and_the_range_over_layers_heads_and_seeds_that_ended_well(
    tmp_path: Path,
) -> None:
    study = recorded_study(tmp_path)
    found, cells = load_coverage(study), load_cells(study)
    assert tuple(found.columns) == COVERAGE_COLUMNS and len(found) == 4 * 5 * 4 * len(ROUNDS)
    report = build_report(study, cells)
    (table,), (drawing,) = report.tables, report.figures
    texts = {row[0]: row[1:] for row in table.texts()}
    assert len(texts) == 2 * len(ROUNDS) and table.header == (
        "trained with",
        *("start", "chance", "ceiling"),
        *("middle", "chance", "ceiling"),
        *("end", "chance", "ceiling"),
        "n",
    )
    assert texts["Full, 2 rounds"] == (
        *("20.6 (20.0-21.2)", "10.0", "24.0") * 3,
        "8",
    )  # seeds are cells 0 and 2
    assert texts["LSH-1, 1 round"] == (
        *("10.8 (10.3-11.3)", "5.0", "12.0") * 3,
        "4",
    )  # cell 3 alone
    assert "Full: 0, 10, 20" in table.caption and set(table.data["n"]) == {8, 4}
    full, lsh = drawing.figure.axes
    assert (full.get_title(), lsh.get_title()) == ("Trained with Full", "Trained with LSH-1")
    two_rounds = full.lines[3:6]  # coverage, chance, ceiling
    assert list(two_rounds[0].get_xdata()) == [0, 5, 10, 15, 20]
    for line, height in zip(two_rounds, (20.6, 10.0, 24.0), strict=True):
        assert line.get_ydata() == pytest.approx(5 * [height])


def test_rows_of_before_the_ceiling_still_load(tmp_path: Path) -> None:
    study = recorded_study(tmp_path)
    for cell in study.cells:
        path = cell.directory / "coverage.jsonl"
        path.write_text(path.read_text().replace(', "ceiling": ', ', "other": '))
    assert load_coverage(study)["ceiling"].isna().all()
    report = build_report(study, load_cells(study))
    (table,), (drawing,) = report.tables, report.figures
    texts = {row[0]: row[1:] for row in table.texts()}
    assert texts["LSH-1, 1 round"] == (*("10.8 (10.3-11.3)", "5.0", "-") * 3, "4")
    assert len(drawing.figure.axes[0].lines) == 2 * len(ROUNDS)
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert labels[-1] == "as many random keys"


def test_a_study_without_coverage_rows_says_so(tmp_path: Path) -> None:
    study = recorded_study(tmp_path)
    for cell in study.cells:
        (cell.directory / "coverage.jsonl").unlink()
    report = build_report(study, load_cells(study))
    assert load_coverage(study).empty and report.figures == ()
    (table,) = report.tables
    assert (
        table.texts() == [("Full", *["-"] * 9, "0"), ("LSH-1", *["-"] * 9, "0")]
        and "none recorded" in table.caption
    )
