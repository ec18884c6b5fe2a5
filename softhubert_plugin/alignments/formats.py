"""Read phone alignments of several formats into timed intervals of each utterance.

The formats are Praat's TextGrid (which the Montreal Forced Aligner writes), ``.lab`` and ``.phn`` files (xwaves, HTK, TIMIT, seconds),
Kaldi's CTM, and fairseq's frame lists. This module does not check whether an alignment fits the audio;
:mod:`softhubert_plugin.alignments.utterances` does.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_lines_of, without_marks, write_text


class LabelledInterval(NamedTuple):
    """A label from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    label: str


def read_textgrid(path: Path) -> List[LabelledInterval]:
    """Read the tier ``phones`` of a TextGrid (or ``… - phones``, as the Montreal Forced Aligner names it for several speakers).

    Raises:
        SoftHubertError: the file is not a TextGrid, or has no such tier.
    """
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence", duplicateNamesMode="rename")
    except (PraatioException, ValueError, IndexError, KeyError, AttributeError, UnicodeError) as error:
        raise SoftHubertError(f"{path}: not a TextGrid that can be read ({error}); align that utterance again") from None
    tiers = [name for name in grid.tierNames if name.lower() in ("phones", "phone") or name.lower().endswith("- phones")]
    if len(tiers) != 1:
        raise SoftHubertError(f"{path}: expected one tier 'phones', found {', '.join(grid.tierNames)}; rename the tier of phones")
    return [LabelledInterval(float(start), float(end), label.strip()) for start, end, label in grid.getTier(tiers[0]).entries]


def read_lab(path: Path, seconds: float) -> List[LabelledInterval]:
    """Read a ``.lab`` or ``.phn`` file.

    Its lines are ``start end label`` in seconds, samples (TIMIT) or units of 100 ns (HTK), or, after a line ``#``, xwaves'
    ``end colour label``.

    Args:
        seconds: length of the audio. The unit is chosen so that the last interval ends as near to it as possible.

    Raises:
        SoftHubertError: a line is malformed.
    """
    lines = without_marks(path.read_text(encoding="utf-8", errors="replace")).splitlines()
    xwaves = next((number for number, line in enumerate(lines) if line.strip() == "#"), None)
    rows: List[LabelledInterval] = []
    for number, line in enumerate(lines[0 if xwaves is None else xwaves + 1 :], start=1 if xwaves is None else xwaves + 2):
        fields = line.split()
        if not fields:
            continue
        try:
            if xwaves is None:
                rows.append(LabelledInterval(float(fields[0]), float(fields[1]), fields[2] if len(fields) > 2 else ""))
            else:
                rows.append(LabelledInterval(rows[-1].end if rows else 0.0, float(fields[0]), fields[2] if len(fields) > 2 else ""))
        except (ValueError, IndexError):
            raise SoftHubertError(
                f"{path}, line {number}: expected 'start end label', found {line!r}; align that utterance again"
            ) from None
    if not rows or rows[-1].end <= 0:
        return rows
    unit = min((1.0, 16_000.0, 1e7), key=lambda unit: abs(math.log(rows[-1].end / unit / seconds)))
    return [LabelledInterval(start / unit, end / unit, label) for start, end, label in rows]


def write_lab(path: PathLike, intervals: Iterable[Tuple[float, float, str]]) -> None:
    """Write a ``.lab`` file from ``(start, end, label)`` with times in seconds."""
    write_text(path, "".join(f"{start:.4f} {end:.4f} {label}\n" for start, end, label in intervals))


def read_ctm(path: Path) -> Dict[str, List[LabelledInterval]]:
    """Read Kaldi's CTM, lines of ``utterance channel start duration phone``.

    Returns:
        The intervals of each utterance.

    Raises:
        SoftHubertError: a line is malformed.
    """
    found: Dict[str, List[LabelledInterval]] = {}
    for number, line in enumerate(read_lines_of(path), start=1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        try:
            start, duration, label = float(fields[2]), float(fields[3]), fields[4]
        except (ValueError, IndexError):
            raise SoftHubertError(
                f"{path}, line {number}: expected 'utterance channel start duration phone', found {line.strip()!r}; write it again "
                "with phones as text (int2sym.pl)"
            ) from None
        found.setdefault(fields[0], []).append(LabelledInterval(start, start + duration, label))
    return found


def read_frame_list(path: Path) -> Dict[str, List[str]]:
    """Read fairseq's frame list, lines of ``utterance<TAB>phone,phone,…`` with one phone per frame.

    Returns:
        The phones of each utterance.

    Raises:
        SoftHubertError: a line is malformed.
    """
    found: Dict[str, List[str]] = {}
    for number, line in enumerate(read_lines_of(path), start=1):
        name, tab, phones = line.partition("\t")
        if not tab or not phones:
            raise SoftHubertError(
                f"{path}, line {number}: expected 'utterance<TAB>phone,phone,…', found {line[:60].strip()!r}; write the list again"
            )
        found[name] = phones.split(",")
    return found
