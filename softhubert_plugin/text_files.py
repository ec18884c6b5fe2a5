"""Read the text files that people bring. This module says what a line is, and keeps byte order marks out of the text.

Text is UTF-8. Windows editors put a byte order mark (U+FEFF) before it, and joining such files leaves marks at the beginning of later
lines. None of them belongs to the text, so they are dropped; within a line, U+FEFF is kept. Line feeds end lines. The line ends of Windows
become line feeds, and so do the carriage returns of old Macs, in a file without a line feed. Unicode's other line separators do not end a
line, because transcripts and file names may contain them.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import itertools
import json
import os
import re
import zlib
from pathlib import Path
from typing import IO, Any, Iterator, List, Optional, Tuple

from softhubert_plugin.errors import SoftHubertError, blaming
from softhubert_plugin.files import PathLike

# The four bytes of UTF-32 come first, because they begin with those of UTF-16.
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text_of(path: PathLike, *, utf16: bool = False) -> str:
    """Read a whole text file.

    Args:
        path: the file.
        utf16: read UTF-16 as well, with or without its byte order mark, if the file begins with an ASCII character, as alignments do.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: the file cannot be read, or is in another encoding; the message names the line and the way to convert it.
    """
    with reading(path):
        content = Path(path).read_bytes()
    encoding = _utf16_of(content) if utf16 else None
    if encoding is not None:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise SoftHubertError(f"{path}: damaged UTF-16 text ({error.reason}); copy it again, or convert it to UTF-8") from None
    else:
        _refuse_other_marks(path, content)
        text = _decoded(content, path, 1)
    return without_marks(text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n"))


def read_lines_of(path: PathLike) -> List[str]:
    """Read the lines of a text file, without their line feeds; the last line may lack one.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: as :func:`read_text_of`.
    """
    return _split(read_text_of(path))


def numbered_lines(path: PathLike, what: str, *, utf16: bool = False) -> Iterator[Tuple[int, str]]:
    """Iterate over the lines of a text file that may be larger than memory.

    Args:
        path: the file; one that ends in ``.gz`` is decompressed.
        what: what the file should be, for the message.
        utf16: as for :func:`read_text_of`; UTF-16 is read at once.

    Yields:
        The number of the line, from 1, and its text without the line end.

    Raises:
        SoftHubertError: there is no such file, it cannot be opened, is in another encoding, or its compressed data are damaged.
    """
    if not os.path.isfile(path):  # unlike Path's, it never raises
        found = "a folder" if os.path.isdir(path) else "no such file"
        raise SoftHubertError(f"{path}: {found}; expected {what}")
    number = 0
    try:
        with _opened(path) as stream:
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    if utf16 and _utf16_of(line) is not None:
                        yield from enumerate(_split(read_text_of(path, utf16=True)), start=1)
                        return
                    _refuse_other_marks(path, line)
                    if b"\r" in line and not line.endswith(b"\n"):  # the whole file, by an old Mac
                        yield from enumerate(_split(_decoded(line, path, 1).replace("\r", "\n")), start=1)
                        return
                yield number, _decoded(unmarked_line(line), path, number).rstrip("\n").rstrip("\r")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SoftHubertError(f"{path}, after line {number}: damaged compressed data ({error}); make or copy it again") from None


def without_marks(text: str) -> str:
    """Drop the byte order marks at the beginning of a text and of its lines."""
    return re.sub("^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def unmarked_line(line: bytes) -> bytes:
    """Drop the byte order marks of UTF-8 at the beginning of a line."""
    while line.startswith(codecs.BOM_UTF8):
        line = line[len(codecs.BOM_UTF8) :]
    return line


def read_json(path: PathLike, *, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        remedy: what to do if the file is not usable, for the error message.

    Raises:
        SoftHubertError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_text_of(path))
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; {remedy}") from None
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits, and of nesting without end
        raise SoftHubertError(f"{path}: not valid JSON ({error}); {remedy}") from None


# No configuration is longer, or has more values, than this. Aliases in YAML can stand for billions of values in a few lines.
_LONGEST_YAML, _MOST_VALUES, _DEEPEST_YAML = 200_000, 100_000, 100


def read_yaml(path: PathLike, *, remedy: str) -> Any:
    """Read a YAML file of plain values: dictionaries, lists, text, numbers.

    Args:
        path: the file.
        remedy: what to do if the file is not usable, for the error message.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: the file is not YAML, or holds other things than plain values, or more than a configuration can.
    """
    import yaml

    text = "\n".join(read_lines_of(path))
    if len(text) > _LONGEST_YAML:
        raise SoftHubertError(f"{path}: {len(text)} characters, too long for a configuration; {remedy}")
    with blaming(path, "not YAML of plain values", remedy):
        depths = itertools.accumulate((character in "[{") - (character in "]}") for character in text)
        if max(depths, default=0) > _DEEPEST_YAML:  # the parser takes long to give up
            raise ValueError(f"more than {_DEEPEST_YAML} brackets within each other")
        value = yaml.safe_load(text)
        waiting, left = [value], _MOST_VALUES
        while waiting:
            each = waiting.pop()
            left -= 1
            if left < 0:
                raise ValueError(f"more than {_MOST_VALUES} values, or values inside themselves")
            if isinstance(each, (dict, list)):
                waiting += [*each, *each.values()] if isinstance(each, dict) else each
            elif each is not None and not isinstance(each, (str, int, float)):
                raise ValueError(f"a value of type {type(each).__name__}")
    return value


def _split(text: str) -> List[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


@contextlib.contextmanager
def reading(path: PathLike) -> Iterator[None]:
    """Turn the system's errors in reading a file into a message of one line that names ``path``.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: it is a folder, or cannot be read.
    """
    try:
        yield
    except (FileNotFoundError, gzip.BadGzipFile):
        raise
    except IsADirectoryError:
        raise SoftHubertError(f"{path}: a folder; give a file in it") from None
    except OSError as error:
        raise SoftHubertError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from None


def _opened(path: PathLike) -> IO[bytes]:
    with reading(path):
        return gzip.open(path, "rb") if Path(path).suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _utf16_of(head: bytes) -> Optional[str]:
    """Return Python's name of the UTF-16 that a text begins with, or ``None``: of an ASCII character it makes one zero byte and another."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if len(head) > 1 and (head[0] == 0) != (head[1] == 0):
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return None


# What people give in place of a text: a file's first bytes, what it is, and how to get at its text.
_NOT_TEXT = (
    (b"\x1f\x8b", "compressed by gzip", "decompress it: gunzip"),
    (b"PK\x03\x04", "a zip archive, as spreadsheets are", "unpack it, or save the spreadsheet as CSV in UTF-8"),
    (b"PAR1", "a Parquet file", "write it as CSV or JSON lines"),
)


def _refuse_other_marks(path: PathLike, head: bytes) -> None:
    for mark, kind, remedy in _NOT_TEXT:
        if head.startswith(mark):
            raise SoftHubertError(f"{path}: {kind}, expected text; {remedy}")
    for mark, encoding in _OTHER_MARKS:
        if head.startswith(mark):
            raise SoftHubertError(f"{path}: {encoding} text, expected UTF-8; convert it: iconv -f {encoding} -t UTF-8")


def _decoded(content: bytes, path: PathLike, first: int) -> str:
    """Decode UTF-8. Its first line has the number ``first``."""
    place = content.find(b"\0")
    if place >= 0:
        line = first + content.count(b"\n", 0, place)
        raise SoftHubertError(f"{path}, line {line}: a zero byte, expected UTF-8 text; if it is UTF-16: iconv -f UTF-16LE -t UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first + content.count(b"\n", 0, error.start)
        raise SoftHubertError(
            f"{path}, line {line}: not UTF-8 text ({error.reason}); convert it from its own encoding, often Latin-1: "
            "iconv -f LATIN1 -t UTF-8"
        ) from None
