"""Statistics over training seeds: means, differences by seed, and Holm's correction over several comparisons.

Seeds are what is sampled here: an experiment that is run again with another seed gives another word error rate, accuracy or purity. Two
systems that were run with the same seed number share what the seed decides, so they are compared seed by seed. These intervals speak of
other seeds on the same test set; :mod:`softhubert_plugin.scoring.crossed` speaks of other seeds and other speakers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np

from softhubert_plugin.scoring.intervals import CONFIDENCE

_ROUNDING = 1e-9  # a spread below this share of the values is rounding, not spread


@dataclass(frozen=True)
class SeedMean:
    """A mean over seeds, of one system's values or of paired differences.

    Attributes:
        mean: the mean.
        low, high: its 95 % interval, Student's t; ``None`` with one seed.
        p_value: two-sided p-value of a true mean of zero; 1 with one seed, or if all seeds have the same value.
        seeds: number of seeds.
    """

    mean: float
    low: Optional[float]
    high: Optional[float]
    p_value: float
    seeds: int


def mean_over_seeds(values: Sequence[float]) -> SeedMean:
    """Compute the mean over seeds with Student's t. Of paired differences, it is the paired t test.

    Values without any spread are not evidence: seeds that all give the same number have not been at work. The interval is then the number
    itself, and the p-value is 1.

    Args:
        values: one value per seed.

    >>> mean_over_seeds([0.25, 0.35]).mean
    0.3
    """
    found = np.asarray(values, dtype=np.float64)
    count, mean = len(found), float(found.mean())
    if count < 2:
        return SeedMean(mean, None, None, 1.0, count)
    error = float(found.std(ddof=1)) / math.sqrt(count)
    if error <= _ROUNDING * float(np.abs(found).max()):
        return SeedMean(mean, mean, mean, 1.0, count)
    from scipy.stats import t as student

    reach = float(student.ppf(0.5 + CONFIDENCE / 2, count - 1)) * error
    return SeedMean(mean, mean - reach, mean + reach, float(2 * student.sf(abs(mean) / error, count - 1)), count)


def holm(p_values: Sequence[float]) -> List[float]:
    """Correct p-values for their number (Holm 1979), so that all claims at 0.05 together are wrong at most once in twenty times.

    Args:
        p_values: one per comparison.

    Returns:
        The corrected p-values, in the same order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return [float(value) for value in corrected]
