"""Read text files line by line, so that a table of any size needs the memory of one line."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import IO, Iterator, Tuple

from softhubert_plugin.errors import SoftHubertError


def numbered_lines(path: Path, what: str) -> Iterator[Tuple[int, str]]:
    """Iterate over the lines of a UTF-8 file. A byte order mark is dropped; only line feeds (with carriage returns) end a line.

    Args:
        path: the file; one that ends in ``.gz`` is decompressed.
        what: what the file should be, for the message.

    Yields:
        The number of the line, from 1, and its text without the line break.

    Raises:
        SoftHubertError: there is no such file, it is not UTF-8, or its compressed data are damaged.
    """
    if not os.path.isfile(path):  # unlike Path's, it never raises
        found = "a folder" if os.path.isdir(path) else "no such file"
        raise SoftHubertError(f"{path}: {found}; expected {what}")
    number = 0
    try:
        with _opened(path) as stream:
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    line = _without_mark(path, line)
                if b"\0" in line:
                    raise SoftHubertError(f"{path}, line {number}: holds a zero byte; expected {what}, as UTF-8 text")
                yield number, line.decode("utf-8").rstrip("\n").rstrip("\r")
    except UnicodeDecodeError as error:
        raise SoftHubertError(f"{path}, line {number}: not UTF-8 text ({error.reason}); convert it, e.g. with iconv") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SoftHubertError(f"{path}, after line {number}: damaged compressed data ({error}); make or copy it again") from None


def _opened(path: Path) -> IO[bytes]:
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]
    except OSError as error:
        raise SoftHubertError(f"{path}: cannot be opened ({error.strerror or error}); check its permissions") from None


def _without_mark(path: Path, line: bytes) -> bytes:
    if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SoftHubertError(f"{path}: UTF-16 text; expected UTF-8: convert it with 'iconv -f UTF-16 -t UTF-8'")
    return line[3:] if line.startswith(b"\xef\xbb\xbf") else line
