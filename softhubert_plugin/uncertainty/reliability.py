"""Whether confidence means something: how often the phone of the most probable component is right, by that component's probability.

Bins of equal width and the expected calibration error follow Guo et al. 2017, equation 3: Σ (frames of the bin / frames) × |share right −
mean confidence|. Which phone a component stands for is decided on other folds.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from softhubert_plugin.uncertainty.means import Means, estimates

BINS = 10


def confidence_bin(confidence: np.ndarray) -> np.ndarray:
    """The bin ``((m) / BINS, (m + 1) / BINS]`` of each probability, counted from 0.

    Label files hold probabilities in units of 1/65535, so one that is rounded to just above a bin's upper end still belongs to that bin.
    """
    return (np.ceil((confidence - 1e-5) * BINS).astype(np.int64) - 1).clip(0, BINS - 1)


class Reliability:
    """Shares of right frames and mean confidence, by confidence.

    Args:
        groups: how many groups there are.
    """

    def __init__(self, groups: int) -> None:
        self.right = Means(groups, BINS)
        self.confidence = Means(groups, BINS)

    def add(self, group: int, confidence: np.ndarray, right: np.ndarray) -> None:
        """Add frames of one group.

        Args:
            confidence: ``(frames,)`` probabilities of the most probable components.
            right: ``(frames,)`` whether their phone is the frame's.
        """
        cells = confidence_bin(confidence)
        self.right.add(group, cells, right)
        self.confidence.add(group, cells, confidence)

    def summary(self) -> Dict[str, Any]:
        """The part ``reliability`` of the results. ``overconfidence`` is the mean confidence less the share of right frames."""
        columns = zip(self.right.frames(), self.confidence.values(), self.right.estimates())
        bins = [
            {"from": number / BINS, "to": (number + 1) / BINS, "frames": frames, "confidence": confidence, "right": right}
            for number, (frames, confidence, right) in enumerate(columns)
        ]
        names = ("expected_calibration_error", "confidence", "right", "overconfidence")
        return {**dict(zip(names, estimates(self._overall, len(self.right.counts)))), "bins": bins}

    def _overall(self, drawn: np.ndarray) -> np.ndarray:
        counts, confident, right = drawn @ self.right.counts, drawn @ self.confidence.sums, drawn @ self.right.sums
        frames = counts.sum(1)
        error = np.abs(right - confident).sum(1) / frames
        confidence, share = confident.sum(1) / frames, right.sum(1) / frames
        return np.stack([error, confidence, share, confidence - share], axis=1)
