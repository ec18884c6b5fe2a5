"""How much a joint distribution of phones and clusters says: purities and phone-normalised mutual information (PNMI), with intervals.

The formulas, with their small constants, are those of fairseq's ``measure_teacher_quality.py``, so that counts of hard labels get the same
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
    """Of one joint distribution of phones and clusters; entropies in nats.

    Attributes:
        phone_purity: accuracy when every cluster is taken for its most frequent phone.
        cluster_purity: the converse.
        pnmi: mutual information over the phones' entropy: how much of what there is to know about the phone the cluster tells.
    """

    phone_purity: float
    cluster_purity: float
    pnmi: float
    mutual_information: float
    phone_entropy: float
    cluster_entropy: float


def quality(joint: np.ndarray) -> Quality:
    """Measures of ``(phones, clusters)`` counts, which need not be whole numbers."""
    joint = joint[joint.sum(1) > 0][:, joint.sum(0) > 0] / joint.sum()
    phones, clusters = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    information = float((joint * np.log(joint / (phones * clusters) + _TINY)).sum())
    phone_entropy = float(-(phones * np.log(phones + _TINY)).sum())
    cluster_entropy = float(-(clusters * np.log(clusters + _TINY)).sum())
    pnmi = information / phone_entropy if phone_entropy > 1e-6 else 0.0
    return Quality(float(joint.max(0).sum()), float(joint.max(1).sum()), pnmi, information, phone_entropy, cluster_entropy)


class JointCounts:
    """Counts of (phone, cluster) over utterances, of the whole and of bootstrap replicates, without keeping the utterances.

    Args:
        utterances: how many will be added.
    """

    def __init__(self, phones: int, clusters: int, utterances: int, *, replicates: int = PNMI_REPLICATES) -> None:
        self.shape = (phones, clusters)
        self.total = np.zeros(phones * clusters)
        self._replicates = np.zeros((replicates, phones * clusters))
        self._draws = resampled(np.random.default_rng(0), utterances, replicates)
        self._block: List[sparse.csr_matrix] = []
        self._added = 0

    def add(self, phones: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> None:
        """Count the entries of one utterance, ``(entries,)`` each."""
        cells, inverse = np.unique(phones * self.shape[1] + clusters, return_inverse=True)
        counts = np.bincount(inverse, weights=weights, minlength=len(cells))
        self.total[cells] += counts
        self._block.append(sparse.csr_matrix((counts, cells, [0, len(cells)]), shape=(1, len(self.total))))
        if len(self._block) == _UTTERANCES_A_BLOCK:
            self._flush()

    def _flush(self) -> None:
        if self._block:
            drawn = self._draws[:, self._added : self._added + len(self._block)]
            self._replicates += (sparse.csr_matrix(drawn) @ sparse.vstack(self._block)).toarray()
            self._added += len(self._block)
            self._block = []

    def whole(self) -> Quality:
        """The measures of all that was added."""
        return quality(self.total.reshape(self.shape))

    def summary(self) -> Dict[str, Any]:
        """Each measure as ``{"value", "low", "high"}``: 95 % intervals by bootstrap over utterances.

        The replicates' spread is laid around the value: a resampled set has fewer different utterances, which by itself adds mutual
        information, so that the replicates' own quantiles would lie too high.
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
