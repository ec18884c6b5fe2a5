"""Score a probe, utterance by utterance, with bootstrap intervals over speakers, or over utterances if there are few speakers."""

from __future__ import annotations

from typing import Any, Dict, List

import editdistance
import numpy as np

from softhubert_plugin.alignments.utterances import UNLABELLED
from softhubert_plugin.scoring.bootstrap import resampled

PROBE_REPLICATES = 1000
# Resampling fewer speakers than this gives meaningless intervals.
FEWEST_SPEAKERS = 5


def spoken_phones(phones: np.ndarray, silence: int) -> List[int]:
    """Turn the phones of frames ``(frames,)`` into the sequence of phones spoken.

    Runs are joined, and silence and frames without a phone (:data:`UNLABELLED`) are dropped.
    """
    phones = phones[phones != UNLABELLED]
    if not len(phones):
        return []
    runs = phones[np.concatenate([[True], np.diff(phones) != 0])]
    return [int(phone) for phone in runs if phone != silence]


class ProbeScore:
    """Frame accuracy, of all frames and of speech alone, phone error rate and confusions of one probe on the test utterances.

    A room that a probe has not heard can turn all silence, a tenth of the frames or more, into one phone.

    Args:
        phones: how many phones there are.
        silence: the number of the phone that stands for silence.
    """

    def __init__(self, phones: int, silence: int) -> None:
        self.silence = silence
        self.confusion = np.zeros((phones, phones), dtype=np.int64)
        self._rows: List[List[int]] = []
        self._speakers: List[str] = []

    def add(self, speaker: str, reference: np.ndarray, found: np.ndarray) -> None:
        """Score one utterance.

        Args:
            reference: ``(frames,)`` phones spoken, :data:`UNLABELLED` where unknown.
            found: ``(frames,)`` phones predicted.
        """
        known = reference != UNLABELLED
        np.add.at(self.confusion, (reference[known], found[known]), 1)
        spoken = spoken_phones(reference, self.silence)
        errors = editdistance.eval(spoken_phones(np.where(known, found, UNLABELLED), self.silence), spoken)
        right, speech = reference[known] == found[known], reference[known] != self.silence
        self._rows.append([int(right.sum()), len(right), errors, len(spoken), int(right[speech].sum()), int(speech.sum())])
        self._speakers.append(speaker)

    def summary(self) -> Dict[str, Any]:
        """The rates as ``{"value", "low", "high"}`` with 95 % intervals, what the intervals are over, and the number of frames."""
        counts = np.asarray(self._rows, dtype=np.int64)
        speakers, of = np.unique(self._speakers, return_inverse=True)
        unit = "speakers" if len(speakers) >= FEWEST_SPEAKERS else "utterances"
        if unit == "speakers":
            counts = np.stack([np.bincount(of, weights=column, minlength=len(speakers)) for column in counts.T], axis=1).astype(np.int64)
        draws = resampled(np.random.default_rng(0), len(counts), PROBE_REPLICATES) @ counts
        rates = {"accuracy": (0, 1), "speech_accuracy": (4, 5), "phone_error": (2, 3)}
        intervals = {name: _interval(counts[:, of], counts[:, by], draws[:, of], draws[:, by]) for name, (of, by) in rates.items()}
        return {**intervals, "intervals_over": unit, "frames": int(counts[:, 1].sum())}


def _interval(count: np.ndarray, total: np.ndarray, drawn_count: np.ndarray, drawn_total: np.ndarray) -> Dict[str, float]:
    low, high = np.percentile(drawn_count / np.maximum(drawn_total, 1), [2.5, 97.5])
    return {"value": float(count.sum() / max(total.sum(), 1)), "low": float(low), "high": float(high)}
