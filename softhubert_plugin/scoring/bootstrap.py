"""Resampling with replacement (Efron and Tibshirani 1993, chapter 6), the part that every bootstrap interval shares."""

from __future__ import annotations

import numpy as np


def resampled(generator: np.random.Generator, count: int, size: int) -> np.ndarray:
    """How often each of ``count`` units is drawn in each of ``size`` samples: ``(size, count)`` float64, each row summing to ``count``."""
    drawn = generator.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
