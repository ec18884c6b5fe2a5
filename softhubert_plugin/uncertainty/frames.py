"""The frames of one utterance: how unsure each target is, and where in the phones it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from softhubert_plugin.alignments.sources import FRAME_CENTRE
from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.targets import FrameTargets


@dataclass(frozen=True)
class UnsureFrames:
    """The targets of one utterance, frame by frame.

    Attributes:
        targets: the distributions.
        best: ``(frames,)`` the most probable component.
        entropy: ``(frames,)`` float64, in nats.
        confidence: ``(frames,)`` float64, the probability of the most probable component.
    """

    targets: FrameTargets
    best: np.ndarray
    entropy: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.best)

    def expected(self, values: np.ndarray) -> np.ndarray:
        """The mean over a frame's components of a value per entry, weighted by their probabilities.

        Args:
            values: ``(entries,)``.

        Returns:
            ``(frames,)`` float64.
        """
        return np.bincount(self.targets.frame_of_entry, weights=self.targets.probabilities * values, minlength=len(self))


@dataclass(frozen=True)
class FramesInPhones:
    """Where the frames of one utterance stand in its phones.

    Attributes:
        phone: ``(frames,)`` numbers of phones, ``UNLABELLED`` outside the alignment.
        distance: ``(frames,)`` seconds from the frame's centre to the nearest change of phone; infinite if there is none.
        place: ``(frames,)`` place within the phone, from 0 at its start to 1 at its end.
    """

    phone: np.ndarray
    distance: np.ndarray
    place: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """``(frames,)`` whether the frame has a phone."""
        return self.phone != UNLABELLED


def unsure_frames(labels: FrameLabels, index: int) -> UnsureFrames:
    """Read the labels of an utterance.

    Raises:
        SoftHubertError: the labels are damaged.
    """
    entries = labels.entries(index)
    targets = entries.spread(labels.uniform, labels.n_components)
    probabilities = targets.probabilities.astype(np.float64)
    starts = np.cumsum(targets.counts) - targets.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(probabilities > 0, -probabilities * np.log(probabilities), 0.0)
    entropy = np.maximum(np.add.reduceat(terms, starts), 0.0)
    return UnsureFrames(targets, entries.most_probable(), entropy, np.maximum.reduceat(probabilities, starts))


def frames_in_phones(phones: Alignments, index: int, frames: int, rate: float) -> Optional[FramesInPhones]:
    """Find where the frames of an utterance stand in its phones; ``None`` if it has no alignment.

    Args:
        index: the utterance's number in the manifest.
        frames: how many frames the utterance has.
        rate: frames per second.
    """
    if not phones.has(index):
        return None
    starts, _, end = phones.intervals(index)
    centres = np.arange(frames) / rate + FRAME_CENTRE
    # The half nanosecond of Alignments.frames: a centre on a boundary belongs to the phone that starts there.
    place = np.maximum(np.searchsorted(starts, centres + 5e-10, side="right") - 1, 0)
    bounds = np.append(starts, end)
    length = bounds[place + 1] - bounds[place]
    within = np.divide(centres - bounds[place], length, out=np.zeros(frames), where=length > 0).clip(0, 1)
    changes = np.concatenate([[-np.inf], starts[1:], [np.inf]])
    distance = np.minimum(centres - changes[place], changes[place + 1] - centres)
    return FramesInPhones(phones.frames(index, frames, rate), np.maximum(distance, 0.0), within)
