"""Fit the transitions of a mixture that is already fitted, by expectation maximisation (Baum and Welch; Rabiner 1989, section III-C).

The Gaussians stay as they are. Everything is measured at temperature 1, where densities are those of the model. Calibration then chooses
how much of the transitions a temperature needs (:mod:`~softhubert_plugin.gmm.markov_calibration`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Tuple

import numpy as np
import torch

from softhubert_plugin.features.shard_chunks import Chunk, refuse_unusable, stream_chunks
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.forward_backward import Chain, StickyChain, chain_of, lifts
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import shares_of
from softhubert_plugin.gmm.transitions import FullTransitions, StickyTransitions

logger = logging.getLogger(__name__)

# Utterances and their lengths: ``(frames, input dimension)`` rows, utterance after utterance, and frames of each utterance.
Utterances = Tuple[np.ndarray, np.ndarray]

MOST_ITERATIONS = 30
# EM ends when the probability to stay, or that of an average component, moves by less than this.
STAY_TOLERANCE = 1e-3
# Each row of a full matrix counts as many frames more, distributed as the weights are.
SMOOTHING_FRAMES = 20.0


@dataclass(frozen=True)
class Pair:
    """The posterior of pairs of neighbouring frames of one utterance, ``ξ_t(i, j) = before(t, i) lift(i, j) after(t, j)``.

    Attributes:
        before: ``(frames - 1, K)``, the scaled ``α_t(i)`` divided by the likelihood of what follows.
        after: ``(frames - 1, K)``, the scaled ``p_{t+1} φ_{t+1}`` of the second frame.
    """

    before: np.ndarray
    after: np.ndarray


def posteriors_of_pairs(shares: np.ndarray, lengths: np.ndarray, chain: Chain) -> Iterator[Pair]:
    """Yield the posteriors of neighbouring frames of each utterance that has several.

    Args:
        shares, lengths, chain: as :func:`~softhubert_plugin.gmm.forward_backward.lifts` takes them.
    """
    found = lifts(shares, lengths, chain)
    ends = np.cumsum(lengths).tolist()
    for utterance, (start, end) in enumerate(zip([0, *ends], ends)):
        if end - start > 1:
            past, future = found.of(utterance)
            before = shares[start : end - 1] * past[:-1]
            before /= before.sum(1, keepdims=True)
            after = shares[start + 1 : end] * future[1:]
            after /= after.sum(1, keepdims=True)
            before /= chain.likelihoods(before, after)[:, None]
            yield Pair(before, after)


def learn_sticky(mixture: GaussianMixture, chunks: Sequence[Chunk], device: str) -> StickyTransitions:
    """Fit the probability to stay: the mean posterior probability, over pairs of neighbours, that the second frame was not drawn anew.

    Args:
        mixture: the fitted mixture, at temperature 1.
        chunks: whole utterances.
        device: where densities are computed.
    """
    prior = mixture.weights.numpy().astype(np.float32)
    engine = Engine(mixture, device)
    stay = 0.5
    for _ in range(MOST_ITERATIONS):
        chain = StickyChain(stay, prior)
        stays, count = 0.0, 0
        for rows, lengths in utterances_of(chunks):
            for pair in posteriors_of_pairs(shares_of(engine, rows, lengths), lengths, chain):
                stays += float((pair.before * chain.lift * pair.after).sum(dtype=np.float64))
                count += len(pair.before)
        before, stay = stay, min(stays / max(count, 1), 1 - 1e-6)
        if abs(stay - before) < STAY_TOLERANCE:
            break
    return StickyTransitions(stay)


def learn_full(mixture: GaussianMixture, chunks: Sequence[Chunk], device: str) -> FullTransitions:
    """Fit a matrix of transitions: expected counts of pairs, to which each row gets :data:`SMOOTHING_FRAMES` frames of the weights.

    It starts from sticky transitions. Arguments are those of :func:`learn_sticky`.
    """
    weights = mixture.weights
    stay = learn_sticky(mixture, chunks, device).stay
    found = FullTransitions(stay * torch.eye(len(weights), dtype=torch.float64) + (1 - stay) * weights.expand(len(weights), -1))
    engine = Engine(mixture, device)
    prior = weights.numpy().astype(np.float32)
    for _ in range(MOST_ITERATIONS):
        chain = chain_of(found, prior)
        assert not isinstance(chain, StickyChain)
        counts = np.zeros(found.matrix.shape)
        for rows, lengths in utterances_of(chunks):
            for pair in posteriors_of_pairs(shares_of(engine, rows, lengths), lengths, chain):
                counts += pair.before.T @ pair.after
        smoothed = torch.from_numpy(counts * chain.lifts) + SMOOTHING_FRAMES * weights
        before, found = found, FullTransitions(smoothed / smoothed.sum(1, keepdim=True))
        moved = float((weights * (found.matrix - before.matrix).diagonal().abs()).sum())
        if moved < STAY_TOLERANCE:
            break
    return found


def utterances_of(chunks: Sequence[Chunk]) -> Iterator[Utterances]:
    """Read chunks of whole utterances, one by one.

    Raises:
        SoftHubertError: a value is NaN, infinite or absurdly large.
    """
    for chunk, rows in stream_chunks(chunks):
        refuse_unusable(chunk, rows)
        yield rows, lengths_of(chunk)


def lengths_of(chunk: Chunk) -> np.ndarray:
    """The frames of each utterance of a chunk of whole utterances, ``(utterances,)``."""
    offsets = chunk.shard.offsets
    found: List[np.ndarray] = []
    for first, end in chunk.runs:
        ends = offsets[np.searchsorted(offsets, first) : np.searchsorted(offsets, end) + 1]
        found.append(np.diff(ends))
    return np.concatenate(found)
