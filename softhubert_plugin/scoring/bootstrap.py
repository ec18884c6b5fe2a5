"""Resampling with replacement (Efron and Tibshirani 1993, chapter 6). All bootstrap intervals use it."""

from __future__ import annotations

import numpy as np


def resampled(generator: np.random.Generator, count: int, size: int, dtype: type = np.float64) -> np.ndarray:
    """Draw samples with replacement and count how often each unit is drawn.

    Args:
        generator: source of randomness.
        count: number of units, which is also the number of draws per sample.
        size: number of samples.
        dtype: type of the counts.

    Returns:
        ``(size, count)``; each row sums to ``count``.
    """
    counts: np.ndarray = np.empty((size, count), dtype=dtype)
    for row in counts:  # one by one, because the draws of all take several times the memory of the counts
        row[:] = np.bincount(generator.integers(0, count, size=count), minlength=count)
    return counts
