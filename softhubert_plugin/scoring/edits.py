"""How a hypothesis was turned from its reference: correct words, substitutions, deletions, insertions, and a view of them for people.

Alignments are minimum edit distance with unit costs, found by rapidfuzz (which jiwer uses as well).
"""

from __future__ import annotations

from typing import Dict, List, Sequence

from rapidfuzz.distance import Levenshtein

_LETTER = {"replace": "S", "delete": "D", "insert": "I"}


def edit_steps(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """One letter a step: ``C`` correct, ``S`` substituted, ``D`` deleted, ``I`` inserted.

    >>> edit_steps("A B C".split(), "A X B".split())
    'CICD'
    """
    numbers: Dict[str, int] = {}  # small integers are their own hash, so that equal means equal
    reference_ids, hypothesis_ids = ([numbers.setdefault(symbol, len(numbers)) for symbol in side] for side in (reference, hypothesis))
    steps: List[str] = []
    done = 0  # how much of the reference is behind us
    for edit in Levenshtein.editops(reference_ids, hypothesis_ids):
        steps.append("C" * (edit.src_pos - done))
        steps.append(_LETTER[edit.tag])
        done = edit.src_pos + (edit.tag != "insert")
    steps.append("C" * (len(reference_ids) - done))
    return "".join(steps)


def errors_in(steps: str) -> int:
    """Substitutions, deletions and insertions of an alignment."""
    return len(steps) - steps.count("C")


def view(name: str, reference: Sequence[str], hypothesis: Sequence[str], steps: str, *, width: int = 120) -> str:
    """An alignment as NIST's ``sclite -o pra`` shows it: wrong words in capitals, asterisks where one side has none.

    Args:
        name: the utterance.
        width: characters a line; longer alignments are continued below.
    """
    left, right = iter(reference), iter(hypothesis)
    rows: List[List[str]] = [[], [], []]
    for step in steps:
        word = "" if step == "I" else next(left)
        heard = "" if step == "D" else next(right)
        cells = (word.lower(), heard.lower(), "") if step == "C" else (word.upper(), heard.upper(), step)
        size = max(map(len, cells))
        for row, cell in zip(rows, cells):
            row.append((cell or ("" if row is rows[2] else "*" * size)).ljust(size))
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
