"""How unsure the targets of each speaker are."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import numpy as np

from softhubert_plugin.speakers import Speakers
from softhubert_plugin.uncertainty.frames import UnsureFrames
from softhubert_plugin.uncertainty.means import Means
from softhubert_plugin.uncertainty.overview import run_lengths


class BySpeaker:
    """Means per speaker.

    Args:
        speakers: the speaker of every utterance.
    """

    def __init__(self, speakers: Speakers) -> None:
        self.speakers = speakers
        self.names = sorted(set(speakers.names))
        self._number = {name: number for number, name in enumerate(self.names)}
        self.entropy, self.confidence, self.right = (Means(len(self.names), 1) for _ in range(3))
        self.runs = np.zeros(len(self.names))
        self.utterances = np.zeros(len(self.names), dtype=np.int64)

    def add(self, index: int, frames: UnsureFrames, right: Optional[np.ndarray]) -> None:
        """Add the frames of an utterance.

        Args:
            index: the utterance's number in the manifest.
            right: ``(n,)`` whether frames are right, of those frames for which that is known; ``None`` if it is known for none.
        """
        speaker = self._number[self.speakers.names[index]]
        zeros = np.zeros(len(frames), dtype=np.int64)
        self.entropy.add(speaker, zeros, frames.entropy)
        self.confidence.add(speaker, zeros, frames.confidence)
        if right is not None:
            self.right.add(speaker, zeros[: len(right)], right)
        self.runs[speaker] += len(run_lengths(frames.best))
        self.utterances[speaker] += 1

    def summary(self) -> Dict[str, Any]:
        """The part ``speakers`` of the results."""
        rows: List[Dict[str, Any]] = []
        for number, name in enumerate(self.names):
            frames, judged = float(self.entropy.counts[number, 0]), float(self.right.counts[number, 0])
            rows.append(
                {
                    "speaker": name,
                    "utterances": int(self.utterances[number]),
                    "frames": int(frames),
                    "entropy": float(self.entropy.sums[number, 0]) / frames,
                    "confidence": float(self.confidence.sums[number, 0]) / frames,
                    "run_frames": frames / float(self.runs[number]),
                    "right": float(self.right.sums[number, 0]) / judged if judged else None,
                }
            )
        return {"source": self.speakers.source, "rows": rows}
