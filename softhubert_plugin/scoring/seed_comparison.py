"""Compare two systems that were run with the same seeds, and say when a difference may be claimed.

Error rates of words and of characters are compared over seeds and speakers. Other measures are one number per seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from softhubert_plugin.scoring.crossed import crossed_interval, difference_table
from softhubert_plugin.scoring.intervals import CONFIDENCE, FEW
from softhubert_plugin.scoring.pairs import PairedErrors
from softhubert_plugin.scoring.seeds import SeedMean, mean_over_seeds


@dataclass(frozen=True)
class SeedComparison:
    """The mean difference between two systems over seeds.

    Attributes:
        by_seed: the paired differences by seed, second minus first, with Student's t: what other seeds would give on this test set.
        low, high, p_value: 95 % interval and two-sided p-value for other seeds and other speakers
            (:mod:`softhubert_plugin.scoring.crossed`). Without the same speakers or utterances in all seeds, those of ``by_seed``.
        method: in words, how ``low``, ``high`` and ``p_value`` were computed.
        crossed: whether they speak of other speakers, or utterances, as well; otherwise they are those of ``by_seed``.
    """

    by_seed: SeedMean
    low: float
    high: float
    p_value: float
    method: str
    crossed: bool = True


def compare_seeds(pairs: Sequence[PairedErrors]) -> SeedComparison:
    """Compare the error rates of two systems over seeds.

    Args:
        pairs: errors of both systems for each seed number that both were run with, at least two.
    """
    by_seed = mean_over_seeds([float((pair.errors_b - pair.errors_a).sum() / pair.words.sum()) for pair in pairs])
    crossed = _crossed(pairs)
    if crossed is None:
        return _by_seed_alone(by_seed, ", each with its own test set" if len(pairs[0].ids) > 1 else "")
    differences, words, units = crossed
    found = crossed_interval(difference_table(differences, words))
    count = differences.shape[1]
    how = "Student's t" if count < FEW else "hierarchical bootstrap"
    method = f"{how} over {len(pairs)} seeds and {count} {units}"
    return SeedComparison(by_seed, float(found.low), float(found.high), float(found.p_value), method)


def compare_values(differences: Sequence[float]) -> SeedComparison:
    """Compare two systems by a measure that is one number per seed.

    Args:
        differences: of each seed number that both were run with, second minus first, at least two.
    """
    return _by_seed_alone(mean_over_seeds(differences))


def claimed_difference(comparison: SeedComparison, corrected: Tuple[float, float]) -> int:
    """Decide whether a difference may be claimed.

    Both tests must say so after their correction, and the interval over seeds and speakers must exclude zero: a difference that holds for
    these speakers only, or for these seeds only, is not claimed.

    Args:
        corrected: p-values by seed, and by seeds and speakers, after Holm's correction over all comparisons of the report.

    Returns:
        -1 if the second system has a lower value (fewer errors), 1 if it has a higher one, 0 if no difference may be claimed.
    """
    if max(corrected) > 1 - CONFIDENCE or comparison.low <= 0 <= comparison.high:
        return 0
    return 1 if comparison.by_seed.mean > 0 else -1


def _by_seed_alone(by_seed: SeedMean, of_seeds: str = "") -> SeedComparison:
    assert by_seed.low is not None and by_seed.high is not None, "at least two seeds are expected"
    method = f"Student's t over {by_seed.seeds} seeds{of_seeds}"
    return SeedComparison(by_seed, by_seed.low, by_seed.high, by_seed.p_value, method, crossed=False)


def _crossed(pairs: Sequence[PairedErrors]) -> Optional[Tuple[np.ndarray, np.ndarray, str]]:
    """Sum the errors of each seed by speaker, or by utterance where speakers are not known or there is only one.

    Returns:
        ``(seeds, units)`` differences of errors, ``(seeds, units)`` words, and what the units are; ``None`` if not all seeds have the same
        units.
    """
    by_speaker = [pair for pair in pairs if pair.speakers is not None and len(set(pair.speakers)) > 1]
    units = "speakers" if len(by_speaker) == len(pairs) else "utterances"
    names: List[np.ndarray] = []
    sums = []
    for pair in pairs:
        labels = pair.ids if units == "utterances" or pair.speakers is None else pair.speakers
        of_seed, place = np.unique(np.asarray(labels), return_inverse=True)
        names.append(of_seed)
        sums.append([np.bincount(place, weights=amounts) for amounts in (pair.errors_b - pair.errors_a, pair.words)])
    if len(names[0]) < 2 or any(not np.array_equal(names[0], other) for other in names[1:]):
        return None
    table = np.asarray(sums)
    if units == "utterances" and not _same_utterances(pairs, table[:, 1]):
        return None
    return table[:, 0], table[:, 1], units


def _same_utterances(pairs: Sequence[PairedErrors], words: np.ndarray) -> bool:
    """Whether utterances of the same names are the same ones: a name may be no more than the position in a test set, such as ``None-0``."""
    references = pairs[0].references
    same = all(pair.references == references for pair in pairs)
    return same and (references is not None or bool((words == words[0]).all()))
