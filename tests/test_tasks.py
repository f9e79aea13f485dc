"""Tasks: what a row is, batches as pure functions, and what held-out numbers mean."""

import bz2
import gzip
import lzma
import math
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reformer_pl.config import ConfigError, load
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import Batch, SequenceData, generator
from reformer_pl.tasks.source import read_source

TEXT = b"".join(b"Line %d of a text, and its square is %d.\n" % (i, i * i) for i in range(1000))


def task(name: str = "duplication", seed: int = 0, **values: object) -> SequenceData:
    chosen = {"name": name, "length": 16, "batch_size": 4, "eval_sequences": 10, "pairs": 4}
    return build_task(load({"task": chosen | values, "seed": seed}))


def place(
    data: SequenceData, rank: int = 0, world: int = 1, step: int = 0, fn: str = "validate"
) -> SequenceData:
    """As a Trainer of that rank, at that step, would hold it."""
    data.trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world,
        global_step=step,
        accumulate_grad_batches=1,
        state=SimpleNamespace(fn=fn),
    )
    return data


def held_out(data: SequenceData) -> torch.Tensor:
    return torch.cat([data.eval_batch(i)[0] for i in range(data.n_eval_batches)])


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "enwik"
    path.write_bytes(TEXT)
    return str(path)


@pytest.fixture(params=["duplication", "enwik8", "recall"])
def make(request: pytest.FixtureRequest, text: str) -> Callable[..., SequenceData]:
    return lambda **values: task(request.param, source=text, **values)


# every task


def test_a_training_batch_is_a_pure_function_of_seed_and_step(
    make: Callable[..., SequenceData],
) -> None:
    data, again, other = make(), make(), make(seed=1)
    in_order = [data.train_batch(step) for step in range(6)]
    torch.manual_seed(1234)
    for step in (5, 0, 3):
        assert same(again.train_batch(step), in_order[step])
        assert not torch.equal(other.train_batch(step)[0], in_order[step][0])
    assert len({str(tokens.tolist()) for tokens, _ in in_order}) == 6
    for tokens, scored in in_order:
        assert (
            tokens.dtype == torch.int64
            and scored.dtype in (torch.bool, torch.uint8)
            and tokens.shape == scored.shape == (4, 16)
        )
        assert set(tokens.flatten().tolist()) <= set(range(data.vocab_size))


def test_drawing_leaves_the_global_rng_alone(make: Callable[..., SequenceData]) -> None:
    data = make()
    state = torch.get_rng_state()
    data.train_batch(3)
    data.eval_batch(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_held_out_set_is_fixed(make: Callable[..., SequenceData]) -> None:
    """Whatever the seed and the batch size, and in whole."""
    expected = held_out(make())
    assert expected.shape == (10, 16)
    for seed, batch_size in ((1, 4), (0, 3), (7, 1), (0, 100)):
        data = make(seed=seed, batch_size=batch_size)
        assert data.n_eval_batches == math.ceil(10 / batch_size)
        assert torch.equal(held_out(data), expected)
    assert torch.equal(held_out(make(eval_sequences=6)), expected[:6])


@pytest.mark.parametrize("world", [1, 2, 4])
def test_rank_slices_partition_the_batch(make: Callable[..., SequenceData], world: int) -> None:
    ranks = [
        list(islice(place(make(), rank, world).train_dataloader(), 3)) for rank in range(world)
    ]
    for step in range(3):
        tokens, scored = make().train_batch(step)
        parts = [ranks[rank][step] for rank in range(world)]
        assert {len(part) for part, _ in parts} == {4 // world}
        rows = Counter(
            (tuple(t), tuple(s))
            for a, b in parts
            for t, s in zip(a.tolist(), b.tolist(), strict=True)
        )
        assert rows == Counter(
            (tuple(t), tuple(s)) for t, s in zip(tokens.tolist(), scored.tolist(), strict=True)
        )


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_each_held_out_batch_and_score_every_row_once(
    make: Callable[..., SequenceData], world: int
) -> None:
    loaders = [place(make(), rank, world).val_dataloader() for rank in range(world)]
    batches = [tokens for loader in loaders for tokens, _ in loader]
    assert {len(tokens) for tokens in batches} == {1: {4, 2}, 2: {2, 1}, 3: {2, 1}}[world]
    assert sorted(torch.cat(batches).tolist()) == sorted(held_out(make()).tolist())


def test_a_resumed_loader_goes_on_at_its_step(make: Callable[..., SequenceData]) -> None:
    undisturbed = list(islice(place(make()).train_dataloader(), 5))
    resumed = list(islice(place(make(), step=3).train_dataloader(), 2))
    assert same(resumed[0], undisturbed[3]) and same(resumed[1], undisturbed[4])


def test_curve_sequences_thins_the_held_out_set_while_training_only(
    make: Callable[..., SequenceData],
) -> None:
    values = {"batch_size": 1, "curve_sequences": 3}
    expected = held_out(make()).tolist()
    scored = [tokens[0].tolist() for tokens, _ in place(make(**values), fn="fit").val_dataloader()]
    assert [expected.index(row) for row in scored] == [0, 3, 6]
    by_rank = [
        [t[0].tolist() for t, _ in place(make(**values), rank, 2, fn="fit").val_dataloader()]
        for rank in (0, 1)
    ]
    assert sorted(by_rank[0] + by_rank[1]) == sorted(scored)
    for batch_size in (2, 3):
        thinned = place(make(batch_size=batch_size, curve_sequences=3), fn="fit").val_dataloader()
        assert [row.tolist() for tokens, _ in thinned for row in tokens] == scored
    assert len(list(place(make(**values)).val_dataloader())) == 10
    assert len(list(place(make(batch_size=1, curve_sequences=99), fn="fit").val_dataloader())) == 10


def test_the_generator_depends_on_every_word_and_their_order() -> None:
    words = [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 0), (2, 1, 0), (0, 1, 2)]
    drawn = [tuple(torch.randint(2**31, (4,), generator=generator(*w)).tolist()) for w in words]
    assert len(set(drawn)) == len(words)
    assert drawn[0] == tuple(torch.randint(2**31, (4,), generator=generator(0)).tolist())


# duplication


@pytest.mark.parametrize("length", [4, 16, 66])
def test_a_duplication_row_is_0_w_0_w_and_the_second_w_is_scored(length: int) -> None:
    data = task(length=length, batch_size=7)
    half = length // 2
    for tokens, scored in (data.train_batch(0), data.train_batch(1), data.eval_batch(0)):
        assert tokens.shape == (7, length)
        for row, marks in zip(tokens.tolist(), scored.tolist(), strict=True):
            word = row[1:half]
            assert row == [0, *word, 0, *word] and all(1 <= symbol <= 127 for symbol in word)
            assert marks == [False] * (half + 1) + [True] * (half - 1)


def test_words_are_uniform_over_1_to_127() -> None:
    words = task(length=512, batch_size=256).train_batch(0)[0][:, 1:256]
    counts = torch.bincount(words.flatten(), minlength=128)
    assert counts[0] == 0 and len(counts) == 128
    expected = words.numel() / 127
    chi_square = ((counts[1:] - expected) ** 2 / expected).sum().item()
    assert chi_square < 126 + 5 * math.sqrt(
        2 * 126
    )  # 126 degrees of freedom, five standard deviations


def test_rows_differ_and_no_held_out_word_is_trained_on() -> None:
    data = task(length=16, eval_sequences=64)
    rows = {tuple(row) for row in held_out(data).tolist()}
    assert len(rows) == 64
    for seed in (0, 1, 2):
        data = task(seed=seed)
        trained = {tuple(row) for step in range(1000) for row in data.train_batch(step)[0].tolist()}
        assert len(trained) == 4000 and not trained & rows


def test_chance_is_1_in_127() -> None:
    data = task()
    assert data.vocab_size == 128
    baseline = data.baseline()
    assert baseline["accuracy"] == 1 / 127
    assert baseline["loss_nats"] == pytest.approx(math.log(127)) and baseline[
        "bits_per_dim"
    ] == pytest.approx(math.log2(127))


# enwik8


def test_enwik8_is_split_90_5_5_by_bytes(text: str) -> None:
    data = task("enwik8", source=text)
    n = len(TEXT)
    assert bytes(data.train) == TEXT[: int(0.90 * n)]
    assert bytes(data.scored) == TEXT[int(0.90 * n) : int(0.95 * n)]


def test_training_windows_are_pieces_of_the_first_part_from_anywhere(text: str) -> None:
    data = task("enwik8", source=text, batch_size=64, length=32)
    train, starts = TEXT[: int(0.90 * len(TEXT))], []
    for step in range(4):
        tokens, scored = data.train_batch(step)
        assert scored.all()
        for row in tokens.tolist():
            starts.append(train.find(bytes(row)))
    assert min(starts) >= 0
    assert len({start % 32 for start in starts}) > 25  # not cut at multiples of the length
    assert max(starts) > 0.9 * len(train) and min(starts) < 0.1 * len(train)


def test_the_last_training_window_can_be_drawn(tmp_path: Path) -> None:
    """A first part one byte longer than a window has two windows, and both come."""
    path = tmp_path / "text"
    path.write_bytes(bytes(range(40)))  # 36 for training, 2 held out
    data = task("enwik8", source=str(path), length=2, batch_size=400)
    assert {row[0] for row in data.train_batch(0)[0].tolist()} == set(range(35))


@pytest.mark.parametrize("length", [16, 37])
def test_held_out_windows_are_whole_and_back_to_back(text: str, length: int) -> None:
    valid = TEXT[int(0.90 * len(TEXT)) : int(0.95 * len(TEXT))]
    whole = len(valid) // length
    data = task("enwik8", source=text, length=length, eval_sequences=0, batch_size=7)
    assert data.n_eval_sequences == whole
    assert bytes(held_out(data).flatten().tolist()) == valid[: whole * length]
    assert (
        task("enwik8", source=text, length=length, eval_sequences=10**6).n_eval_sequences == whole
    )


def byte_frequency_bits(train: bytes, held_out: bytes) -> float:
    """Bits per byte of a code from the training part's byte counts plus one, in plain Python."""
    counts = Counter(train)
    total = len(train) + 256
    return sum(-math.log2((counts[byte] + 1) / total) for byte in held_out) / len(held_out)


def test_the_baseline_is_the_byte_frequencies_of_the_training_part(text: str) -> None:
    cut, end = int(0.90 * len(TEXT)), int(0.95 * len(TEXT))
    for windows in (0, 10):
        data = task("enwik8", source=text, eval_sequences=windows)
        seen = TEXT[cut:end][: data.n_eval_sequences * 16]
        baseline = data.baseline()
        assert baseline["name"] == "byte frequencies"
        assert baseline["bits_per_dim"] == pytest.approx(
            byte_frequency_bits(TEXT[:cut], seen), abs=1e-9
        )
        assert baseline["loss_nats"] == pytest.approx(
            baseline["bits_per_dim"] * math.log(2), abs=1e-12
        )
        commonest = Counter(TEXT[:cut]).most_common(1)[0][0]
        assert baseline["accuracy"] == pytest.approx(seen.count(commonest) / len(seen), abs=1e-12)


def compressed(path: Path, kind: str, data: bytes) -> Path:
    path = path / f"text.{kind}"
    match kind:
        case "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("text", data)
        case "gz":
            path.write_bytes(gzip.compress(data))
        case "bz2":
            path.write_bytes(bz2.compress(data))
        case "xz":
            path.write_bytes(lzma.compress(data))
        case "txt":
            path.write_bytes(data)
    return path


KINDS = ["zip", "gz", "bz2", "xz"]


@pytest.mark.parametrize("kind", [*KINDS, "txt"])
def test_every_kind_of_file_reads_the_same_bytes(tmp_path: Path, text: str, kind: str) -> None:
    path = compressed(tmp_path, kind, TEXT)
    assert read_source(str(path)) == TEXT
    data, plain = (task("enwik8", source=source) for source in (str(path), text))
    assert same(data.train_batch(4), plain.train_batch(4)) and torch.equal(
        held_out(data), held_out(plain)
    )


@pytest.mark.parametrize(
    "harm", ["cut", "tail cut", "bytes changed", "another kind", "nothing left"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupt_file_is_refused(tmp_path: Path, kind: str, harm: str) -> None:
    path = compressed(tmp_path, kind, TEXT)
    good = path.read_bytes()
    middle = len(good) // 2
    bad = {
        "cut": good[:middle],
        "tail cut": good[:-5],
        "bytes changed": good[:middle]
        + bytes(255 - byte for byte in good[middle : middle + 40])
        + good[middle + 40 :],
        "another kind": TEXT,
        "nothing left": b"",
    }[harm]
    path.write_bytes(bad)
    refused(str(path), "fetch the file again")


def test_missing_empty_and_too_short_files_are_refused(tmp_path: Path) -> None:
    refused(str(tmp_path / "nowhere"), "is not a file.*task.source=sample")
    refused(str(tmp_path), "is not a file")
    refused("", "is not a file")
    refused("x" * 300, "cannot be read.*task.source=sample")
    refused("~nobody-of-that-name/enwik8", "home directory ~nobody-of-that-name is not known")
    empty, short = tmp_path / "empty", tmp_path / "short"
    empty.write_bytes(b"")
    refused(str(empty), "is empty")
    refused(str(compressed(tmp_path, "gz", b"")), "is empty")
    short.write_bytes(TEXT[:310])  # the held-out 5% is one byte short of a window
    refused(
        str(short), "shorter than one window of task.length 16.*a longer file or a shorter length"
    )
    short.write_bytes(TEXT[:320])
    assert task("enwik8", source=str(short)).n_eval_sequences == 1


def refused(source: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=fix) as error:
        task("enwik8", source=source)
    assert "\n" not in str(error.value)


def test_the_sample_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reformer_pl.tasks.source.find_spec", lambda name: None)
    refused("sample", r"pip install -e '\.\[samples\]'")


@pytest.mark.skipif(find_spec("gensim") is None, reason="needs the extra `samples`")
def test_the_sample_is_wikipedia_and_its_byte_frequencies_give_5_13_bits() -> None:
    data = task("enwik8", source="sample", length=1024, eval_sequences=0)
    text = bytes(np.concatenate([data.train, data.scored]))
    assert text.startswith(b"<mediawiki") and b"[[" in text
    assert data.n_eval_sequences == len(data.scored) // 1024 > 250
    bits = data.baseline()["bits_per_dim"]
    assert bits == pytest.approx(5.13, abs=0.01)
    windows = bytes(data.scored[: data.n_eval_sequences * 1024])
    assert bits == pytest.approx(byte_frequency_bits(bytes(data.train), windows), abs=1e-9)
