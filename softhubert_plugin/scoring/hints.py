"""Says how much of a word error rate is spelling: case, punctuation, or how Unicode writes the same letters.

Words are compared as they are written, so two systems with other conventions make errors that nobody hears.
"""

from __future__ import annotations

import unicodedata
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from softhubert_plugin.scoring.alternatives import align_texts, is_marked
from softhubert_plugin.scoring.edits import errors_in
from softhubert_plugin.scoring.score import Score

NOTEWORTHY = 0.1  # share of the errors that would vanish


class _WithoutCategory(Dict[int, int]):
    """A table for ``str.translate`` that deletes the characters of some Unicode categories."""

    def __init__(self, categories: str) -> None:
        self._categories = categories

    def __missing__(self, code: int) -> int:
        kept = unicodedata.category(chr(code)) not in self._categories.split()
        self[code] = code if kept else None  # type: ignore[assignment]  # None deletes the character
        return self[code]


_NO_PUNCTUATION = _WithoutCategory("Pc Pd Pe Pf Pi Po Ps")
_VISIBLE = _WithoutCategory("Cf")


def _one_unicode_form(word: str) -> str:
    return unicodedata.normalize("NFKC", word.translate(_VISIBLE))


_Fold = Callable[[str], str]
_CASE: Tuple[str, _Fold] = ("case folded", str.casefold)
_PUNCTUATION: Tuple[str, _Fold] = ("punctuation removed", lambda word: word.translate(_NO_PUNCTUATION))
_UNICODE: Tuple[str, _Fold] = ("one Unicode form (NFKC) and no invisible characters", _one_unicode_form)
# One by one, then together: ways together are worth a line only if they remove more errors than each of them.
_WAYS = ((_CASE,), (_PUNCTUATION,), (_UNICODE,), (_CASE, _PUNCTUATION), (_CASE, _PUNCTUATION, _UNICODE))


class _Folding(Dict[str, str]):
    """The words of a score, folded; each is folded once."""

    def __init__(self, folds: Sequence[_Fold]) -> None:
        self._folds = folds

    def __missing__(self, word: str) -> str:
        folded = word
        for fold in self._folds:
            folded = fold(folded)
        self[word] = folded
        return folded


def spelling_hints(score: Score) -> List[str]:
    """Return a line for each way of folding words that removes many of a score's errors."""
    wrong = np.flatnonzero(score.errors).tolist()
    vocabulary = {word for index in wrong for text in score.texts[index] for word in text.split()}
    changing = [each for each in (_CASE, _PUNCTUATION, _UNICODE) if any(each[1](word) != word for word in vocabulary)]
    hints = []
    total = least = int(score.errors.sum())
    for way in _WAYS:
        if not least or not set(way) <= set(changing):
            continue
        errors, rate = _folded(score, wrong, _Folding([fold for _, fold in way]))
        if errors <= (1 - NOTEWORTHY) * (total if len(way) == 1 else least):
            hints.append(f"note: WER would be {100 * rate:.2f} % with {', '.join(name for name, _ in way)}")
            least = min(least, errors)
    return hints


def _folded(score: Score, wrong: Sequence[int], folding: _Folding) -> Tuple[int, float]:
    """Return the word errors, and the word error rate, with folded words. Only utterances with errors are compared: others stay correct."""
    errors = 0
    words = sum(1 for index in np.flatnonzero(score.errors == 0) for word in score.references[index] if folding[word])
    for index in wrong:
        reference, hypothesis = score.texts[index]
        if score.form == "trn" and (is_marked(reference) or is_marked(hypothesis)):
            aligned = align_texts(reference, hypothesis, fold=folding.__getitem__)
            errors += errors_in(aligned.steps)
            words += len(aligned.reference)
        else:
            said, heard = ([folded for folded in map(folding.__getitem__, text.split()) if folded] for text in (reference, hypothesis))
            errors += Levenshtein.distance(said, heard)
            words += len(said)
    return errors, errors / words if words else 0.0
