"""The bytes that task.source names: a file of the user's, or the sample that comes with gensim."""

from importlib.util import find_spec
from pathlib import Path

from reformer_pl.config import ConfigError
from reformer_pl.tasks.archive import BROKEN, unpack

# 6 MB of the XML that enwik8 is cut from; the gensim package ships it
SAMPLE = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
PACKED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".lzma", ".zip", ".tar", ".zst")


def read_source(source: str) -> bytes:
    """The bytes of task.source: "sample", or a plain, zip, gz, bz2, xz or tar file.

    The first bytes say which of them it is. Raises ConfigError for one that cannot be read.
    """
    path = source_path(source)
    try:
        packed = path.read_bytes()
        data = unpack(packed, f"task.source={source}")
    except ConfigError:
        raise
    except BROKEN as error:
        raise ConfigError(
            f"task.source={source} cannot be read ({error}): fetch the file again"
        ) from error
    if not data:
        raise ConfigError(f"task.source={source} is empty: fetch the file again")
    if data is packed and path.suffix.lower() in PACKED:
        raise ConfigError(
            f"task.source={source} is named {path.suffix} and its bytes are no such file: "
            f"fetch the file again, or give a plain text a name without {path.suffix}"
        )
    return data


def source_path(source: str) -> Path:
    """The file that task.source names. Raises ConfigError where there is none."""
    try:
        path = _sample() if source == "sample" else Path(source).expanduser()
        there, folder = path.is_file(), path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # no right to search, long, ~nobody, NUL
        raise ConfigError(
            f"task.source={source} cannot be read ({error}): "
            "give the path of enwik8, or task.source=sample"
        ) from error
    if folder:
        raise ConfigError(
            f"task.source={source or '.'} is not a file but a folder: give the path of a file in it"
        )
    if not there:
        raise ConfigError(
            f"task.source={source} is not a file: give the path of enwik8 "
            "(plain, zip, gz, bz2, xz or tar), or task.source=sample"
        )
    return path


def _sample() -> Path:
    package = find_spec("gensim")  # found without importing it: only its data is wanted
    if package is None or package.origin is None:
        raise ConfigError("task.source=sample needs the sample text: pip install -e '.[samples]'")
    return Path(package.origin).parent / SAMPLE
