"""What `trainer.compile` needs of a machine. It is asked before anything starts, without torch."""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from reformer_pl.config.rules import ConfigError


def check_compiler() -> None:
    """Raises ConfigError where torch.compile would find no C++ compiler, or no headers of Python.

    As torch looks for them: the compiler is CXX, or else g++ (clang++ on a Mac).
    """
    command = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    program = next(iter(shlex.split(command)), command)
    leave = "or leave trainer.compile=false"
    if shutil.which(program) is None:
        raise ConfigError(
            f"trainer.compile=true needs a C++ compiler, and {program} is not there: install g++ "
            f"(on Debian: apt-get install g++), name another one in CXX, {leave}"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise ConfigError(
            f"trainer.compile=true needs the headers of Python, and {headers} has no Python.h: "
            f"install them (on Debian: apt-get install python3-dev), {leave}"
        )
