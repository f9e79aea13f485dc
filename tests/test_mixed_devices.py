"""A mean of memory or seconds over a CPU and a GPU is of nothing: such cells keep their scores alone."""

from pathlib import Path

from ablations.report.report import build_report
from ablations.report.table import Table
from ablations.results import load_cells
from ablations.study import Study
from test_disturbed import change
from test_interval import made_up

CPU, GPU = "CPU: AMD EPYC x 2", "NVIDIA H100 80GB HBM3"


def place(study: Study, on_gpu: set[tuple[str, int]]) -> None:
    for cell in study.cells:
        change(cell, device=GPU if (cell.train, cell.seed) in on_gpu else CPU)


def table(study: Study, name: str) -> Table:
    tables = build_report(study, load_cells(study), only=[name]).tables
    return next(table for table in tables if table.name == name)


def texts(table: Table, header: str) -> dict[str, str]:
    column = table.header.index(header)
    return {row[0]: row[column] for row in table.texts()}


def test_a_variant_on_two_devices_has_scores_and_no_cost(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    place(study, set())
    before = table(study, "loss_memory")
    assert "devices" not in before.caption
    place(study, {("LSH-4", 0)})
    after = table(study, "loss_memory")
    assert texts(after, "bits per dim") == texts(before, "bits per dim")
    memory = {name: text for name, text in texts(before, "memory (MiB)").items() if text != "-"}
    assert texts(after, "memory (MiB)") | {"LSH-4": memory["LSH-4"]} == texts(
        before, "memory (MiB)"
    )
    assert texts(after, "memory (MiB)")["LSH-4"] == texts(after, "s/step")["LSH-4"] == "-"
    assert f"{GPU}: LSH-4" in after.caption and "cannot be compared" in after.caption


def test_beside_a_baseline_on_two_devices_no_difference_of_cost_is_shown(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    place(study, {(study.baseline, 1)})
    paired = table(study, "paired")
    assert set(texts(paired, "memory (MiB)").values()) == {"- (n = 0)"}
    assert "nan" not in paired.caption and "itself (n = 3): bits per dim" in paired.caption
    assert all(text[0] in "+-" and "[" in text for text in texts(paired, "bits per dim").values())


def test_unlike_processors_are_one_kind(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1])
    place(study, set())
    change(study.cells[0], device="CPU: Intel(R) Xeon(R) Processor x 16")
    shown = table(study, "loss_memory")
    assert "devices" not in shown.caption
    assert texts(shown, "memory (MiB)")[study.cells[0].train] != "-"


def test_variants_on_a_device_each_keep_their_costs_and_the_caption_says_so(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1, 2])
    place(study, {("LSH-4", seed) for seed in (0, 1, 2)})
    shown = table(study, "loss_memory")
    assert texts(shown, "memory (MiB)")["LSH-4"] != "-"
    assert f"{GPU}: LSH-4)" in shown.caption or f"; {GPU}: LSH-4" in shown.caption
