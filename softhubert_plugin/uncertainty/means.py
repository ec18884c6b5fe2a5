"""Means of a quantity in cells, such as distances or phones, with intervals by bootstrap over groups. The frames are not kept."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import numpy as np

from softhubert_plugin.scoring.bootstrap import resampled

REPLICATES = 500
Estimate = Dict[str, Optional[float]]


def estimates(statistic: Callable[[np.ndarray], np.ndarray], groups: int) -> List[Optional[Estimate]]:
    """Compute statistics of all groups together, with 95 % intervals by bootstrap over the groups.

    Args:
        statistic: maps ``(samples, groups)``, how often each group counts, to ``(samples, values)``; NaN where a value has no frame.
        groups: how many groups there are; the intervals of a single one are unknown.

    Returns:
        For each value ``{"value", "low", "high"}``, or ``None`` if it has no frame.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = statistic(np.ones((1, groups)))[0]
        drawn = statistic(resampled(np.random.default_rng(0), groups, REPLICATES)) if groups > 1 else np.empty((0, len(whole)))
    found: List[Optional[Estimate]] = []
    for value, replicates in zip(whole, drawn.T):
        usable = replicates[~np.isnan(replicates)]
        low, high = np.percentile(usable, [2.5, 97.5]).tolist() if len(usable) else (None, None)
        found.append(None if np.isnan(value) else {"value": float(value), "low": low, "high": high})
    return found


class Means:
    """Running means of one quantity in cells.

    Args:
        groups: how many groups there are.
        cells: how many cells there are.
    """

    def __init__(self, groups: int, cells: int) -> None:
        self.counts = np.zeros((groups, cells))
        self.sums = np.zeros((groups, cells))

    def add(self, group: int, cells: np.ndarray, values: np.ndarray) -> None:
        """Add frames of one group.

        Args:
            cells: ``(frames,)`` the cell of each frame.
            values: ``(frames,)`` its value.
        """
        width = self.counts.shape[1]
        self.counts[group] += np.bincount(cells, minlength=width)
        self.sums[group] += np.bincount(cells, weights=values, minlength=width)

    def frames(self) -> List[int]:
        """How many frames each cell has."""
        return [int(count) for count in self.counts.sum(0)]

    def values(self) -> List[Optional[float]]:
        """The mean of each cell, ``None`` where it has no frame."""
        return [float(total / count) if count else None for total, count in zip(self.sums.sum(0), self.counts.sum(0))]

    def estimates(self) -> List[Optional[Estimate]]:
        """The mean of each cell with its interval, ``None`` where it has no frame."""
        return estimates(lambda drawn: (drawn @ self.sums) / (drawn @ self.counts), len(self.counts))


def value_of(found: Optional[Dict[str, Any]]) -> Optional[float]:
    """The value of a measure, ``None`` where it has none."""
    return None if found is None else found["value"]
