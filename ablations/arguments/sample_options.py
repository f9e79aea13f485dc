"""The options of `plan` and `run` that draw some cells of a large grid."""

import argparse

from ablations.study import Sample
from reformer_pl.config import ConfigError

SAMPLE = (
    "only N cells, drawn at random: the same command draws the same cells, and a larger N adds to "
    "them (default: all)"
)


def add_sample_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--sample", type=int, metavar="N", help=SAMPLE)
    sub.add_argument(
        "--sample-seed", type=int, metavar="SEED", help="which cells --sample draws (default: 0)"
    )


def samples_of(arguments: argparse.Namespace) -> tuple[Sample, ...]:
    """None, or the one of a command line. Raises ConfigError."""
    if arguments.sample is None and arguments.sample_seed is not None:
        raise ConfigError(f"--sample-seed {arguments.sample_seed} is of --sample: add --sample N")
    if arguments.sample is None:
        return ()
    return (Sample(arguments.sample, arguments.sample_seed or 0),)
