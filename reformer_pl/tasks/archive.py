"""The text in a compressed file or an archive, whatever its name: the first bytes say its format.

Layers are taken off one after the other, such as those of a tar in gzip. An archive may hold one
file of data. What is no data is skipped: folders, hidden files, what macOS adds, a README, a
LICENSE.
"""

import bz2
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from reformer_pl.config import ConfigError

MAX_LAYERS = 8
# How to unpack what cannot be read here, by its first bytes.
UNREADABLE = {
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unpack it with zstd -d"),
    b"\x04\x22\x4d\x18": ("LZ4", "unpack it with lz4 -d"),
    b"\x02\x21\x4c\x18": ("LZ4", "unpack it with lz4 -d"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "unpack it with 7z x"),
    b"Rar!\x1a\x07": ("RAR", "unpack it with unrar x"),
    b"\x1f\x9d": ("compress", "unpack it with uncompress"),
    b"LZIP": ("lzip", "unpack it with lzip -d"),
    b"\x89LZO": ("lzop", "unpack it with lzop -d"),
    b"\xff\x06\x00\x00sNaPpY": ("Snappy", "unpack it"),
    b"\x00\x05\x16\x07": ("AppleDouble", "it holds what macOS keeps beside a file: give the file"),
    b"\x00\x05\x16\x00": ("AppleSingle", "unpack it on macOS"),
    b"version https://git-lfs": ("Git LFS pointer", "fetch the file with git lfs pull"),
    b"PAR1": ("Parquet", "write its text into a plain file"),
    b"SQLite format 3\x00": ("SQLite", "write its text into a plain file"),
    b"\x93NUMPY": ("NumPy", "write its bytes into a plain file"),
    b"%PDF-": ("PDF", "write its text into a plain file"),
}
NO_DATA = re.compile(r"(readme|license|licence|copying|notice)\b.*|thumbs\.db|desktop\.ini", re.I)
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted zip, and a method of it that Python lacks
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
)


def unpack(data: bytes, path: str) -> bytes:
    """The text in the bytes of a file. `path` names it in errors, and decides nothing.

    Raises ConfigError for a format that cannot be read, and for an archive of no or several data.
    Raises one of BROKEN for a damaged file.
    """
    for _ in range(MAX_LAYERS):
        inner = _one_layer(data, path)
        if inner is None:
            return data
        data = inner
    raise ConfigError(f"{path} is packed more than {MAX_LAYERS} times: unpack it")


def _one_layer(data: bytes, path: str) -> bytes | None:
    """What is in the outermost format; None where the bytes are plain."""
    for magic, (name, advice) in UNREADABLE.items():
        if data.startswith(magic):
            raise ConfigError(f"{path} is in the format {name}, which is not read here: {advice}")
    if data.startswith(b"\x1f\x8b"):
        return _streams(data, lambda: zlib.decompressobj(wbits=31))
    if re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", data):
        return _streams(data, bz2.BZ2Decompressor)
    if data.startswith((b"\xfd7zXZ\x00", b"]\x00\x00")):
        return _streams(data, lzma.LZMADecompressor)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip_member(data, path)
    return _tar_member(data, path) if _is_tar(data) else None


def _streams(data: bytes, decompressor: Callable[[], Any]) -> bytes:
    """One compressed stream or several in a row, each whole. Zeros may follow the last."""
    parts = []
    while data:
        stream = decompressor()
        parts.append(stream.decompress(data))
        if not stream.eof:
            raise EOFError("it ends within its compressed data")
        data = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _zip_member(data: bytes, path: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [member.filename for member in archive.infolist() if not member.is_dir()]
        return archive.read(_the_data(names, path))


def _is_tar(data: bytes) -> bool:
    """By the checksum of its first header, which no text has."""
    try:
        tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _tar_member(data: bytes, path: str) -> bytes:
    if not data.endswith(bytes(tarfile.BLOCKSIZE)):  # tarfile would read what is there
        raise EOFError("it ends before the end of its archive")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        file = archive.extractfile(members[_the_data(list(members), path)])
        return file.read() if file is not None else b""


def _the_data(names: list[str], path: str) -> str:
    """The one member of an archive that is data. Raises ConfigError where it is not one."""
    chosen = [name for name in names if _is_data(PurePosixPath(name))]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        listed = ", ".join(map(repr, chosen[:5])) + (", ..." if len(chosen) > 5 else "")
        raise ConfigError(
            f"{path} holds {len(chosen)} files, {listed}: unpack it and give the path of one"
        )
    listed = f" beside {', '.join(map(repr, names[:5]))}" if names else ""
    raise ConfigError(f"{path} is an archive without data{listed}: fetch the file again")


def _is_data(member: PurePosixPath) -> bool:
    hidden = any(part == "__MACOSX" or part.startswith(".") for part in member.parts)
    return not hidden and not NO_DATA.fullmatch(member.name)
