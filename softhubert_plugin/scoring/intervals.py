"""Confidence intervals of word error rates, by speaker, and matched-pairs tests of the difference between two systems.

Errors of one speaker are not independent, so a test set counts as a sample of speakers. A word error rate is a ratio of two sums over
speakers (errors and words), and so is a difference of two rates: the same interval serves both. The choice of the training seed is never
covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from softhubert_plugin.scoring.bootstrap import resampled

WER_REPLICATES = 10_000
CONFIDENCE = 0.95
FEW = 10  # with fewer speakers, there are too few to resample
_CELLS = 4_000_000  # counts held in memory at the same time


@dataclass(frozen=True)
class ConfidenceInterval:
    """A 95 % interval.

    Attributes:
        low: lower end.
        high: upper end.
        method: in words, the method, and what was sampled (speakers or utterances) and their number.
    """

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Comparison:
    """The difference between the word error rates of two systems on the same utterances.

    Attributes:
        difference: second minus first, as a fraction; negative where the second is better.
        low, high: 95 % interval of the difference.
        p_value: two-sided p-value, of the matched-pairs test if alignments are known, otherwise of the method of the interval.
        method: method of the interval.
        test: name of the test that gave ``p_value``; without alignments that of the interval, such as ``Student's t``.
        segments: number of segments that the matched-pairs test compared.
    """

    difference: float
    low: float
    high: float
    p_value: float
    method: str = ""
    test: str = ""
    segments: Optional[int] = None


def rate_interval(
    errors: np.ndarray, words: np.ndarray, speakers: Optional[Sequence[str]] = None, *, replicates: int = WER_REPLICATES
) -> ConfidenceInterval:
    """Compute the 95 % interval of an error rate.

    The method is the studentised bootstrap over speakers (Efron and Tibshirani 1993, chapter 12; the variance of the ratio is linearised).
    It covers the truth as often as it claims; the percentile bootstrap covers it less often. With fewer than ten speakers, the method is
    Student's t over speakers. With one speaker, or if speakers are not known, it is the bootstrap over utterances (as in Bisani and Ney
    2004), which says nothing about other speakers.

    Args:
        errors, words: ``(utterances,)`` errors and reference words of each utterance.
        speakers: speaker of each utterance; ``None`` if not known.
        replicates: number of bootstrap samples.

    Returns:
        The interval, as fractions.
    """
    (low, high), _, method = _ratio(errors, words, speakers, replicates)
    return ConfidenceInterval(max(low, 0.0), high, method)


def compare_errors(
    errors_a: np.ndarray,
    errors_b: np.ndarray,
    words: np.ndarray,
    *,
    speakers: Optional[Sequence[str]] = None,
    steps_a: Optional[Sequence[str]] = None,
    steps_b: Optional[Sequence[str]] = None,
) -> Comparison:
    """Compare two systems on the same utterances. A bootstrap sample draws the same utterances for both.

    Args:
        errors_a, errors_b: ``(utterances,)`` word errors of the first and of the second system.
        words: ``(utterances,)`` reference words.
        speakers: speaker of each utterance; ``None`` if not known.
        steps_a, steps_b: alignments (:func:`softhubert_plugin.scoring.edits.edit_steps`) for the matched-pairs test.
    """
    differences = np.asarray(errors_b) - np.asarray(errors_a)
    (low, high), p_value, method = _ratio(differences, words, speakers, WER_REPLICATES)
    test, segments = method.partition(" over ")[0].partition(":")[0], None
    if steps_a is not None and steps_b is not None:
        p_value, segments = matched_pairs(steps_a, steps_b)
        test = "MAPSSWE"
    difference = float(differences.sum() / np.sum(words))
    return Comparison(difference, low, high, p_value, method, test, segments)


def matched_pairs(steps_a: Sequence[str], steps_b: Sequence[str]) -> Tuple[float, int]:
    """Run the matched-pairs sentence-segment word error test, as NIST's ``sc_stats`` does (Gillick and Cox 1989).

    Utterances are cut into segments wherever both systems have at least two correct words in a row, so that errors of different segments
    are independent. The mean difference of errors per segment is compared with its standard error. Segments without errors are not
    counted. The normal approximation needs about fifty segments.

    Args:
        steps_a, steps_b: alignments of each utterance, from :func:`softhubert_plugin.scoring.edits.edit_steps`.

    Returns:
        The two-sided p-value, and the number of segments.
    """
    differences = np.asarray([b - a for first, second in zip(steps_a, steps_b) for a, b in _segments(first, second)], dtype=np.float64)
    count = len(differences)
    if count == 0 or not differences.any():
        return 1.0, count
    deviation = differences.std(ddof=1) if count > 1 else 0.0
    if deviation == 0:  # all segments have the same difference: a sign test
        return min(1.0, 2 * 0.5**count), count
    return math.erfc(abs(differences.mean()) * math.sqrt(count) / deviation / math.sqrt(2)), count


def _segments(steps_a: str, steps_b: str) -> List[Tuple[int, int]]:
    """Return the errors of the two systems in each segment of an utterance.

    If the reference has alternatives, the systems may be aligned with different words. Then the utterance is one segment.
    """
    if steps_a.count("I") - len(steps_a) != steps_b.count("I") - len(steps_b):
        errors_a, errors_b = (len(steps) - steps.count("C") for steps in (steps_a, steps_b))
        return [(errors_a, errors_b)] if errors_a or errors_b else []
    found: List[Tuple[int, int]] = []
    right, errors = 0, [0, 0]
    for place, (wrong_a, wrong_b) in enumerate(zip(_walk(steps_a), _walk(steps_b))):
        if wrong_a or wrong_b:
            right = 0
            errors[0] += wrong_a
            errors[1] += wrong_b
        elif place % 2:  # a word (odd place), right in both; a gap without insertions does not interrupt
            right += 1
            if right == 2 and any(errors):
                found.append((errors[0], errors[1]))
                errors = [0, 0]
    if any(errors):
        found.append((errors[0], errors[1]))
    return found


def _walk(steps: str) -> List[int]:
    """Count errors along the reference: in the gap before the first word, at the first word, in the next gap, …, after the last word."""
    walk = [0]
    for step in steps:
        if step == "I":
            walk[-1] += 1
        else:
            walk += [int(step != "C"), 0]
    return walk


def _ratio(
    amounts: np.ndarray, words: np.ndarray, speakers: Optional[Sequence[str]], replicates: int
) -> Tuple[Tuple[float, float], float, str]:
    """Return the interval of ``sum(amounts) / sum(words)``, the two-sided p-value of a ratio of zero, and the method in words."""
    amounts, words = np.asarray(amounts, dtype=np.float64), np.asarray(words, dtype=np.float64)
    known = sorted(set(speakers)) if speakers is not None else []
    if len(known) > 1 and speakers is not None:
        place: Dict[str, int] = {speaker: number for number, speaker in enumerate(known)}
        of = np.asarray([place[speaker] for speaker in speakers])
        amounts, words = (np.bincount(of, weights=values, minlength=len(known)) for values in (amounts, words))
    drawn, count = ("speakers" if len(known) > 1 else "utterances"), len(amounts)
    rate = float(amounts.sum() / words.sum())
    moments = np.stack([amounts, words, amounts**2, amounts * words, words**2], axis=1)
    error = float(_standard_error(moments.sum(0), count))
    if error == 0:  # one unit only, or all have the same rate
        return (rate, rate), 1.0, f"none: {count} {drawn} without spread"
    if count < FEW:
        from scipy.stats import t as student

        reach = float(student.ppf(0.5 + CONFIDENCE / 2, count - 1))
        p_value = float(2 * student.sf(abs(rate) / error, count - 1))
        return (rate - reach * error, rate + reach * error), p_value, f"Student's t over {count} {drawn}"
    scores = np.empty(replicates)
    generator = np.random.default_rng(0)
    block = max(1, _CELLS // count)
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        sums = resampled(generator, count, size) @ moments
        errors = _standard_error(sums, count)
        # A replicate without spread has drawn identical units only. Its score is 0, so that it adds to neither tail.
        scores[start : start + size] = np.divide(
            sums[:, 0] / np.maximum(sums[:, 1], 1) - rate, errors, out=np.zeros(size), where=errors > 0
        )
    low, high = np.quantile(scores, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    p_value = max(float((np.abs(scores) >= abs(rate) / error).mean()), 1 / replicates)
    return (rate - float(high) * error, rate - float(low) * error), p_value, f"studentised bootstrap over {count} {drawn}"


def _standard_error(sums: np.ndarray, count: int) -> np.ndarray:
    """Compute the linearised standard error of a ratio (Cochran 1977, section 6.4).

    Args:
        sums: ``(..., 5)`` sums of the numerators a, the denominators b, a², ab and b².
        count: number of units summed.

    Returns:
        ``(...)`` standard errors.
    """
    total = np.maximum(sums[..., 1], 1)
    rate = sums[..., 0] / total
    squares = sums[..., 2] - 2 * rate * sums[..., 3] + rate**2 * sums[..., 4]
    # Rounding can leave a small value where the exact one is zero.
    squares = np.where(squares > 1e-9 * np.maximum(sums[..., 2], 1), squares, 0.0)
    return np.sqrt(squares * count / max(count - 1, 1)) / total
