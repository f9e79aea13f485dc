"""The import of torch and Lightning, a run's first seconds, without the garbage collector."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """For the first import of torch in a process, which makes a million objects that all stay.

    The collector would search them for garbage again and again while they are made, and once more
    when the process exits: a third of what a small cell costs. Frozen, they are never searched.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
