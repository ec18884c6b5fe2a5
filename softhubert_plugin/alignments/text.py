"""Read the text of alignments, whose tools write UTF-8 or UTF-16, with or without a byte order mark, and every kind of line end."""

from __future__ import annotations

import codecs
import math
import re
from pathlib import Path
from typing import Iterator

from softhubert_plugin.errors import SoftHubertError

# As a part of a regular expression.
POSITIVE_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(rf"[+-]?{POSITIVE_NUMBER}")


def text_of(path: Path) -> str:
    """Read a whole file; lines end in line feeds.

    Raises:
        SoftHubertError: the file cannot be read, or is neither UTF-8 nor UTF-16.
    """
    encoding = _encoding(path)
    return _decode(path.read_bytes(), encoding, path).replace("\r\n", "\n").replace("\r", "\n")


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a file that may be larger than memory, without their ends.

    Raises:
        SoftHubertError: the file cannot be read, or is neither UTF-8 nor UTF-16.
    """
    encoding = _encoding(path)
    if encoding != "utf-8":
        lines = text_of(path).split("\n")
        yield from lines if lines[-1] else lines[:-1]
        return
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            yield _decode(line, encoding, f"{path}, line {number}").rstrip("\r\n")


def is_number(text: str) -> bool:
    """Return whether a text is a decimal number such as ``0.25`` or ``1e-05``; ``nan``, ``inf`` and ``1_000`` are not."""
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def number_of(text: str) -> float:
    """Convert a decimal number.

    Raises:
        ValueError: :func:`is_number` is false.
    """
    if not is_number(text):
        raise ValueError(f"not a number: {text!r}")
    return float(text)


def _encoding(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            head = stream.read(3)
    except OSError as error:  # a link to nowhere, or no permission
        raise SoftHubertError(f"{path}: cannot be read ({error.strerror}); correct or remove it") from None
    if head == codecs.BOM_UTF8:
        return "utf-8-sig"
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    # Every format starts with an ASCII character, of which UTF-16 makes one zero byte and one other.
    if len(head) > 1 and (head[0] == 0) != (head[1] == 0):
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return "utf-8"


def _decode(content: bytes, encoding: str, where: object) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise SoftHubertError(f"{where}: not UTF-8 or UTF-16 text ({error.reason}); convert it, e.g. with iconv") from None
