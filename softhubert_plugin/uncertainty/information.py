"""How much labels say about the phones of utterances that they were not fitted to, in nats and as PNMI.

The estimate is the lower bound of Barber and Agakov (2003), I(phone; label) ≥ H(phone) − E[−log q(phone | label)], whose ``q`` comes from
other folds (:mod:`softhubert_plugin.uncertainty.phone_guess`). Learning by heart does not raise it: a ``q`` that fits its own utterances
only makes the bound lower. PNMI is the bound divided by H(phone). Three readings of a frame's target are compared:

* ``argmax``: its most probable component k, q = P(phone | k);
* ``expected``: a component drawn from it, as expected counts have it; its mean is Σ p(k) log P(phone | k);
* ``posterior``: the whole distribution, q = Σ p(k) P(phone | k).

The three are equal for hard labels. By Jensen's inequality ``posterior`` is never below ``expected``.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from softhubert_plugin.probing.information import quality
from softhubert_plugin.uncertainty.frames import UnsureFrames
from softhubert_plugin.uncertainty.means import estimates
from softhubert_plugin.uncertainty.phone_guess import PhoneCounts, PhoneGuess

READINGS = ("argmax", "expected", "posterior")


class HeldOutInformation:
    """Sums of log q(phone | label) over frames, per group.

    Args:
        groups, phones: how many of each there are.
    """

    def __init__(self, groups: int, phones: int) -> None:
        self.phones = np.zeros((groups, phones))
        self.logs = np.zeros((groups, len(READINGS)))

    def add(self, group: int, frames: UnsureFrames, phone: np.ndarray, known: np.ndarray, guess: PhoneGuess) -> None:
        """Add the frames of an utterance.

        Args:
            phone: ``(frames,)`` their phones.
            known: ``(frames,)`` which frames have one.
            guess: what other folds say.
        """
        of_entry = phone[frames.targets.frame_of_entry]  # frames without a phone get the last one, and are left out below
        probabilities = guess.expected[of_entry, frames.targets.components]
        readings = (
            np.log(guess.argmax[phone, frames.best]),
            frames.expected(np.log(probabilities)),
            np.log(frames.expected(probabilities)),
        )
        self.logs[group] += [reading[known].sum() for reading in readings]
        self.phones[group] += np.bincount(phone[known], minlength=self.phones.shape[1])

    def summary(self, counts: PhoneCounts) -> Dict[str, Any]:
        """The part ``information`` of the results.

        Args:
            counts: of all folds, for what counting without anything held out would say.
        """
        groups = len(self.phones)
        names = [f"{name}.{what}" for name in READINGS for what in ("mutual_information", "pnmi")]
        found = dict(zip([*names, "beyond_argmax", "phone_entropy"], estimates(self._bounds, groups)))
        fitted = {name: quality(of_kind.sum(0)) for name, of_kind in (("argmax", counts.argmax), ("expected", counts.expected))}
        return {
            "phone_entropy": found["phone_entropy"],
            **{name: {what: found[f"{name}.{what}"] for what in ("mutual_information", "pnmi")} for name in READINGS},
            "beyond_argmax": found["beyond_argmax"],
            "not_held_out": {name: {"mutual_information": each.mutual_information, "pnmi": each.pnmi} for name, each in fitted.items()},
        }

    def _bounds(self, drawn: np.ndarray) -> np.ndarray:
        """Bounds and PNMI of each reading, nats of the posterior beyond the argmax, and the phones' entropy, for each sample of groups."""
        phones, logs = drawn @ self.phones, drawn @ self.logs
        frames = phones.sum(1, keepdims=True)
        shares = phones / frames
        entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
        bounds = entropy[:, None] + logs / frames
        columns = [column for bound in bounds.T for column in (bound, np.where(entropy > 1e-6, bound / entropy, 0.0))]
        return np.stack([*columns, bounds[:, 2] - bounds[:, 0], entropy], axis=1)
