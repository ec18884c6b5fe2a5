"""What a component says about the phone, decided on other utterances than those that are judged.

Counts of (phone, component) are kept per fold. The model of a fold is made of the counts of all other folds:

    P(phone | component) = (N(phone, component) + P(phone)) / (N(component) + 1),   P(phone) = (N(phone) + 1) / (N + phones)

One imagined frame, spread as the phones are, keeps every logarithm finite, and a component that the other folds do not have says what is
known without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softhubert_plugin.uncertainty.frames import UnsureFrames


@dataclass(frozen=True)
class PhoneGuess:
    """What components say about the phone.

    Attributes:
        phone_of: ``(K,)`` the phone of most frames whose most probable component it is; among equals, the lowest number.
        argmax: ``(phones, K)`` P(phone | component), from frames counted for their most probable component.
        expected: ``(phones, K)`` the same from expected counts, where a frame counts for every component with its probability.
    """

    phone_of: np.ndarray
    argmax: np.ndarray
    expected: np.ndarray


class PhoneCounts:
    """Counts of phones and components, per fold.

    Args:
        folds, phones, components: how many of each there are.
    """

    def __init__(self, folds: int, phones: int, components: int) -> None:
        self.argmax = np.zeros((folds, phones, components))
        self.expected = np.zeros((folds, phones, components))

    def add(self, fold: int, frames: UnsureFrames, phone: np.ndarray, known: np.ndarray) -> None:
        """Count the frames of an utterance.

        Args:
            phone: ``(frames,)`` their phones.
            known: ``(frames,)`` which frames have one.
        """
        np.add.at(self.argmax[fold], (phone[known], frames.best[known]), 1.0)
        frame = frames.targets.frame_of_entry
        entries = known[frame]
        cells = (phone[frame[entries]], frames.targets.components[entries])
        np.add.at(self.expected[fold], cells, frames.targets.probabilities[entries].astype(np.float64))

    def guess(self, fold: int) -> PhoneGuess:
        """What the components say about the phones of a fold, from all other folds."""
        argmax, expected = (counts.sum(0) - counts[fold] for counts in (self.argmax, self.expected))
        marginal = _marginal(argmax)
        most = np.where(argmax.sum(0) > 0, argmax.argmax(0), marginal.argmax())
        return PhoneGuess(most, _smoothed(argmax, marginal), _smoothed(np.maximum(expected, 0.0), marginal))


def _marginal(counts: np.ndarray) -> np.ndarray:
    per_phone = counts.sum(1)
    marginal: np.ndarray = (per_phone + 1) / (per_phone.sum() + len(per_phone))
    return marginal


def _smoothed(counts: np.ndarray, marginal: np.ndarray) -> np.ndarray:
    smoothed: np.ndarray = (counts + marginal[:, None]) / (counts.sum(0) + 1)
    return smoothed
