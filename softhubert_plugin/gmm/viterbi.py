"""The most probable path of an utterance through the components of a Markov mixture (Viterbi; Rabiner 1989, equations 32 to 35).

Rabiner's ``a_ij b_j`` is written as ``p_t(j) a_ij / π_j``, as in :mod:`~softhubert_plugin.gmm.forward_backward`.
"""

from __future__ import annotations

import numpy as np
import torch

from softhubert_plugin.gmm.forward_backward import FullChain, StickyChain, chain_of
from softhubert_plugin.gmm.mixture import GaussianMixture


class PathFinder:
    """Finds the best path of an utterance under a mixture with transitions. Among equal paths it takes the lower component.

    Args:
        mixture: with transitions.
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        assert mixture.transitions is not None
        self.temperature = mixture.temperature
        self._chain = chain_of(mixture.transitions, mixture.tempered_weights.numpy())

    def __call__(self, joint: torch.Tensor) -> np.ndarray:
        """The best path, ``(frames,)`` int64.

        Args:
            joint: ``(frames, K)`` log joint densities of one utterance, in nats.
        """
        shares = (joint.double() / self.temperature).cpu().numpy()
        shares -= shares.max(1, keepdims=True)
        return _through_sticky(shares, self._chain) if isinstance(self._chain, StickyChain) else _through_full(shares, self._chain)


def _through_sticky(shares: np.ndarray, chain: StickyChain) -> np.ndarray:
    """The best path; each component is entered from itself or from the best of all: O(K) per frame."""
    frames, components = shares.shape
    on = np.log(chain.repeated)  # to stay, over to be drawn anew
    stays = np.zeros((frames, components), dtype=bool)
    best = np.zeros(frames, dtype=np.int64)
    score = shares[0]
    for frame in range(1, frames):
        best[frame] = score.argmax()
        entered = score[best[frame]]
        score = score + on
        np.greater_equal(score, entered, out=stays[frame])
        score = np.maximum(score, entered)
        score += shares[frame] - entered
    path = np.empty(frames, dtype=np.int64)
    path[-1] = score.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = path[frame] if stays[frame, path[frame]] else best[frame]
    return path


def _through_full(shares: np.ndarray, chain: FullChain) -> np.ndarray:
    """The best path: O(K²) per frame."""
    frames, components = shares.shape
    into = np.log(chain.lifts).T.copy()  # (to, from)
    origin = np.zeros((frames, components), dtype=np.int32)
    score = shares[0]
    every = np.arange(components)
    for frame in range(1, frames):
        entered = into + score
        origin[frame] = entered.argmax(1)
        score = entered[every, origin[frame]] + shares[frame]
        score -= score.max()
    path = np.empty(frames, dtype=np.int64)
    path[-1] = score.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = origin[frame, path[frame]]
    return path
