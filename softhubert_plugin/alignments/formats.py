"""Read phone alignments of several formats into timed intervals of each utterance.

The formats are Praat's TextGrid (which the Montreal Forced Aligner and WebMAUS write), ``.lab`` and ``.phn`` files (xwaves, HTK, TIMIT,
seconds), Kaldi's CTM, and fairseq's frame lists. This module does not know the audio: :mod:`softhubert_plugin.alignments.sources` joins
alignments and utterances, :mod:`softhubert_plugin.alignments.clock` finds the unit of time of files that do not name it, and
:mod:`softhubert_plugin.alignments.utterances` checks that an alignment fits the audio.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Tuple

from softhubert_plugin.alignments.numbers import POSITIVE_NUMBER, number_of
from softhubert_plugin.alignments.textgrid import read_tiers
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_text
from softhubert_plugin.text_files import numbered_lines, read_text_of

# The confidence is a number, or what NIST's tools write where there is none. More fields may follow.
_CTM_LINE = re.compile(
    rf"\s*(?!;;)(\S+)\s+(\S+)\s+({POSITIVE_NUMBER})\s+({POSITIVE_NUMBER})\s+(\S+)(?:\s+(?:-?{POSITIVE_NUMBER}|NA|-|n/a)(?:\s.*)?)?\s*"
)


class LabelledInterval(NamedTuple):
    """A label from ``start`` to ``end``, in seconds, or in the unit of the file where it does not name its unit."""

    start: float
    end: float
    label: str


class Track:
    """The intervals of one utterance of a large file, in a few bytes each."""

    def __init__(self) -> None:
        self._times = array("d")
        self._labels: List[str] = []

    def add(self, start: float, end: float, label: str) -> None:
        """Add an interval."""
        self._times.extend((start, end))
        self._labels.append(sys.intern(label))

    def intervals(self) -> List[LabelledInterval]:
        """Return the intervals in the order of time."""
        rows = map(LabelledInterval, self._times[::2], self._times[1::2], self._labels)
        return sorted(rows, key=lambda row: (row.start, row.end))


def read_textgrid(path: Path) -> List[LabelledInterval]:
    """Read the tier of phones of a TextGrid: ``phones``, ``… - phones`` (Montreal Forced Aligner) or ``MAU`` (WebMAUS).

    Raises:
        SoftHubertError: the file is not a TextGrid, or does not have exactly one such tier, or it is a tier of points.
    """
    tiers = read_tiers(path)
    found = [tier for tier in tiers if _is_of_phones(tier.name)]
    if len(found) != 1:
        names = ", ".join(repr(tier.name) for tier in tiers) or "no tier"
        advice = "keep one of them" if found else "rename the tier of phones"
        raise SoftHubertError(f"{path}: expected one tier 'phones', found {len(found)} among {names}; {advice}")
    if found[0].points:
        raise SoftHubertError(
            f"{path}: {found[0].name!r} is a tier of points; expected an interval tier, as phones last: align that utterance again"
        )
    return [LabelledInterval(start, end, label.strip()) for start, end, label in found[0].entries]


def _is_of_phones(name: str) -> bool:
    name = name.strip().lower()
    return name in ("phones", "phone", "mau") or name.endswith("- phones")


def read_lab(path: Path) -> List[LabelledInterval]:
    """Read a ``.lab`` or ``.phn`` file, whose unit of time is not known.

    Its lines are ``start end label``, or, after a line ``#``, xwaves' ``end colour label``.

    Raises:
        SoftHubertError: a line is malformed.
    """
    lines = read_text_of(path, utf16=True).split("\n")
    xwaves = next((number for number, line in enumerate(lines) if line.strip() == "#"), None)
    first = 0 if xwaves is None else xwaves + 1
    rows: List[LabelledInterval] = []
    for number, line in enumerate(lines[first:], start=first + 1):
        fields = line.split()
        if not fields:
            continue
        try:
            if xwaves is None:
                start, end = number_of(fields[0]), number_of(fields[1])
            else:
                start, end = rows[-1].end if rows else 0.0, number_of(fields[0])
        except (ValueError, IndexError):
            form = "start end label" if xwaves is None else "end colour label"
            raise SoftHubertError(f"{path}, line {number}: expected '{form}', found {line.strip()!r}; align that utterance again") from None
        rows.append(LabelledInterval(start, end, fields[2] if len(fields) > 2 else ""))
    return rows


def write_lab(path: PathLike, intervals: Iterable[Tuple[float, float, str]]) -> None:
    """Write a ``.lab`` file from ``(start, end, label)`` with times in seconds."""
    write_text(path, "".join(f"{start:.4f} {end:.4f} {label}\n" for start, end, label in intervals))


def read_ctm(path: Path) -> Dict[str, Track]:
    """Read Kaldi's CTM, lines of ``utterance channel start duration phone`` with an optional confidence, in any order.

    Returns:
        The intervals of each utterance.

    Raises:
        SoftHubertError: a line is malformed, an utterance has two channels, or there is no line.
    """
    found: Dict[str, Track] = {}
    channels: Dict[str, str] = {}
    for number, line in numbered_lines(path, "alignments", utf16=True):
        match = _CTM_LINE.fullmatch(line)
        end = float(match[3]) + float(match[4]) if match is not None else math.inf
        if match is None or end == math.inf:
            if not line.strip() or line.lstrip().startswith(";;"):
                continue
            raise SoftHubertError(
                f"{path}, line {number}: expected 'utterance channel start duration phone [confidence]' with times in seconds, found "
                f"{line.strip()[:80]!r}; write the file again"
            )
        name = match[1]
        if name not in found:
            found[name], channels[name] = Track(), sys.intern(match[2])
        elif channels[name] != match[2]:
            raise SoftHubertError(
                f"{path}, line {number}: utterance {name!r} has two channels, {channels[name]!r} and {match[2]!r}; "
                "keep the lines of the channel that the audio is of"
            )
        found[name].add(float(match[3]), end, match[5])
    if not found:
        raise SoftHubertError(f"{path}: has no alignments (it is empty, or has comments only); write the file again")
    return found


def read_frame_list(path: Path) -> Dict[str, str]:
    """Read fairseq's frame list, lines of ``utterance<TAB>phone,phone,…`` with one phone per frame.

    Returns:
        The phones of each utterance, with commas between them.

    Raises:
        SoftHubertError: a line is malformed, or an utterance has two lines.
    """
    found: Dict[str, str] = {}
    for number, line in numbered_lines(path, "alignments", utf16=True):
        if not line.strip():
            continue
        name, tab, phones = line.partition("\t")
        if not tab or not phones.strip():
            raise SoftHubertError(
                f"{path}, line {number}: expected 'utterance<TAB>phone,phone,…', found {line[:60].strip()!r}; write the list again"
            )
        if name in found:
            raise SoftHubertError(f"{path}, line {number}: utterance {name!r} has a line before; keep one of them")
        found[name] = phones.strip()
    return found


def runs_of(phones: str) -> List[LabelledInterval]:
    """Turn a line of a frame list into intervals of equal phones; times count frames.

    >>> runs_of("sil,sil,AH")
    [LabelledInterval(start=0, end=2, label='sil'), LabelledInterval(start=2, end=3, label='AH')]
    """
    rows: List[LabelledInterval] = []
    for place, phone in enumerate(phone.strip() for phone in phones.split(",")):
        start = rows.pop().start if rows and rows[-1].label == phone else place
        rows.append(LabelledInterval(start, place + 1, phone))
    return rows
