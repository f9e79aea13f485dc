"""The device of a config, and what its numbers were measured on."""

import os
import shutil
import subprocess
from pathlib import Path

import torch

from experiments.rank import GPU_ASKED
from reformer_pl.config import ConfigError, RunConfig


def device_kind(config: RunConfig) -> str:
    """trainer.accelerator as torch and Lightning name it: cuda or cpu.

    Raises ConfigError where `auto` would be the CPU of a run that was given a GPU.
    """
    match config.trainer.accelerator:
        case "auto" if torch.cuda.is_available():
            return "cuda"
        case "auto" if os.environ.get(GPU_ASKED):
            built = torch.version.cuda or torch.version.hip
            fix = (
                "its driver may be too old, docs/gpu.md says which it needs"
                if built
                else ("install a CUDA build, docs/gpu.md says which")
            )
            kind = f"a build for CUDA {built}" if built else "a build for CPUs"
            raise ConfigError(
                "this run was given a GPU, and torch finds no CUDA device: "
                f"torch {torch.__version__} is {kind}: {fix}; "
                "trainer.accelerator=cpu trains on the CPU"
            )
        case "auto":
            return "cpu"
        case "gpu":
            return "cuda"
        case _:
            return "cpu"


def find_device(config: RunConfig) -> torch.device:
    """The one device of a benchmark. Raises ConfigError where the machine has none of that kind."""
    kind = device_kind(config)
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={config.trainer.accelerator} cannot be had here: "
            "torch finds no CUDA device"
        )
    return torch.device(kind)


def set_threads(config: RunConfig) -> None:
    """The CPU threads of this process, as trainer.threads says; 0 leaves torch's choice."""
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)


def set_matmul_precision(config: RunConfig) -> str:
    """trainer.matmul_precision, for this process. Returns a line for the log, or an empty one.

    On a CPU nothing is set: there torch's words would choose other kernels on some processors.
    """
    word, precision = config.trainer.matmul_precision, config.trainer.precision
    if device_kind(config) == "cpu" or precision == "64-true":
        what = "in 64-true" if precision == "64-true" else "on a CPU"
        return (
            "" if word == "highest" else f"trainer.matmul_precision={word} changes nothing {what}"
        )
    torch.set_float32_matmul_precision(word)
    meaning = {
        "highest": "float32; trainer.matmul_precision=high uses TF32, faster and less exact",
        "high": "TF32",
        "medium": "TF32 or less",
    }[word]
    return f"float32 products: {meaning} (trainer.matmul_precision={word})"


def hardware_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"CPU: {names[0]} x {len(names)}" if names else "CPU"


def is_shared(device: torch.device) -> bool | None:
    """Whether another process computes on a GPU, by nvidia-smi.

    None for a CPU, and where nvidia-smi is not there or shows no process, as in some containers.
    """
    program = shutil.which("nvidia-smi")
    if device.type != "cuda" or program is None:
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    question = ["--query-compute-apps=pid", "--format=csv,noheader", f"--id={uuid}"]
    try:
        answer = subprocess.run([program, *question], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    processes = answer.stdout.split() if answer.returncode == 0 else []
    return len(processes) > 1 if processes else None
