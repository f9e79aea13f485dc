"""`make gpu`: what a CUDA machine can tell of this project, in one folder to be sent back.

    python tests/gpu_report.py [FOLDER]

gpu_report/
  report.md        how it went, and full attention's fastest kernel beside LSH at each length
  versions.txt     Python, torch, CUDA, cuDNN, Triton, the driver, the GPUs, the commit
  nvidia_smi.txt   nvidia-smi, before and after
  test_gpu.log     make test-gpu
  logs/, runs/     the studies fig5_speed and table3_variants on the first GPU, in bfloat16

Everything has a limit of time: what it cuts off is named in report.md. Exit codes: 0 done, 1 a test
or a case failed, 2 no CUDA device.
"""

import gc
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from ablations.report.report import load_report
from ablations.report.write import write_report
from ablations.study import Study, compose_cells, load_study
from experiments import benchmark
from experiments.run_dir.files import claim_directory
from experiments.run_dir.outcome import is_ok, result_row
from experiments.run_dir.provenance import git_commit
from reformer_pl.config import ConfigError

ROOT = Path(__file__).resolve().parent.parent
SECONDS = {"tests": 240.0, "fig5_speed": 130.0, "table3_variants": 170.0}  # 9 minutes in all
# Triton's compiler takes most of the time of the tests, so several run at once.
TEST_OPTIONS = ("-m", "gpu", "-n", "4", "--dist", "worksteal", "-rsP")
BASE = [  # of every case, beside the study's own
    "trainer.accelerator=gpu",
    "trainer.precision=bf16-mixed",
    "benchmark.repeats=3",
    "benchmark.seconds=0.2",
    "benchmark.memory_limit_gib=0",
]


class Step(NamedTuple):
    """How one part went."""

    name: str
    outcome: str
    seconds: float
    is_good: bool


def main(arguments: list[str]) -> int:
    if not torch.cuda.is_available():
        cuda = torch.version.cuda
        build = f"a build for CUDA {cuda}" if cuda else "a build for the CPU alone"
        print(
            f"error: make gpu needs a CUDA device, and torch {torch.__version__}, {build}, finds "
            "none: docs/gpu.md says which index has a build for your driver",
            file=sys.stderr,
        )
        return 2
    folder = Path(arguments[0] if arguments else "gpu_report")
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.mkdir(parents=True)
    (folder / "versions.txt").write_text(versions())
    smi = [nvidia_smi()]
    steps = [run_tests(folder)]
    studies = []
    for name in ("fig5_speed", "table3_variants"):
        study = gpu_study(name, folder)
        steps.append(run_study(study, SECONDS[name], folder))
        studies.append(study)
    smi.append(nvidia_smi())
    (folder / "nvidia_smi.txt").write_text("\n".join(smi))
    (folder / "report.md").write_text(report(steps, studies))
    print(f"report: {folder}/report.md; send the whole folder: tar czf {folder}.tgz {folder}")
    return 0 if all(step.is_good for step in steps) else 1


def versions() -> str:
    """A line for each."""
    lines = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": git_commit(ROOT) or "unknown",
        "torch": torch.__version__,
        "CUDA of torch": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }
    for package in ("triton", "lightning"):
        try:
            lines[package] = __import__(package).__version__
        except ImportError as error:
            lines[package] = f"not there: {error}"
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        lines[f"GPU {i}"] = (
            f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
            f"{properties.total_memory / 2**30:.1f} GiB, L2 {properties.L2_cache_size / 2**20:g} MiB"
        )
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "nvidia-smi is not there"
    answer = subprocess.run([program], capture_output=True, text=True, timeout=60)
    return answer.stdout + answer.stderr


def run_tests(folder: Path) -> Step:
    """`make test-gpu`, its output in a file."""
    command = [sys.executable, "-m", "pytest", *TEST_OPTIONS, "tests/test_gpu.py"]
    start = time.perf_counter()
    path = folder / "test_gpu.log"
    with open(path, "w") as log:
        tests = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
        try:
            code = tests.wait(SECONDS["tests"])
            words = (path.read_text().strip().splitlines() or [f"exit code {code}"])[-1].strip("= ")
        except subprocess.TimeoutExpired:
            code, words = 1, f"cut off after {SECONDS['tests']:g} s"
            os.killpg(tests.pid, signal.SIGKILL)  # with the runs that a test has started
            tests.wait()
    print(f"test_gpu: {words}", flush=True)
    return Step("test_gpu", words, time.perf_counter() - start, code == 0)


def gpu_study(name: str, folder: Path, more: Iterable[str] = ()) -> Study:
    """The study of this name with BASE, as a YAML file of its own in the folder."""
    values = yaml.safe_load((ROOT / "configs" / "study" / f"{name}.yaml").read_text())
    values["base"] = [*values["base"], *BASE, *more]
    for grid in values.get("grids", {}).values():  # a grid's own repeats would come later
        grid["base"] = [word for word in grid.get("base", []) if "benchmark." not in word]
        for axis in grid.get("axes", {}).values():
            for label, words in axis.items():
                axis[label] = [word for word in words if "benchmark." not in word]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return load_study(str(path), folder / "runs")


def run_study(
    study: Study,
    seconds: float,
    folder: Path,
    now: Callable[[], float] = time.perf_counter,
) -> Step:
    """Every case in this process, one after the other, until the time is over; then its report.

    A process of its own for each would spend the time on starting.
    """
    start, done, good, reason = now(), 0, True, ""
    (folder / "logs").mkdir(exist_ok=True)
    with (
        open(folder / "logs" / f"{study.name}.txt", "w") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        for cell, config in zip(study.cells, compose_cells(study), strict=True):
            if now() - start > seconds:
                reason = f", cut off after {seconds:g} s"
                break
            try:
                result = benchmark.run(config, claim_directory(config))
            except ConfigError as error:
                reason, good = f": {error}", False
                break
            # Naive full attention may well be out of memory: that is a result, too.
            good &= is_ok(result) or result["status"] in ("oom", "would_not_fit")
            benchmark.tell(result, cell.directory)
            done += 1
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    words = f"{done} of {len(study.cells)} cases{reason}"
    if done:
        write_report(load_report(study))
    print(f"{study.name}: {words}", flush=True)
    return Step(study.name, words, now() - start, good)


def report(steps: list[Step], studies: list[Study]) -> str:
    """The Markdown of report.md."""
    lines = ["# GPU report", "", "| part | outcome | seconds |", "|---|---|---:|"]
    lines += [f"| {step.name} | {step.outcome} | {step.seconds:.0f} |" for step in steps]
    for study in studies:
        lines += ["", f"## {study.name}", ""]
        lines += against_full(study)
        pages = sorted((study.directory / "report").glob("*.md"))
        for page in pages:
            lines += ["", page.read_text().rstrip()]
    return "\n".join(lines) + "\n"


def against_full(study: Study) -> list[str]:
    """Milliseconds of every case, and the ratio to full attention by its fastest kernel.

    The L2 cache is emptied before each repetition.
    """
    lines = [
        "Milliseconds, forward and backward; in brackets how many times faster than full attention "
        "of the same shape by the kernel that is named, the fastest of flash, cudnn and efficient. "
        "The L2 cache is emptied before each repetition.",
        "",
        "| case | kernel of full attention | ms | of full |",
        "|---|---|---:|---:|",
    ]
    fastest: dict[Any, float] = {}
    rows = []
    for cell, config in zip(study.cells, compose_cells(study), strict=True):
        result = result_row(cell.directory)
        if result is None:
            continue
        rows.append((cell.name, config, result))
        is_plain = config.benchmark.peer == "none" and config.model.residual == "standard"
        if config.model.attention == "full" and is_plain and is_ok(result):
            fastest[shape(config)] = result["step_seconds"]
    for name, config, result in rows:
        full = fastest.get(shape(config))
        seconds = result.get("step_seconds")
        ratio = f"{full / seconds:.2f}" if full and seconds else "-"
        time_text = f"{1e3 * seconds:.3g}" if seconds else result["status"]
        lines.append(f"| {name} | {result.get('full_kernel', '-')} | {time_text} | {ratio} |")
    return lines


def shape(config: Any) -> tuple[int, ...]:
    return config.task.length, config.task.batch_size, config.model.n_layers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
