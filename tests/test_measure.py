"""Peak memory is counted, to the byte."""

import pytest
import torch
from torch import nn

from reformer_pl.measure import GIB, PeakMemory, storage_bytes, training_tensors

CPU = torch.device("cpu")
KIB = 1024


def block(kib: int) -> torch.Tensor:
    return torch.empty(kib * KIB, dtype=torch.uint8)


def test_a_known_pattern_is_counted_exactly() -> None:
    with PeakMemory(CPU) as peak:
        a = block(100)
        b = block(300)
        del a
        c = block(50)  # 350 live
        del b
        d = block(320)  # 370 live: the peak, though 770 were allocated
        del c, d
        block(200)
    assert peak.bytes == (100 + 300) * KIB  # the first two together were the peak


def test_the_peak_may_come_late() -> None:
    with PeakMemory(CPU) as peak:
        kept = [block(10) for _ in range(20)]
        block(500)
        kept.append(block(500))
        del kept
    assert peak.bytes == 700 * KIB


def test_held_tensors_count() -> None:
    held = [block(100), block(50)]
    with PeakMemory(CPU, [*held, held[0][:10]]) as peak:
        block(20)
    assert peak.bytes == 170 * KIB


def test_views_and_in_place_work_cost_nothing() -> None:
    x = torch.zeros(8 * KIB, dtype=torch.float64)
    with PeakMemory(CPU, [x]) as peak:
        x.view(8, -1).t()[1:].neg_()
    assert peak.bytes == 64 * KIB


def test_what_autograd_saves_is_counted() -> None:
    """exp keeps its output for backward: a chain of five keeps five, the gradient is one more."""
    x = torch.zeros(16 * KIB, requires_grad=True)  # 64 KiB
    with PeakMemory(CPU) as peak, torch.no_grad():
        for _ in range(5):
            x.exp()
    assert peak.bytes == 64 * KIB
    with PeakMemory(CPU) as peak:
        y = x
        for _ in range(5):
            y = y.exp()
    assert peak.bytes == 5 * 64 * KIB


def test_an_exception_inside_passes_and_leaves_a_profiler_that_works() -> None:
    with pytest.raises(ValueError, match="inside"), PeakMemory(CPU):
        raise ValueError("inside")
    with PeakMemory(CPU) as peak:
        block(7)
    assert peak.bytes == 7 * KIB


def test_storage_bytes_counts_a_shared_storage_once() -> None:
    x = torch.zeros(10, 10, dtype=torch.float64)
    assert storage_bytes([x]) == 800
    assert storage_bytes([x, x[2:5], x.t(), x.view(-1), x.detach()]) == 800
    assert storage_bytes([x[0]]) == 800  # a view keeps the whole alive
    assert storage_bytes([x, x.clone(), torch.empty(0)]) == 1600
    assert storage_bytes([]) == 0


def test_training_tensors_are_parameters_buffers_gradients_and_optimiser_state() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    parameters = sum(p.numel() for p in model.parameters()) * 4
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    optimizer = torch.optim.Adam(model.parameters())
    assert storage_bytes(training_tensors(model, [optimizer])) == parameters + buffers
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    steps = 4 * len(list(model.parameters()))  # Adam counts its steps in one float32 each
    assert storage_bytes(training_tensors(model, [optimizer])) == 4 * parameters + buffers + steps


def test_a_gib_is_binary() -> None:
    assert GIB == 1024**3
