"""What a label file says without alignments: how unsure its frames are, how long its labels last, and which components it uses."""

from __future__ import annotations

import math
from typing import Any, Dict

import numpy as np

from softhubert_plugin.labels.soft_layout import ENTROPY_BINS
from softhubert_plugin.uncertainty.frames import UnsureFrames

LONGEST_RUN = 25  # frames; longer runs share the last place of the table


def run_lengths(best: np.ndarray) -> np.ndarray:
    """``(runs,)``: the lengths of the runs of equal values in ``(frames,)`` labels."""
    bounds = np.flatnonzero(np.concatenate([[True], best[1:] != best[:-1], [True]]))
    return np.diff(bounds)


class Overview:
    """Counts over all frames.

    Args:
        n_components: K.
        label_rate: frames per second.
    """

    def __init__(self, n_components: int, label_rate: float) -> None:
        self.rate = label_rate
        self.top = math.log(max(n_components, 2))
        self.frames = self.utterances = 0
        self.entropy = self.perplexity = self.confidence = 0.0
        self.histogram = np.zeros(ENTROPY_BINS, dtype=np.int64)
        self.runs = np.zeros(LONGEST_RUN, dtype=np.int64)
        self.chosen = np.zeros(n_components)
        self.expected = np.zeros(n_components)

    def add(self, frames: UnsureFrames) -> None:
        """Add the frames of an utterance."""
        self.frames += len(frames)
        self.utterances += 1
        self.entropy += float(frames.entropy.sum())
        self.perplexity += float(np.exp(frames.entropy).sum())
        self.confidence += float(frames.confidence.sum())
        bins = (frames.entropy * (ENTROPY_BINS / self.top)).astype(np.int64).clip(0, ENTROPY_BINS - 1)
        self.histogram += np.bincount(bins, minlength=ENTROPY_BINS)
        lengths = run_lengths(frames.best)
        self.runs += np.bincount(np.minimum(lengths, LONGEST_RUN) - 1, minlength=LONGEST_RUN)
        self.chosen += np.bincount(frames.best, minlength=len(self.chosen))
        self.expected += np.bincount(frames.targets.components, weights=frames.targets.probabilities, minlength=len(self.expected))

    def summary(self) -> Dict[str, Any]:
        """The counts as the parts ``frames``, ``entropy``, ``confidence``, ``runs`` and ``components_used`` of the results."""
        runs = int(self.runs.sum())
        return {
            "utterances": self.utterances,
            "frames": self.frames,
            "entropy": {
                "mean": self.entropy / self.frames,
                "perplexity": self.perplexity / self.frames,
                "histogram": {
                    "edges": [self.top * edge / ENTROPY_BINS for edge in range(ENTROPY_BINS + 1)],
                    "counts": self.histogram.tolist(),
                },
            },
            "confidence": self.confidence / self.frames,
            "runs": {"mean_frames": self.frames / runs, "mean_seconds": self.frames / runs / self.rate, "counts": self.runs.tolist()},
            "components_used": {
                "argmax": int(np.count_nonzero(self.chosen)),
                "perplexity_argmax": _perplexity(self.chosen),
                "perplexity_expected": _perplexity(self.expected),
            },
        }


def _perplexity(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
