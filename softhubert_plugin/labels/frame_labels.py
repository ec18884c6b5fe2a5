"""The common interface of soft and hard labels: a file with the targets of every utterance of a split, one distribution per frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Optional

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.targets import FrameTargets

RATE_UNKNOWN = "its label rate is not recorded; give --label-rate (MFCC: 100, HuBERT: 50)"


class FrameLabels(ABC):
    """Labels of a split, open for random access.

    Attributes:
        path: the file.
        n_components: K.
        source: identifies what the component ids mean: a fingerprint of the mixture, or of the clustering's dictionary. It must be the
            same for all splits.
        made_with: fingerprint of the mixture of hard labels, whose :attr:`source` says only how many clusters there are; empty if they do
            not record it.
        lengths: ``(utterances,)`` label frames of each utterance.
        label_rate: frames per second, or ``None`` if the file does not record it.
        manifest_sha256: fingerprint of the manifest that the labels were made for; empty if the file does not record it.
        uniform: the share of the probability that every frame spreads evenly over all K components.
    """

    path: Path
    n_components: int
    source: str
    made_with: str = ""
    lengths: np.ndarray
    label_rate: Optional[float] = None
    manifest_sha256: str = ""
    uniform: float = 0.0

    def __len__(self) -> int:
        return len(self.lengths)

    def same_clusters(self, other: FrameLabels) -> bool:
        """Whether the component ids of both mean the same, as far as the files record it."""
        same_mixture = self.made_with == other.made_with or not self.made_with or not other.made_with
        return self.source == other.source and self.n_components == other.n_components and same_mixture

    @abstractmethod
    def entries(self, index: int) -> FrameTargets:
        """The entries that an utterance has in the file, scaled so that those of each frame sum to one.

        They are its targets, unless a share of the probability is spread evenly (:attr:`uniform`).

        Raises:
            SoftHubertError: the labels are damaged.
        """

    def utterance(self, index: int) -> FrameTargets:
        """The targets of one utterance; the probabilities of each frame sum to one.

        Raises:
            SoftHubertError: the labels are damaged.
        """
        return self.entries(index).spread(self.uniform, self.n_components)

    def rate(self, asked: Optional[float]) -> float:
        """The label rate to use, in frames per second: ``asked`` if it is given, else the recorded rate.

        Raises:
            SoftHubertError: neither is known.
        """
        rate = self.label_rate if asked is None else asked
        if rate is None:
            raise SoftHubertError(f"{self.path}: {RATE_UNKNOWN}")
        return rate
