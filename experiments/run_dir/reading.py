"""How a file of a run directory is opened for reading.

One that is not there is no fault: the run has not come so far. Anything else in its place, a
folder, a link to nothing, a file without permission, is named with what to do (ConfigError).
"""

import os
import stat
from pathlib import Path

from reformer_pl.config import ConfigError


def has_file(path: Path) -> bool:
    """Whether a file is there. Raises ConfigError where something else is in its place."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a link to {os.readlink(path)}, which is not there: "
                "mend the link, or move it away"
            ) from None
        return False
    except NotADirectoryError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no plain file"
        raise ConfigError(f"{path} is {what}, where a file should be: move it away")
    return True


def read_bytes(path: Path, last: int | None = None) -> bytes | None:
    """All bytes of a file, or its last so many; None where there is none. Raises ConfigError."""
    if not has_file(path):
        return None
    try:
        with path.open("rb") as file:
            if last is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - last))
            return file.read()
    except FileNotFoundError:  # removed meanwhile
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ConfigError:
    """What is reported of a file that is there and that the system does not let us read."""
    return ConfigError(f"{path} cannot be read ({error.strerror or error}): make it readable")
