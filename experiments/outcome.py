"""How a run ends: result.json, written last, whether the work was done or failed. A failure is data."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.cluster import first_rank
from experiments.files import PACKAGES, now, provenance, read_json, write_json, written_at
from reformer_pl.config import ConfigError

Result = dict[str, Any]


def record(work: Callable[[], Result | None], directory: Path, failed: Result, packages: tuple[str, ...] = PACKAGES) -> Result | None:
    """Do the work, leave what it returns in result.json and return it; nothing is left of None, which is work that was stopped.

    Work that raises leaves `failed`, what is known of a run without its numbers, under the status oom or failed. ConfigError passes.
    Of several ranks the one that fails first leaves the failure: it may be the only one that knows why, and what the others then
    raise, if they are not killed before, is that it went away.
    """
    made_by, path = provenance(packages), directory / "result.json"
    before = written_at(path)  # a failure that is tried again
    try:
        result = work()
    except ConfigError:
        raise
    except Exception as error:  # it is told here and recorded below
        oom = out_of_memory(error)
        if not oom and not isinstance(error, FloatingPointError):
            traceback.print_exc()
        first = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
        print(first, file=sys.stderr)
        result = failed | {"status": "oom" if oom else "failed", "error": first}
        if written_at(path) not in (None, before):  # by another rank
            return read_json(path)
    else:
        if not first_rank():
            return result
    if result is not None:
        write_json(path, result | made_by | {"finished_at": now()})
    return result


def out_of_memory(error: BaseException) -> bool:
    import torch

    text = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text
