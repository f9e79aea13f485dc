"""task.source is read by its first bytes, whatever its name, and what is no text is refused."""

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from reformer_pl.config import ConfigError
from reformer_pl.tasks.source import read_source

TEXT = b"<page>" + bytes(range(32, 127)) * 40
APPLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100)


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


READABLE = {
    "enwik8.GZ": gzip.compress(TEXT),
    "enwik8.ZIP": zipped(("enwik8", TEXT)),
    "enwik8": gzip.compress(TEXT),
    "named wrongly.gz": bz2.compress(TEXT),
    "named wrongly.zip": lzma.compress(TEXT),
    "named wrongly.bz2": zipped(("enwik8", TEXT)),
    "old.lzma": lzma.compress(TEXT, lzma.FORMAT_ALONE),
    "enwik8.tgz": gzip.compress(tarred(("enwik8", TEXT))),
    "enwik8.tar.xz": lzma.compress(tarred(("x/", b""), ("x/._enwik8", APPLE), ("x/enwik8", TEXT))),
    "enwik8.tar": tarred(("README.md", b"read me"), ("enwik8", TEXT)),
    "mac.zip": zipped(("__MACOSX/._x", APPLE), ("x", TEXT), (".DS_Store", APPLE)),
    "apple.zip": zipped(("._x", APPLE), ("data/", b""), ("data/x", TEXT)),
    "readme.zip": zipped(("README", b"read me"), ("LICENSE.txt", b"free"), ("x", TEXT)),
    "twice.zip": zipped(("Readme.TXT", b"read me"), ("enwik8.gz", gzip.compress(TEXT))),
    "parts.gz": gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]) + bytes(512),
    "parts.bz2": bz2.compress(TEXT[:99]) + bz2.compress(TEXT[99:]),
    "parts.xz": lzma.compress(TEXT[:99]) + lzma.compress(TEXT[99:]),
    "readmes.zip": zipped(("readmes", TEXT)),
    "plain.txt": TEXT,
    "PK, BZh9 and ustar are words.txt": TEXT,
}


@pytest.mark.parametrize("name", READABLE)
def test_the_first_bytes_say_what_a_file_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(READABLE[name])
    assert read_source(str(path)) == TEXT


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


PACKED = zipped(("x", TEXT))
REFUSED = {
    "several.zip": (zipped(("a", TEXT), ("b.txt", TEXT)), "holds 2 files, 'a', 'b.txt'"),
    "several.tar": (tarred(("valid", TEXT), ("test", TEXT)), "holds 2 files, 'valid', 'test'"),
    "nothing.zip": (zipped(("README", b"x"), ("__MACOSX/._x", APPLE)), "without data.*'README'"),
    "no member.zip": (zipped(), "without data"),
    "folders.tar": (tarred(("x/", b"")), "without data"),
    "x.zst": (b"\x28\xb5\x2f\xfd" + bytes(999), "Zstandard.*zstd -d"),
    "zstd.gz": (b"\x28\xb5\x2f\xfd" + bytes(999), "Zstandard.*zstd -d"),
    "inner.zip": (zipped(("x.7z", b"7z\xbc\xaf\x27\x1c" + TEXT)), "7-Zip"),
    "x.Z": (b"\x1f\x9d" + TEXT, "uncompress"),
    "._enwik8": (APPLE, "AppleDouble"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n" + TEXT, "git lfs pull"),
    "html.zip": (b"<!DOCTYPE html>" + TEXT, "is named .zip.*without .zip"),
    "page.TGZ": (TEXT, "is named .TGZ.*fetch the file again"),
    "cut.tar": (tarred(("x", TEXT))[:3000], "fetch the file again"),
    "cut.txt": (gzip.compress(TEXT)[:-9], "fetch the file again"),
    "crc.gz": (damaged(gzip.compress(TEXT), -6), "fetch the file again"),
    "crc.zip": (damaged(PACKED, PACKED.index(b"PK\x01\x02") + 16), "fetch the file again"),
    "tail.bz2": (bz2.compress(TEXT) + b"more", "fetch the file again"),
    "second part.bz2": (bz2.compress(TEXT) + bz2.compress(TEXT)[5:], "fetch the file again"),
    "tail.xz": (lzma.compress(TEXT) + lzma.compress(TEXT)[:-7], "fetch the file again"),
    "empty.tar.gz": (gzip.compress(tarred(("x", b""))), "is empty"),
    "empty.bin": (b"", "is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_text_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    data, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        read_source(str(path))
    assert re.search(reason, str(error.value)) and "\n" not in str(error.value)
    assert str(path) in str(error.value)
    with pytest.raises(ConfigError, match=r"a folder: give the path of a file in it"):
        read_source(str(tmp_path))
