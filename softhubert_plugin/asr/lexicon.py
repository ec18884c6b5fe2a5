"""Read a lexicon: a file of the words that a beam search can find, each with its spelling in the acoustic model's symbols."""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.text_files import read_lines_of, read_text_of

_SPACE = re.compile(r"[ \t\v\f\r]+")  # what flashlight takes for white space: Unicode's other spaces belong to words


def read_lexicon(path: PathLike) -> List[Tuple[str, List[str]]]:
    """Read the words of a lexicon and their spellings.

    Raises:
        SoftHubertError: the file is missing or empty, or a line is malformed.
    """
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such lexicon; make one with 'softhubert lm'") from None
    entries = []
    for number, line in enumerate(lines, start=1):
        fields = [field for field in _SPACE.split(line) if field]
        if len(fields) < 2:
            raise SoftHubertError(f"{path}, line {number}: expected a word and its spelling, found {line[:60]!r}; correct the line")
        entries.append((fields[0], fields[1:]))
    if not entries:
        raise SoftHubertError(f"{path}: the lexicon is empty; make it again with 'softhubert lm'")
    return entries


@contextlib.contextmanager
def plain_lexicon(path: Optional[PathLike]) -> Iterator[Optional[str]]:
    """Yield the path of a lexicon that flashlight, which reads it itself, reads as :func:`read_lexicon` does.

    That is the file, or a temporary copy without byte order marks, Windows line ends and repeated lines, which would change what is found.
    """
    if path is None:
        yield None
        return
    lines: Dict[Tuple[str, ...], str] = {}
    for line in read_text_of(path).split("\n"):
        lines.setdefault(tuple(field for field in _SPACE.split(line) if field), line)
    text = "".join(f"{line}\n" for line in lines.values() if line).encode()
    if text == Path(path).read_bytes():
        yield str(path)
        return
    with tempfile.NamedTemporaryFile(prefix="softhubert-lexicon-") as copy:
        copy.write(text)
        copy.flush()
        yield copy.name
