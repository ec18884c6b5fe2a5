"""Parse Praat's TextGrids, in the long and the short text format, by the rule by which Praat itself reads them.

A TextGrid is a sequence of numbers, strings in quotes (a quote inside is doubled) and flags such as ``<exists>``. All other text is for
people: ``xmin =``, ``intervals [2]:``, and everything from ``!`` to the end of its line. So both formats are one, and nothing that is
written inside a label can be taken for structure.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import List, NamedTuple, Tuple

from softhubert_plugin.alignments.numbers import POSITIVE_NUMBER, is_number
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.text_files import read_text_of

# A string with its quotes, a flag, a free-standing number, or a quote that is never closed; then, without a group, what is for people.
_TOKEN = re.compile(rf"""("[^"]*(?:""[^"]*)*"|<[^\s<>"]*>|[+-]?{POSITIVE_NUMBER}(?=[\s"=!]|$)|")|[^\s"=!]+|![^\n]*""")
_REMEDY = "save it again as a text file in Praat, or align that utterance again"


class Tier(NamedTuple):
    """A tier of a TextGrid.

    Attributes:
        name: its name.
        points: whether it is a tier of points, whose entries start and end at the same time.
        entries: start and end in seconds, and label.
    """

    name: str
    points: bool
    entries: List[Tuple[float, float, str]]


def read_tiers(path: Path) -> List[Tier]:
    """Read all tiers of a TextGrid.

    Raises:
        SoftHubertError: the file is not a TextGrid in a text format; the message names the line.
    """
    with open(path, "rb") as stream:
        if stream.read(12) == b"ooBinaryFile":
            raise SoftHubertError(f"{path}: a binary TextGrid; {_REMEDY}")
    tokens = _Tokens(path, read_text_of(path, utf16=True))
    if not tokens.string('"ooTextFile"').startswith("ooTextFile") or tokens.string('"TextGrid"') != "TextGrid":
        raise tokens.refused('expected "ooTextFile" and "TextGrid" at the beginning')
    tokens.number("the start")
    tokens.number("the end")
    tiers = [_tier(tokens) for _ in range(tokens.count("the number of tiers"))] if tokens.flag() == "<exists>" else []
    tokens.finish()
    return tiers


def _tier(tokens: _Tokens) -> Tier:
    kind = tokens.string("the class of a tier")
    if kind not in ("IntervalTier", "TextTier"):
        raise tokens.refused(f"expected IntervalTier or TextTier, found {kind!r}")
    points = kind == "TextTier"
    name = tokens.string("the name of a tier")
    tokens.number("the start of a tier")
    tokens.number("the end of a tier")
    entries = []
    for _ in range(tokens.count("the number of entries")):
        start = tokens.number("a time")
        end = start if points else tokens.number("a time")
        entries.append((start, end, tokens.string("a label")))
    return Tier(name, points, entries)


class _Tokens:
    """The strings, numbers and flags of a TextGrid, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._tokens = [token for token in _TOKEN.findall(text) if token]
        self._next = 0

    def string(self, what: str) -> str:
        """The next token, which must be a string."""
        token = self._token()
        if not token.startswith('"') or token == '"':
            raise self.refused(f"expected {what} in quotes, found {token or 'the end of the file'}")
        return token[1:-1].replace('""', '"')

    def number(self, what: str) -> float:
        """The next token, which must be a number."""
        token = self._token()
        if not is_number(token):
            raise self.refused(f"expected {what}, found {token[:40] or 'the end of the file'}")
        return float(token)

    def count(self, what: str) -> int:
        """The next token, which must be a whole number."""
        value = self.number(what)
        if value < 0 or value != int(value):
            raise self.refused(f"expected {what}, found {value:g}")
        return int(value)

    def flag(self) -> str:
        """The next token, which must be a flag."""
        token = self._token()
        if not token.startswith("<"):
            raise self.refused(f"expected <exists> or <absent>, found {token[:40] or 'the end of the file'}")
        return token

    def finish(self) -> None:
        """Check that nothing is left."""
        token = self._token()
        if token:
            raise self.refused(f"expected the end, by the numbers of tiers and entries in the file, found {token[:40]}")

    def refused(self, why: str) -> SoftHubertError:
        """An error that names the line of the last token."""
        places = (match.start() for match in _TOKEN.finditer(self._text) if match[1])
        place = next(itertools.islice(places, self._next - 1, None), len(self._text))
        line = self._text.count("\n", 0, place) + 1
        return SoftHubertError(f"{self._path}, line {line}: not a TextGrid that can be read ({why}); {_REMEDY}")

    def _token(self) -> str:
        """The next token, empty at the end of the file."""
        self._next += 1
        return self._tokens[self._next - 1] if self._next <= len(self._tokens) else ""
