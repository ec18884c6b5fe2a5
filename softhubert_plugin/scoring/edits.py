"""Align a hypothesis with its reference: correct words, substitutions, deletions and insertions, and a readable view of them.

Alignments have the minimum edit distance with unit costs. rapidfuzz finds them, as it does for jiwer.
"""

from __future__ import annotations

from typing import Dict, List, Sequence

from rapidfuzz.distance import Levenshtein

_LETTER = {"replace": "S", "delete": "D", "insert": "I"}


def edit_steps(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """Align two sequences of words.

    Returns:
        One letter per step: ``C`` correct, ``S`` substituted, ``D`` deleted, ``I`` inserted.

    >>> edit_steps("A B C".split(), "A X B".split())
    'CICD'
    """
    numbers: Dict[str, int] = {}  # small integers are their own hash, so rapidfuzz cannot take two words for equal
    reference_ids, hypothesis_ids = ([numbers.setdefault(symbol, len(numbers)) for symbol in side] for side in (reference, hypothesis))
    steps: List[str] = []
    done = 0  # reference words aligned so far
    for edit in Levenshtein.editops(reference_ids, hypothesis_ids):
        steps.append("C" * (edit.src_pos - done))
        steps.append(_LETTER[edit.tag])
        done = edit.src_pos + (edit.tag != "insert")
    steps.append("C" * (len(reference_ids) - done))
    return "".join(steps)


def errors_in(steps: str) -> int:
    """Return the number of substitutions, deletions and insertions in an alignment."""
    return len(steps) - steps.count("C")


def view(name: str, reference: Sequence[str], hypothesis: Sequence[str], steps: str, *, width: int = 120) -> str:
    """Show an alignment as NIST's ``sclite -o pra`` does: wrong words in capitals, asterisks where one side has no word, and nothing where
    an optional word is left out.

    Args:
        name: name of the utterance.
        reference: words of the reference.
        hypothesis: words of the hypothesis.
        steps: their alignment, from :func:`edit_steps`.
        width: maximum number of characters per line; longer alignments continue on further lines.
    """
    left, right = iter(reference), iter(hypothesis)
    rows: List[List[str]] = [[], [], []]
    for step in steps:
        word = "" if step == "I" else next(left)
        heard = "" if step == "D" else next(right)
        cells = (word.lower(), heard.lower(), "") if step == "C" else (word.upper(), heard.upper(), step)
        size = max(map(len, cells))
        for row, cell in zip(rows, cells):
            row.append((cell or ("" if row is rows[2] or step == "C" else "*" * size)).ljust(size))
    counts = " ".join(str(steps.count(letter)) for letter in "CSDI")
    lines = [f"id: ({name})", f"Scores: (#C #S #D #I) {counts}"]
    start = 0
    while start < len(steps):
        end, used = start, 0
        while end < len(steps) and (end == start or used + len(rows[0][end]) + 1 <= width - 6):
            used += len(rows[0][end]) + 1
            end += 1
        for title, row in zip(("REF:  ", "HYP:  ", "Eval: "), rows):
            lines.append((title + " ".join(row[start:end])).rstrip())
        start = end
    return "\n".join(lines)
