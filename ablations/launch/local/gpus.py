"""What --gpus names: the GPUs of this machine, and those that a cluster lets this driver see.

CUDA and torch are never asked here, for the driver imports neither.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from reformer_pl.config import ConfigError

MAX_GPU = 1023
DEV = Path("/dev")
NVIDIA_FILES = "nvidia[0-9]*"
GPU_FILES = (NVIDIA_FILES, "kfd", "dxg")  # NVIDIA's, AMD's, and Windows' in its Linux
NAMES = ("GPU-", "MIG-")  # what a UUID of NVIDIA's begins with


def find_gpus(text: str) -> tuple[str, ...]:
    """The words of --gpus as CUDA_VISIBLE_DEVICES names them. Raises ConfigError.

    "0,2,5-7" are the numbers that nvidia-smi prints. Where CUDA_VISIBLE_DEVICES is set and has none
    of them, they are positions in it. GPU-... and MIG-... are names, or beginnings of names.
    "all" are those that the driver sees.
    """
    words = [] if text.strip() == "all" else read_words(text)
    if not has_gpu():
        raise ConfigError(
            "--gpus: this machine has no GPU: leave it out, "
            "and give --parallel for cells side by side on the CPU"
        )
    build = cpu_build()
    if build:
        raise ConfigError(
            f"--gpus: torch {build} is a build for CPUs, so every cell would train on the CPU: "
            "install a CUDA build (docs/gpu.md says which), or leave --gpus out"
        )
    visible, here = visible_gpus(), list_gpus()
    if visible is not None:
        gpus = _among_visible(text, words, visible)
    elif not words:
        gpus = here
        if not gpus:
            raise ConfigError("--gpus all: there is no nvidia-smi to count them: name them")
    else:
        gpus = _on_the_machine(text, words, here)
    twice = sorted({gpu for gpu in gpus if gpus.count(gpu) > 1})
    if twice:
        raise ConfigError(
            f"--gpus {text} names GPU {twice[0]} twice: "
            "for several cells on each give --cells-per-gpu"
        )
    return tuple(gpus)


def read_words(text: str) -> list[str]:
    """ "0,2,5-7" as 0, 2, 5, 6, 7; names as they are. Raises ConfigError."""
    words: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part.startswith(NAMES):
            words.append(part)
            continue
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ConfigError(
                f"--gpus {text} is not understood at '{part}': "
                "give numbers and ranges, such as 0-7 or 0,2,5-7, names, such as GPU-8932f937, "
                "or all"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= MAX_GPU:
            raise ConfigError(
                f"--gpus {text}: {part} is no range of GPUs: "
                f"it must go up, and to {MAX_GPU} at most"
            )
        words += map(str, range(first, last + 1))
    return words


def has_gpu() -> bool:
    """Whether the system shows the files of a GPU."""
    return any(path for pattern in GPU_FILES for path in DEV.glob(pattern))


def cpu_build() -> str:
    """The version of torch where it is a build without CUDA and ROCm; else empty."""
    spec = find_spec("torch")
    path = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if path is None or not path.is_file():
        return ""
    values = dict(re.findall(r"^(\w+)\b[^=\n]*= *(.+)$", path.read_text(), re.MULTILINE))
    if any(values.get(name, "None") != "None" for name in ("cuda", "hip")):
        return ""
    return values.get("__version__", "?").strip("'\"")


def visible_variable() -> str:
    """ROCm reads a variable of its own before CUDA's, where it is set."""
    return "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in os.environ else "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str] | None:
    """CUDA_VISIBLE_DEVICES as CUDA reads it; None where it is not set.

    Blanks do not count, and the list ends before its first entry that is no GPU, such as -1.
    """
    text = os.environ.get(visible_variable())
    if text is None:
        return None
    gpus: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if not part.isdecimal() and not part.startswith(NAMES):
            break
        gpus.append(str(int(part)) if part.isdecimal() else part)
    return gpus


def list_gpus() -> list[str]:
    """All GPUs of the machine, by nvidia-smi or by their files; empty where nobody counts them.

    One is its number. One that is divided (MIG) is the names of its parts, for CUDA would see the
    first part alone.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return [str(number) for number, _ in enumerate(DEV.glob(NVIDIA_FILES))]
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    gpus: list[list[str]] = []
    for line in done.stdout.splitlines() if not done.returncode else []:
        if match := re.match(r"GPU (\d+):", line):
            gpus.append([match[1]])
        elif gpus and (match := re.search(r"\(UUID: (MIG-[^)]+)\)", line)):
            gpus[-1] = [*(part for part in gpus[-1] if part.startswith("MIG-")), match[1]]
    return [part for parts in gpus for part in parts]


def _among_visible(text: str, words: Sequence[str], visible: list[str]) -> list[str]:
    """The words, or positions, of a list that the driver sees; no words are all of it."""
    variable = visible_variable()
    listed = f"{variable}={os.environ[variable]}"
    if not visible or len(set(visible)) < len(visible):  # CUDA takes neither
        raise ConfigError(f"--gpus {text}: {listed} shows no GPU: unset it, or name GPUs in it")
    numbers = [word for word in words if word.isdecimal()]
    if set(numbers) & set(visible):  # they are names, all of them
        places = {number: number for number in numbers if number in visible}
    else:
        places = {number: visible[int(number)] for number in numbers if int(number) < len(visible)}
    gpus = list(visible) if not words else []
    for word in words:
        named = [name for name in visible if name.startswith(word)]
        gpu = places.get(word, "") if word.isdecimal() else named[0] if len(named) == 1 else ""
        if not gpu:
            raise ConfigError(
                f"--gpus {text}: GPU {word} is not among {listed}: name those, "
                f"or their positions, 0 to {len(visible) - 1}, or unset the variable"
            )
        gpus.append(gpu)
    return gpus


def _on_the_machine(text: str, words: Sequence[str], here: list[str]) -> list[str]:
    """The words themselves. A number that the machine has not is refused, where it can count."""
    numbers = [gpu for gpu in here if gpu.isdecimal()]
    missing = [word for word in words if word.isdecimal() and word not in numbers]
    if here and missing:
        raise ConfigError(
            f"--gpus {text}: this machine has no GPU {missing[0]}: it has {', '.join(here)}"
        )
    return list(words)


def take_gpus(free: dict[str, int], n: int) -> tuple[str, ...]:
    """The n GPUs on which most places are free, the first of equals; `free` has one less on each.

    `free` counts for each GPU the cells that it has room for. Raises ValueError where fewer than n
    have any.
    """
    chosen = sorted((gpu for gpu in free if free[gpu]), key=lambda gpu: -free[gpu])[:n]
    if len(chosen) < n:
        raise ValueError(f"{n} GPUs are wanted and {len(chosen)} are free")
    for gpu in chosen:
        free[gpu] -= 1
    return tuple(chosen)


def give_back(free: dict[str, int], gpus: Sequence[str]) -> None:
    for gpu in gpus:
        free[gpu] += 1


def crowd_line(at_once: int) -> str:
    """What to say where several cells at a time see all GPUs, and so take the same; else empty."""
    visible = visible_gpus()
    if at_once < 2 or visible == [] or not has_gpu() or cpu_build():
        return ""
    first = visible[0] if visible else "0"
    return (
        f"without --gpus the {at_once} cells at a time all use GPU {first}, the first that each "
        "sees: --gpus all gives each one of its own"
    )
