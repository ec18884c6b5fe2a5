"""Sparse target distributions of consecutive frames: the form of labels between file and loss.

A hard label is the case of one entry per frame with probability one, so that both kinds are handled by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np


def most_probable(counts: np.ndarray, components: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The component with the largest weight in each frame, ``(frames,)``; among equal weights, the lowest number.

    Args:
        counts: ``(frames,)`` int64, entries per frame, at least one.
        components: ``(entries,)``, frame after frame.
        weights: ``(entries,)`` signed or floating.
    """
    starts = np.cumsum(counts) - counts
    largest = np.repeat(np.maximum.reduceat(weights, starts), counts)
    candidates = np.where(weights == largest, components, np.iinfo(components.dtype).max)
    best: np.ndarray = np.minimum.reduceat(candidates, starts)
    return best


@dataclass(frozen=True)
class FrameTargets:
    """Distributions over components, frame by frame.

    Attributes:
        counts: ``(frames,)`` int64, entries of each frame.
        components: ``(entries,)`` int64, the entries' component ids, frame after frame.
        probabilities: ``(entries,)`` float32, summing to one in each frame.
    """

    counts: np.ndarray
    components: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def frame_of_entry(self) -> np.ndarray:
        """``(entries,)``: the frame that each entry belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def sliced(self, start: int, stop: int) -> FrameTargets:
        """The targets of frames ``start … stop-1``, or to the last frame if there are fewer."""
        ends = np.concatenate([[0], np.cumsum(self.counts)])
        stop = min(stop, len(self))
        entries = slice(ends[start], ends[stop])
        return FrameTargets(self.counts[start:stop], self.components[entries], self.probabilities[entries])

    def taken(self, frames: np.ndarray) -> FrameTargets:
        """The targets of some frames, in the order given.

        Args:
            frames: ``(n,)`` frame numbers.
        """
        counts = self.counts[frames]
        starts = (np.cumsum(self.counts) - self.counts)[frames]
        entries = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return FrameTargets(counts, self.components[entries], self.probabilities[entries])

    def most_probable(self) -> np.ndarray:
        """``(frames,)``: each frame's most probable component; among equal probabilities, the lowest number."""
        return most_probable(self.counts, self.components, self.probabilities)

    def spread(self, share: float, n_components: int) -> FrameTargets:
        """The targets with a share of each frame's probability spread evenly over all components.

        Args:
            share: in [0, 1]; with 0 the targets stay as they are.
            n_components: K; every frame of the result has K entries.
        """
        if not share:
            return self
        probabilities = np.full((len(self), n_components), share / n_components, dtype=np.float32)
        probabilities[self.frame_of_entry, self.components] += np.float32(1 - share) * self.probabilities
        counts = np.full(len(self), n_components, dtype=np.int64)
        return FrameTargets(counts, np.tile(np.arange(n_components), len(self)), probabilities.reshape(-1))

    def pooled(self, ratio: int, how: str) -> FrameTargets:
        """The targets at a frame rate that is ``ratio`` times lower.

        Args:
            ratio: label frames per output frame.
            how: ``mean`` averages the distributions of ``ratio`` frames; ``pick`` keeps the first of them, as fairseq does.

        Returns:
            ``ceil(frames / ratio)`` frames; an incomplete last group is averaged over the frames that it has.
        """
        if ratio == 1:
            return self
        frame = self.frame_of_entry
        if how == "pick":
            keep = frame % ratio == 0
            return FrameTargets(self.counts[::ratio], self.components[keep], self.probabilities[keep])
        groups = -(-len(self) // ratio)
        group_sizes = np.minimum(ratio, len(self) - ratio * np.arange(groups))
        width = int(self.components.max(initial=0)) + 1
        # Entries of one group that name the same component add up: sort by (group, component) and sum the runs.
        keys, inverse = np.unique((frame // ratio) * width + self.components, return_inverse=True)
        group = keys // width
        weights = self.probabilities / group_sizes[frame // ratio]
        probabilities = np.bincount(inverse, weights=weights, minlength=len(keys)).astype(np.float32)
        return FrameTargets(np.bincount(group, minlength=groups), keys % width, probabilities)

    def padded(self, frames: int, width: int) -> Tuple[np.ndarray, np.ndarray]:
        """Rectangular arrays ``(frames, width)``: component ids (int64) and probabilities (float32), zero where there is no entry."""
        components = np.zeros((frames, width), dtype=np.int64)
        probabilities = np.zeros((frames, width), dtype=np.float32)
        row = self.frame_of_entry
        column = np.arange(len(row)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        components[row, column] = self.components
        probabilities[row, column] = self.probabilities
        return components, probabilities
