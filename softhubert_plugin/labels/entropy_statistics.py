"""Summarise how uncertain the frames of a label file are: the means and the histogram that its description records."""

from __future__ import annotations

import math
from typing import Any, Dict

import numpy as np

from softhubert_plugin.labels.soft_layout import ENTROPY_BINS


class EntropyStatistics:
    """Running sums of the entropies of posteriors, before and after truncation.

    Args:
        n_components: K.
    """

    def __init__(self, n_components: int) -> None:
        self.top = math.log(max(n_components, 2))
        self.histogram = np.zeros(ENTROPY_BINS, dtype=np.int64)
        self.frames = 0
        self.sums = np.zeros(4)

    def add(self, entropy_before: np.ndarray, entropy_after: np.ndarray) -> None:
        """Add the entropies of some frames, each ``(frames,)`` in nats."""
        self.sums += [x.sum(dtype=np.float64) for y in (entropy_before, entropy_after) for x in (y, np.exp(y))]
        bins = (entropy_after * (ENTROPY_BINS / self.top)).astype(np.int64).clip(0, ENTROPY_BINS - 1)
        self.histogram += np.bincount(bins, minlength=ENTROPY_BINS)
        self.frames += len(entropy_before)

    def summary(self) -> Dict[str, Any]:
        """The fields of :class:`~softhubert_plugin.labels.soft_layout.SoftLabelInfo` that describe uncertainty."""
        entropy_before, perplexity_before, entropy_after, perplexity_after = (self.sums / self.frames).tolist()
        return {
            "entropy_before": entropy_before,
            "perplexity_before": perplexity_before,
            "entropy": entropy_after,
            "perplexity": perplexity_after,
            "entropy_histogram": self.histogram.tolist(),
        }
