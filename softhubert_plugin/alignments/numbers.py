"""Numbers in the text of alignments."""

from __future__ import annotations

import math
import re

# As a part of a regular expression.
POSITIVE_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(rf"[+-]?{POSITIVE_NUMBER}")


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
