"""Clean transcripts up, in steps that the user names, and count what each step did. Nothing here is done without being asked for.

========================  ===================================================================================================
``nfc``, ``nfkc``         the Unicode form, so that a letter with an accent is one character
``marks``                 what stands for a noise is removed: ``<UNK>``, ``[noise]``, ``{laugh}``
``punctuation``           becomes a space, except apostrophes within words and marks within numbers (``3.5``, ``10:30``)
``upper``, ``lower``      the case
========================  ===================================================================================================

Numbers, and signs that are spoken (``%``, ``&``, ``$`` …), are never touched: nobody but the user knows how they were read.
"""

from __future__ import annotations

import collections
import re
import unicodedata
from typing import Counter, Dict, List, Sequence

from softhubert_plugin.errors import SoftHubertError

STEPS = ("nfc", "nfkc", "marks", "punctuation", "upper", "lower")
# A mark is in brackets and has no spaces: a remark of several words, such as (he laughs), is left to the user.
MARK = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|\{[^{}\s]+\}")
_SPOKEN = frozenset("%&@#§‰+")  # Unicode counts some of them as punctuation
_QUOTING = frozenset("`´¨^~|<>=")  # Unicode counts them as symbols
_APOSTROPHES = "'’‘ʼ＇"
_IN_NUMBERS = re.compile(r"(?<=\d)[.,:/](?=\d)")
_QUOTED = re.compile(r"(?<![^\W_])'(?=[^\W_])(.*?)(?<=\S)'(?![^\W_])")
_STRAY_APOSTROPHE = re.compile(r"(?<![^\W_])'(?![^\W_])")


class Normaliser:
    """Cleans transcripts up.

    Args:
        steps: some of :data:`STEPS`, in any order; several may be in one string, with commas between them.

    Attributes:
        changed: for each step, how many transcripts it changed.
        removed: how often each mark or punctuation character was removed.

    Raises:
        SoftHubertError: a step is unknown, or two contradict each other.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        named = [step.strip().lower() for each in steps for step in each.split(",") if step.strip()]
        for step in named:
            if step not in STEPS:
                raise SoftHubertError(f"--normalise {step}: expected some of {', '.join(STEPS)}")
        for one, other in (("upper", "lower"), ("nfc", "nfkc")):
            if one in named and other in named:
                raise SoftHubertError(f"--normalise: {one} and {other} contradict each other; give one of them")
        self.steps = [step for step in STEPS if step in named]  # one order, whatever the order on the command line
        self.changed: Dict[str, int] = dict.fromkeys(self.steps, 0)
        self.removed: Counter[str] = collections.Counter()

    def __call__(self, text: str) -> str:
        """Clean one transcript up."""
        for step in self.steps:
            before, text = text, self._apply(step, text)
            self.changed[step] += before != text
        # Once more, because a change of case may take a letter apart.
        return self._apply(self.steps[0], text) if self.steps[:1] in (["nfc"], ["nfkc"]) else text

    def report(self) -> List[str]:
        """Describe what was done: one line, or none if there were no steps."""
        if not self.steps:
            return []
        line = "normalised: " + ", ".join(f"{step} changed {count} transcripts" for step, count in self.changed.items())
        removed = ", ".join(f"{count} × {sign}" for sign, count in self.removed.most_common(12))
        return [line + (f"; removed {removed}" + (", …" if len(self.removed) > 12 else "") if removed else "")]

    def _apply(self, step: str, text: str) -> str:
        if step in ("nfc", "nfkc"):
            return unicodedata.normalize("NFC" if step == "nfc" else "NFKC", text)
        if step == "marks":
            self.removed.update(MARK.findall(text))
            return " ".join(MARK.sub(" ", text).split())
        if step == "punctuation":
            return self._without_punctuation(text)
        return text.upper() if step == "upper" else text.lower()

    def _without_punctuation(self, text: str) -> str:
        """Replace punctuation by spaces. Marks are left whole: without brackets they would turn into words."""
        pieces = [self._plain(piece) for piece in MARK.split(text)]
        marks = [*MARK.findall(text), ""]
        return " ".join(" ".join(part for pair in zip(pieces, marks) for part in pair).split())

    def _plain(self, text: str) -> str:
        text = "".join("'" if character in _APOSTROPHES else character for character in text)
        apostrophes = text.count("'")
        # A pair around words is quotation marks; one that stands alone is nothing; all others belong to words: DON'T, DOGS', 'TIS.
        text = _STRAY_APOSTROPHE.sub(" ", _QUOTED.sub(r" \1 ", text))
        if apostrophes > text.count("'"):
            self.removed["'"] += apostrophes - text.count("'")
        kept = {match.start() for match in _IN_NUMBERS.finditer(text)}
        signs = [place for place, character in enumerate(text) if place not in kept and is_punctuation(character)]
        self.removed.update(text[place] for place in signs)
        characters = list(text)
        for place in signs:
            characters[place] = " "
        return "".join(characters)


def is_punctuation(character: str) -> bool:
    """Return whether a character separates or surrounds words, and is not spoken itself."""
    if character in _SPOKEN or character in _APOSTROPHES:
        return False
    return unicodedata.category(character).startswith("P") or character in _QUOTING


class TextSurvey:
    """Counts what a user should know about transcripts before training on them."""

    def __init__(self) -> None:
        self.marks: Counter[str] = collections.Counter()
        self.transcripts_with_digits = 0
        self.not_composed = 0

    def add(self, text: str) -> None:
        """Look at one transcript."""
        self.marks.update(MARK.findall(text))
        self.transcripts_with_digits += any(character.isdigit() for character in text)
        self.not_composed += not unicodedata.is_normalized("NFC", text)

    def report(self) -> List[str]:
        """Describe what was found, one line per finding."""
        lines = []
        if self.marks:
            named = ", ".join(f"{mark} ({count})" for mark, count in self.marks.most_common(8))
            lines.append(f"note: marks are in the transcripts and will be spelled as words: {named}; --normalise marks removes them")
        if self.transcripts_with_digits:
            lines.append(f"note: {self.transcripts_with_digits} transcripts have digits, which will be spelled as digits")
        if self.not_composed:
            lines.append(f"note: {self.not_composed} transcripts have letters in several parts; --normalise nfc joins them")
        return lines
