"""A path as the value of an option."""

import argparse
from pathlib import Path

from reformer_pl.config import ConfigError
from reformer_pl.config.local_path import local_place


def place(text: str) -> Path:
    """A path of this machine, for an option that names one."""
    try:
        return local_place(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
