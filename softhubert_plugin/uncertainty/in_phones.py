"""How unsure targets are, and how often they are right, by where a frame stands in the phones: near a boundary or far, in which phone."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import numpy as np

from softhubert_plugin.alignments.phone_classes import CLASSES, phone_class
from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.uncertainty.frames import FramesInPhones, UnsureFrames
from softhubert_plugin.uncertainty.means import Means, value_of

# Upper ends of the distances to the nearest boundary, in seconds; the last class has no end.
DISTANCES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15)
PLACES = 10
_ROUNDING = 5e-10  # a distance of 20 ms is 20 ms, whatever differences of seconds are in binary
Rows = List[Dict[str, Any]]


class _Quantities:
    """Entropy, confidence and, where something is held out, the share of right frames, in cells."""

    def __init__(self, groups: int, cells: int) -> None:
        self.entropy, self.confidence, self.right = (Means(groups, cells) for _ in range(3))

    def add(self, group: int, cells: np.ndarray, frames: UnsureFrames, right: Optional[np.ndarray], chosen: np.ndarray) -> None:
        """Add the chosen frames; ``cells`` has the cell of every frame."""
        self.entropy.add(group, cells[chosen], frames.entropy[chosen])
        self.confidence.add(group, cells[chosen], frames.confidence[chosen])
        if right is not None:
            self.right.add(group, cells[chosen], right[chosen])

    def rows(self, names: Rows) -> Rows:
        """A row per cell, which begins with what ``names`` says of it."""
        columns = zip(names, self.entropy.frames(), self.entropy.estimates(), self.confidence.values(), self.right.estimates())
        return [
            {**name, "frames": frames, "entropy": entropy, "confidence": confidence, "right": right}
            for name, frames, entropy, confidence, right in columns
        ]


class InPhones:
    """Means over frames that have a phone.

    Args:
        phones: the alignments.
        groups: how many groups there are.
    """

    def __init__(self, phones: Alignments, groups: int) -> None:
        self.phones = phones
        self.class_of_phone = np.asarray([CLASSES.index(phone_class(phone, phones.phone_set)) for phone in phones.phones])
        self.distance = {name: _Quantities(groups, len(DISTANCES) + 1) for name in ("all", "speech")}
        self.place = _Quantities(groups, PLACES)
        self.of_phone = _Quantities(1, len(phones.phones))
        self.of_class = _Quantities(groups, len(CLASSES))
        self.phone_runs = 0

    def add(self, group: int, frames: UnsureFrames, where: FramesInPhones, right: Optional[np.ndarray]) -> None:
        """Add the frames of an utterance.

        Args:
            right: ``(frames,)`` whether the phone of the frame's most probable component is the frame's; ``None`` if nothing is held out.
        """
        known, silence = where.known, self.phones.silence
        bounded, speech = known & np.isfinite(where.distance), known & (where.phone != silence)
        distance = np.searchsorted(DISTANCES, where.distance + _ROUNDING, side="right")
        self.distance["all"].add(group, distance, frames, right, bounded)
        self.distance["speech"].add(group, distance, frames, right, bounded & speech)
        self.place.add(group, (where.place * PLACES).astype(np.int64).clip(0, PLACES - 1), frames, right, speech)
        self.of_phone.add(0, where.phone, frames, right, known)
        self.of_class.add(group, self.class_of_phone[where.phone], frames, right, known)
        spoken = where.phone[known]
        self.phone_runs += int(1 + np.count_nonzero(np.diff(spoken))) if len(spoken) else 0

    def summary(self) -> Dict[str, Any]:
        """The parts ``boundary``, ``place``, ``phones`` and ``classes`` of the results."""
        ends: List[Optional[float]] = [*DISTANCES, None]
        distances: Rows = [{"from": start, "to": end} for start, end in zip([0.0, *DISTANCES], ends)]
        places: Rows = [{"from": place / PLACES, "to": (place + 1) / PLACES} for place in range(PLACES)]
        phones: Rows = [{"phone": name, "class": CLASSES[of]} for name, of in zip(self.phones.phones, self.class_of_phone)]
        of_phone = self.of_phone.rows(phones)
        for row in of_phone:
            row.update(entropy=value_of(row["entropy"]), right=value_of(row["right"]))
        return {
            "boundary": {name: of_kind.rows(distances) for name, of_kind in self.distance.items()},
            "place": self.place.rows(places),
            "phones": [row for row in of_phone if row["frames"]],
            "classes": [row for row in self.of_class.rows([{"class": name} for name in CLASSES]) if row["frames"]],
        }

    def frames(self) -> int:
        """How many frames have a phone."""
        return sum(self.of_phone.entropy.frames())
