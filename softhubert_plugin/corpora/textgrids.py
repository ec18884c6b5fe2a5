"""Write alignments of words and phones as Praat's TextGrids, which ``softhubert probe`` and ``labels quality`` read."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping, Sequence, Tuple

from softhubert_plugin.corpora.listed import UtteranceFault
from softhubert_plugin.files import write_text

_ROUNDING_SECONDS = 0.05  # how far an interval may go over its neighbour or over the end of the audio

Interval = Tuple[float, float, str]


def write_textgrid(path: Path, tiers: Mapping[str, Sequence[Interval]], seconds: float, where: str) -> None:
    """Write a TextGrid, unless the same one is there already.

    Args:
        path: the file.
        tiers: for each tier, such as ``phones``, its ``(start, end, label)`` in seconds.
        seconds: length of the audio.
        where: the utterance, for messages.

    Raises:
        UtteranceFault: intervals overlap, or are outside the audio.
    """
    parts = [f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {_number(seconds)}\n']
    parts.append(f"tiers? <exists>\nsize = {len(tiers)}\nitem []:\n")
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        filled = _filled(_in_order(intervals, seconds, f"{where}: the alignment '{name}'"), seconds)
        parts.append(f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n')
        parts.append(f"        xmin = 0\n        xmax = {_number(seconds)}\n        intervals: size = {len(filled)}\n")
        for place, (start, end, label) in enumerate(filled, start=1):
            parts.append(f"        intervals [{place}]:\n            xmin = {_number(start)}\n            xmax = {_number(end)}\n")
            parts.append('            text = "{}"\n'.format(label.replace('"', '""')))
    text = "".join(parts)
    if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
        write_text(path, text)


def _number(seconds: float) -> str:
    """Seconds with the precision of a sample, never in the form 1e-05, which some readers do not know."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _filled(intervals: Sequence[Interval], seconds: float) -> List[Interval]:
    """Fill what is between intervals, because those of a tier have no gaps."""
    found: List[Interval] = []
    previous = 0.0
    for start, end, label in intervals:
        if start > previous:
            found.append((previous, start, ""))
        found.append((start, end, label))
        previous = end
    return [*found, (previous, seconds, "")] if seconds > previous else found


def _in_order(intervals: Sequence[Interval], seconds: float, where: str) -> List[Interval]:
    """Sort intervals, and take away what rounding put over the neighbour's start or the end. Intervals without length are left out."""
    found: List[Interval] = []
    previous = 0.0
    for start, end, label in sorted(intervals, key=lambda interval: interval[:2]):
        if start < -_ROUNDING_SECONDS or end > seconds + _ROUNDING_SECONDS:
            raise UtteranceFault(f"{where} has {label[:20]!r} from {start:.3f} to {end:.3f} s, but the audio is {seconds:.3f} s long")
        if end < start or start < previous - _ROUNDING_SECONDS:
            raise UtteranceFault(f"{where} overlaps itself: {label[:20]!r} from {start:.3f} to {end:.3f} s, after {previous:.3f} s")
        start, end = round(max(start, previous), 6), round(min(end, seconds), 6)
        if end > start:
            found.append((start, end, " ".join(label.split())))
            previous = end
    return found
