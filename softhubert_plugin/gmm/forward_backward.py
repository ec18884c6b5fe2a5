"""Posteriors of whole utterances under a Markov mixture: the forward and the backward pass, over many utterances at once.

The passes are Rabiner's (1989, https://doi.org/10.1109/5.18626, equations 19 to 27 with the scaling of section V-A), written in terms of
*lifts*. Let ``p_t`` be the frame-wise tempered posteriors, ``p_t(j) ∝ π_j b_j(x_t)``, with ``π`` the tempered weights and ``b_j`` the
tempered densities. The lift that the past gives a component is ``ρ_t(j) = P(j | x_1 … x_{t-1}) / π_j``; the lift that the future gives it
is its likelihood ratio ``φ_t(j) ∝ P(x_{t+1} … x_T | j)``. Then

    γ_t(j) ∝ p_t(j) ρ_t(j) φ_t(j),    ρ_1 = φ_T = 1,
    ρ_{t+1}(j) = Σ_i u(i) a_ij / π_j    with u ∝ p_t ρ_t that sums to one (the scaled α_t),
    φ_{t-1}(i) = Σ_j a_ij / π_j v(j)    with v ∝ p_t φ_t that sums to one.

For sticky transitions both are ``stay u(j) / π_j + 1 - stay``: O(K) per frame, and the backward pass is a forward pass over the reversed
utterance. A lift never falls under the share of transitions that is drawn from the weights, so that no sum underflows, however far apart
densities are, and single precision is enough.

All arithmetic is element by element or over one frame's components, so that an utterance's bytes do not depend on the utterances beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple, Union

import numpy as np
import torch

from softhubert_plugin.gmm.transitions import StickyTransitions, Transitions

# The least share of transitions that is drawn from the weights, whatever a file says: no sequence of components is then impossible.
LEAST_DRAWN = 1e-8
# Weights under this are raised to it where they are divided by: lifts and their products stay within single precision.
LEAST_WEIGHT = 1e-12
# The largest lift of a component over the others, and of a sum of lifts over a few steps: both and their product fit single precision.
MOST_LIFT = 1e12
MOST_GROWTH = 1e18
# Shares of a frame are raised to e^-69 = 1e-30 of its best one. Less would become subnormal numbers, with which processors are slow.
DEEPEST = -69.0


class StickyChain:
    """Sticky transitions in the form that passes apply. Their lifts are up to a factor per frame.

    Args:
        stay: the probability to stay.
        prior: ``(K,)``, ``π``; its type is that of the computation.
    """

    def __init__(self, stay: float, prior: np.ndarray) -> None:
        lift = stay / ((1 - stay) * np.maximum(prior, LEAST_WEIGHT).astype(np.float64))
        # stay / π over 1 - stay: how much more probable a component is if it was certain just before.
        self.lift = np.minimum(lift, MOST_LIFT).astype(prior.dtype)
        # Lifts grow by at most this factor in a step, so that a sum needs to be divided out only every few steps.
        growth = len(prior) * (1 + float(self.lift.max()))
        self._every = max(1, int(math.log(MOST_GROWTH) / math.log(2 * growth)))

    @property
    def repeated(self) -> np.ndarray:
        """``(K,)``: ``a_jj / π_j``, up to the same factor for all."""
        repeated: np.ndarray = self.lift + 1
        return repeated

    def step(self, number: int, u: np.ndarray, out: np.ndarray) -> None:
        """Write the lifts that follow from ``u`` ``(n, K)``, which need not sum to one, to ``out``; rows may run in either direction.

        Args:
            number: of the step, counted from the first frame.
        """
        total = np.einsum("ij->i", u)[:, None]
        np.multiply(u, self.lift, out=out)
        np.add(out, total, out=out)
        if number % self._every == 0:
            np.divide(out, total, out=out)

    def likelihoods(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """``Σ_ij before(i) a_ij / π_j after(j)`` of each row, ``(n,)``, up to the factor of :attr:`repeated`; both sum to one."""
        found: np.ndarray = (before * self.lift * after).sum(1) + 1
        return found


class FullChain:
    """A matrix of transitions in the form that passes apply.

    Args:
        matrix: ``(K, K)`` float64.
        prior: ``(K,)``, ``π``; its type is that of the computation.
    """

    def __init__(self, matrix: np.ndarray, prior: np.ndarray) -> None:
        lifts = (1 - LEAST_DRAWN) * matrix / np.maximum(prior, LEAST_WEIGHT).astype(np.float64) + LEAST_DRAWN
        self.lifts = np.ascontiguousarray(lifts, dtype=prior.dtype)
        self._matrices = [torch.from_numpy(self.lifts), torch.from_numpy(np.ascontiguousarray(self.lifts.T))]

    @property
    def repeated(self) -> np.ndarray:
        """``(K,)``: ``a_jj / π_j``."""
        return self.lifts.diagonal()

    def likelihoods(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """As :meth:`StickyChain.likelihoods`."""
        found: np.ndarray = ((before @ self.lifts) * after).sum(1)
        return found

    def step(self, number: int, u: np.ndarray, out: np.ndarray) -> None:
        """Write the lifts that follow from ``u`` ``(n, K)`` to ``out``; rows run forwards and backwards by turns.

        Each row is a product of its own: in a product of many rows, a row's rounding may depend on its place.
        """
        u /= np.add.reduce(u, axis=1, keepdims=True)
        for direction, matrix in enumerate(self._matrices):
            rows = torch.from_numpy(u[direction::2])[:, None]
            torch.bmm(rows, matrix.expand(len(rows), -1, -1), out=torch.from_numpy(out[direction::2])[:, None])


Chain = Union[StickyChain, FullChain]


def chain_of(transitions: Transitions, prior: np.ndarray) -> Chain:
    """The transitions in the form that passes apply.

    Args:
        prior: ``(K,)``, the tempered weights ``π``; its type is that of the computation.
    """
    if isinstance(transitions, StickyTransitions):
        return StickyChain(transitions.stay, prior)
    return FullChain(transitions.matrix.numpy(), prior)


@dataclass(frozen=True)
class Lifts:
    """The lifts of all frames of some utterances, each frame's up to a factor.

    Attributes:
        lengths: ``(utterances,)`` frames of each utterance.
        values: ``(2 * frames, K)`` in the order in which they are computed: step by step, at each step the past of the longest utterance,
            its future, the past of the second longest …
        starts: ``(longest,)`` the first row of each step.
        rank: ``(utterances,)`` the place of each utterance by falling length.
    """

    lengths: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    rank: np.ndarray

    def of(self, utterance: int, first: int = 0, end: int = -1) -> Tuple[np.ndarray, np.ndarray]:
        """The lifts ``ρ`` and ``φ`` of an utterance's frames ``first … end - 1``, ``(n, K)`` each; to the last frame by default."""
        length = int(self.lengths[utterance])
        end = length if end < 0 else end
        place = 2 * self.rank[utterance]
        return self.values[self.starts[first:end] + place], self.values[self.starts[length - end : length - first][::-1] + place + 1]


def lifts(shares: np.ndarray, lengths: np.ndarray, chain: Chain) -> Lifts:
    """Run both passes over some utterances, all utterances and both directions together.

    Args:
        shares: ``(frames, K)`` frame-wise posteriors, utterance after utterance, up to a factor per frame; the largest of each frame is
            about one. Its type is that of the computation.
        lengths: ``(utterances,)`` frames of each utterance, at least one.
        chain: their transitions.
    """
    order = np.argsort(-lengths, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    longest = int(lengths[order[0]])
    active = 2 * (len(lengths) - np.cumsum(np.bincount(lengths, minlength=longest + 1))[:longest])
    starts = np.cumsum(active) - active
    values = np.empty((2 * len(shares), shares.shape[1]), dtype=shares.dtype)
    values[: active[0]] = 1
    scratch = np.empty((int(active[0]), shares.shape[1]), dtype=shares.dtype)
    # The frames that are at hand in each step: the first ones, and from the end the last ones.
    ends = np.cumsum(lengths)[order]
    frames = np.stack([ends - lengths[order], ends - 1], axis=1).reshape(-1)
    onwards = np.tile([1, -1], len(lengths))
    for step, (here, there, count) in enumerate(zip(starts.tolist(), starts[1:].tolist(), active[1:].tolist())):
        u = scratch[:count]
        shares.take(frames[:count], axis=0, out=u, mode="clip")
        np.multiply(u, values[here : here + count], out=u)
        chain.step(step, u, values[there : there + count])
        frames += onwards
    return Lifts(lengths, values, starts, rank)
