"""Twice the length is about twice the memory of each rival, but for `topk`, which is quadratic."""

import pytest
import torch

from reformer_pl.attention import MultiHeadAttention, build_attention
from reformer_pl.measure import PeakMemory, predict_attention_memory
from tiny import tiny

SIZES = [
    *("model.d_model=32", "model.lsh.chunk_len=16", "model.local.chunk_len=16"),
    *("model.sinks.window=16", "model.blocks.chunk_len=16", "model.topk.n_keys=16"),
    *("task.batch_size=2", "trainer.threads=1", "benchmark.measure=attention"),
]


def measured_bytes(word: str, length: int) -> int:
    """The peak of one kernel, forward and backward, above its inputs."""
    attention = build_attention(tiny(*SIZES).model, word)
    assert isinstance(attention, MultiHeadAttention)
    q, k, v = (torch.randn(2, 2, length, 16, requires_grad=True) for _ in range(3))
    with PeakMemory(torch.device("cpu")) as peak:
        attention.kernel(q, k, v).sum().backward()
    return peak.bytes


def predicted_bytes(word: str, length: int) -> float:
    config = tiny(*SIZES, f"model.attention={word}", f"task.length={length}")
    return predict_attention_memory(config)["total"]


@pytest.mark.parametrize("word", ["local", "sinks", "blocks"])
@pytest.mark.parametrize("peak, length", [(measured_bytes, 4096), (predicted_bytes, 8192)])
def test_twice_the_length_is_at_most_2_3_times_the_memory(peak, length: int, word: str) -> None:
    assert 1.3 < peak(word, 2 * length) / peak(word, length) <= 2.3


def test_topk_is_quadratic() -> None:
    assert 3.5 < measured_bytes("topk", 1024) / measured_bytes("topk", 512) < 4.5
