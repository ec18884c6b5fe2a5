"""Recognise files that hold more than words, which would be scored as words if they were read as plain text."""

from __future__ import annotations

import json
import re
from typing import Callable, List, Mapping, Optional, Sequence

_SECONDS = r"[0-9]+(?:\.[0-9]+)?"
_CTM = re.compile(rf"\S+ \S+ {_SECONDS} {_SECONDS} \S+(?: [01](?:\.[0-9]+)?)?")  # recording, channel, start, duration, word, confidence
_STM = re.compile(rf"\S+ \S+ \S+ {_SECONDS} {_SECONDS}(?: .*)?")  # recording, channel, speaker, start, end, words


def structure_of(lines: Sequence[str]) -> Optional[str]:
    """Name the structure of a text file.

    Args:
        lines: all lines of the file; one at least is not blank.

    Returns:
        What the file is, such as ``a CTM file``; ``None`` if it may be plain text.
    """
    filled = [line.strip() for line in lines if line.strip()]
    return next((name for name, holds in _STRUCTURES.items() if holds(filled)), None)


def _is_json(lines: List[str]) -> bool:
    if lines[0][0] not in "{[":
        return False
    for text in (lines[0], "\n".join(lines)):  # an object a line, or one for the whole file
        try:
            return isinstance(json.loads(text), (dict, list))
        except (ValueError, RecursionError):
            continue
    return False


def _has_commas(lines: List[str]) -> bool:
    """Whether lines are divided by as many commas each, none of them followed by a space as in a sentence."""
    counts = {line.count(",") for line in lines}
    return len(lines) > 1 and len(counts) == 1 and 0 not in counts and not any(", " in line for line in lines)


def _all_match(pattern: re.Pattern[str]) -> Callable[[List[str]], bool]:
    return lambda lines: all(pattern.fullmatch(" ".join(line.split())) for line in lines if not line.startswith(";;"))


_STRUCTURES: Mapping[str, Callable[[List[str]], bool]] = {
    "a TextGrid": lambda lines: "ooTextFile" in lines[0],
    "subtitles": lambda lines: lines[0].startswith("WEBVTT") or any(re.match(r"[0-9:.,]+ --> [0-9:.,]+", line) for line in lines),
    "JSON": _is_json,
    "a CTM file": _all_match(_CTM),
    "an STM file": _all_match(_STM),
    "a table with tabs": lambda lines: len(lines) > 1 and all("\t" in line for line in lines),
    "a table with commas": _has_commas,
}
