"""Resampling with replacement (Efron and Tibshirani 1993, chapter 6). All bootstrap intervals use it."""

from __future__ import annotations

import numpy as np


def resampled(generator: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Draw samples with replacement and count how often each unit is drawn.

    Args:
        generator: source of randomness.
        count: number of units, which is also the number of draws per sample.
        size: number of samples.

    Returns:
        ``(size, count)`` float64; each row sums to ``count``.
    """
    drawn = generator.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
