"""Measures of a joint distribution of phones and clusters: purities and phone-normalised mutual information (PNMI), with intervals.

The formulas, with their small constants, are those of fairseq's ``measure_teacher_quality.py``, so that counts of hard labels give the same
numbers (Hsu et al. 2021, section IV-C).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List

import numpy as np
from scipy import sparse

from softhubert_plugin.scoring.bootstrap import resampled

PNMI_REPLICATES = 200
_UTTERANCES_A_BLOCK = 512
_TINY = 1e-8


@dataclass(frozen=True)
class Quality:
    """Measures of one joint distribution of phones and clusters.

    Attributes:
        phone_purity: frame accuracy when every cluster stands for its most frequent phone.
        cluster_purity: frame accuracy when every phone stands for its most frequent cluster.
        pnmi: mutual information divided by the phones' entropy: the share of the uncertainty about the phone that the cluster removes.
        mutual_information, phone_entropy, cluster_entropy: in nats.
    """

    phone_purity: float
    cluster_purity: float
    pnmi: float
    mutual_information: float
    phone_entropy: float
    cluster_entropy: float


def quality(joint: np.ndarray) -> Quality:
    """Compute the measures of ``(phones, clusters)`` counts, which need not be whole numbers."""
    joint = joint[joint.sum(1) > 0][:, joint.sum(0) > 0] / joint.sum()
    phones, clusters = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    information = float((joint * np.log(joint / (phones * clusters) + _TINY)).sum())
    phone_entropy = float(-(phones * np.log(phones + _TINY)).sum())
    cluster_entropy = float(-(clusters * np.log(clusters + _TINY)).sum())
    pnmi = information / phone_entropy if phone_entropy > 1e-6 else 0.0
    return Quality(float(joint.max(0).sum()), float(joint.max(1).sum()), pnmi, information, phone_entropy, cluster_entropy)


class JointCounts:
    """Counts of (phone, cluster) pairs over utterances: of all utterances, and of bootstrap replicates. The utterances are not kept.

    Args:
        phones, clusters: how many of each there are.
        utterances: how many will be added.
        replicates: how many bootstrap replicates to count.
    """

    def __init__(self, phones: int, clusters: int, utterances: int, *, replicates: int = PNMI_REPLICATES) -> None:
        self.shape = (phones, clusters)
        self.total = np.zeros(phones * clusters)
        self._replicates = np.zeros((replicates, phones * clusters))
        self._draws = resampled(np.random.default_rng(0), utterances, replicates, np.uint16)  # no utterance is drawn that often
        self._block: List[sparse.csr_matrix] = []
        self._added = 0

    def add(self, phones: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> None:
        """Count the entries of one utterance.

        Args:
            phones, clusters: ``(entries,)`` numbers.
            weights: ``(entries,)`` what each entry counts.
        """
        cells, inverse = np.unique(phones * self.shape[1] + clusters, return_inverse=True)
        counts = np.bincount(inverse, weights=weights, minlength=len(cells))
        self.total[cells] += counts
        self._block.append(sparse.csr_matrix((counts, cells, [0, len(cells)]), shape=(1, len(self.total))))
        if len(self._block) == _UTTERANCES_A_BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Add the utterances of the open block to the replicates."""
        if self._block:
            drawn = self._draws[:, self._added : self._added + len(self._block)]
            self._replicates += (sparse.csr_matrix(drawn) @ sparse.vstack(self._block)).toarray()
            self._added += len(self._block)
            self._block = []

    def whole(self) -> Quality:
        """The measures of all utterances added so far."""
        return quality(self.total.reshape(self.shape))

    def summary(self) -> Dict[str, Any]:
        """Each measure as ``{"value", "low", "high"}``: 95 % intervals by bootstrap over utterances.

        The replicates' spread is centred on the value. A resampled set has fewer different utterances, which by itself adds mutual
        information, so that the replicates' own quantiles would be too high.
        """
        self._flush()
        whole = asdict(self.whole())
        drawn = [asdict(quality(counts.reshape(self.shape))) for counts in self._replicates if counts.any()]
        summary = {}
        for name, value in whole.items():
            values = np.asarray([replicate[name] for replicate in drawn] or [value])
            low, high = value + np.percentile(values, [2.5, 97.5]) - values.mean()
            summary[name] = {"value": value, "low": float(low), "high": float(high)}
        return summary
