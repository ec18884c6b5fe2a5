"""Choose temperature and transitions together, so that the posteriors of whole utterances are as uncertain as asked for.

Tempering makes frames say less about their component, so that transitions as fitted would decide ever more: components would last ever
longer, and expectation maximisation at a high temperature ends with one that never ends. What tempering is not meant to change is how often
the component changes. So a temperature takes only that share of the fitted transitions with which the expected number of repeats, frames
with the component of the frame before, stays what it is at temperature 1; the rest is drawn from the tempered weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from softhubert_plugin.features.shard_chunks import Chunk
from softhubert_plugin.gmm.forward_backward import chain_of
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import FRAME_WISE, frame_wise_shares, smoothed
from softhubert_plugin.gmm.transition_learning import learn_full, learn_sticky, posteriors_of_pairs
from softhubert_plugin.gmm.transitions import FullTransitions, StickyTransitions, Transitions, as_stored
from softhubert_plugin.gmm.uncertainty import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, check_target, entropy, summary_of, unreachable

# The share of fitted transitions is searched between these log odds.
_LOG_ODDS = 14.0


@dataclass(frozen=True)
class HeldOut:
    """Held-out utterances to calibrate on.

    Attributes:
        joint: ``(frames, K)`` float32 log joint densities, utterance after utterance, in nats.
        lengths: ``(utterances,)`` frames of each utterance.
    """

    joint: torch.Tensor
    lengths: np.ndarray

    def posteriors(self, mixture: GaussianMixture) -> torch.Tensor:
        """``(frames, K)``, summing to one in each frame, under a mixture with transitions."""
        assert mixture.transitions is not None
        parts = smoothed(self._shares(mixture), self.lengths, chain_of(mixture.transitions, _prior(mixture)))
        posteriors = torch.from_numpy(np.concatenate(list(parts)))
        return posteriors.div_(posteriors.sum(1, keepdim=True))

    def perplexity(self, mixture: GaussianMixture) -> float:
        """The mean perplexity of these posteriors."""
        return float(entropy(self.posteriors(mixture)).exp().mean())

    def repeats(self, mixture: GaussianMixture) -> float:
        """The expected share of frames whose component is that of the frame before."""
        assert mixture.transitions is not None
        chain = chain_of(mixture.transitions, _prior(mixture))
        repeats, count = 0.0, 0
        for pair in posteriors_of_pairs(self._shares(mixture), self.lengths, chain):
            repeats += float((pair.before * chain.repeated * pair.after).sum(dtype=np.float64))
            count += len(pair.before)
        return repeats / max(count, 1)

    def _shares(self, mixture: GaussianMixture) -> np.ndarray:
        return frame_wise_shares(self.joint.clone(), mixture.temperature)


def _prior(mixture: GaussianMixture) -> np.ndarray:
    return mixture.tempered_weights.numpy().astype(np.float32)


class Tempering:
    """Gives a mixture, at any temperature, the share of its fitted transitions that keeps the expected share of repeats.

    Args:
        mixture: at temperature 1, with the fitted transitions.
        held_out: what repeats are measured on.

    Attributes:
        repeats: the share of repeats at temperature 1, which is kept.
    """

    def __init__(self, mixture: GaussianMixture, held_out: HeldOut) -> None:
        self.repeats = held_out.repeats(mixture)
        self._mixture = mixture
        self._held_out = held_out
        self._last = 0.0  # the last log odds found: temperatures are tried close to each other

    def __call__(self, temperature: float) -> GaussianMixture:
        """The mixture at a temperature."""
        assert self._mixture.transitions is not None
        fitted, at = self._mixture.transitions, replace(self._mixture, temperature=temperature, transitions=None)

        def with_share(log_odds: float) -> GaussianMixture:
            return replace(at, transitions=diluted(fitted, 1 / (1 + math.exp(-log_odds)), at.tempered_weights))

        def excess(log_odds: float) -> float:
            return self._held_out.repeats(with_share(log_odds)) - self.repeats

        from scipy.optimize import brentq

        for low, high in ((self._last - 0.5, self._last + 0.5), (-_LOG_ODDS, _LOG_ODDS)):
            below, above = excess(low), excess(high)
            if below < 0 < above:
                self._last = brentq(excess, low, high, xtol=1e-4)
                return with_share(self._last)
        return with_share(-_LOG_ODDS if below >= 0 else _LOG_ODDS)


def diluted(fitted: Transitions, share: float, prior: torch.Tensor) -> Transitions:
    """A share of transitions, and the rest drawn from a prior ``(K,)``. The share of sticky ones is the new probability to stay."""
    if isinstance(fitted, StickyTransitions):
        return StickyTransitions(share)
    mixed = share * fitted.matrix + (1 - share) * prior
    return FullTransitions(mixed / mixed.sum(1, keepdim=True))


def with_transitions(
    mixture: GaussianMixture,
    held_out: HeldOut,
    chunks: Sequence[Chunk],
    perplexity: Optional[float],
    *,
    kind: str,
    stay: Optional[float],
    device: str,
) -> Tuple[GaussianMixture, List[str]]:
    """Give a mixture transitions, and calibrate it with them.

    Args:
        mixture: calibrated for frames taken one by one; that calibration is kept in its metadata.
        held_out: utterances to calibrate on.
        chunks: whole utterances to fit the transitions on.
        perplexity: target for the mean perplexity of the posteriors; ``None`` for temperature 1.
        kind: ``sticky`` or ``full``.
        stay: the probability to stay, at any temperature; ``None`` fits it. For sticky transitions only.
        device: where densities are computed.

    Returns:
        The mixture, and a report, line by line.

    Raises:
        SoftHubertError: no temperature gives that perplexity.
    """
    alone = replace(mixture, temperature=1.0)
    if stay is not None:
        fitted: Transitions = StickyTransitions(stay)
    else:
        fitted = (learn_sticky if kind == StickyTransitions.kind else learn_full)(alone, chunks, device)
    first = replace(alone, transitions=fitted)
    tempering = Tempering(first, held_out)

    def at(temperature: float) -> GaussianMixture:
        return tempering(temperature) if stay is None else replace(first, temperature=temperature)

    found = first if perplexity is None else _calibrated(at, held_out, perplexity, mixture.n_components)
    assert found.transitions is not None
    after = summary_of(held_out.posteriors(found))
    metadata = {
        **mixture.metadata,
        FRAME_WISE: {"temperature": mixture.temperature, "posteriors": mixture.metadata["posteriors"]},
        "perplexity": after["perplexity"],
        "posteriors": after,
        "transitions": {
            "at_temperature_1": _summary(fitted),
            "repeats_at_temperature_1": tempering.repeats,
            "repeats": held_out.repeats(found),
        },
    }
    report = [
        f"transitions at temperature 1: {fitted.described}; {100 * tempering.repeats:.1f} % of the frames repeat the component before",
        f"with transitions, at temperature {found.temperature:.3f} ({found.transitions.described}): mean perplexity "
        f"{after['perplexity']:.3f}, entropy {after['entropy']:.3f} nats; the largest 1, 4, 16 probabilities sum to {after['top_1']:.3f}, "
        f"{after['top_4']:.3f}, {after['top_16']:.3f}",
    ]
    return replace(found, metadata=metadata), report


def _calibrated(at: Callable[[float], GaussianMixture], held_out: HeldOut, target: float, components: int) -> GaussianMixture:
    """The mixture ``at`` the temperature that gives a mean perplexity, which grows with the temperature.

    Raises:
        SoftHubertError: no temperature gives that perplexity.
    """

    from scipy.optimize import brentq

    def excess(log_temperature: float) -> float:
        return held_out.perplexity(at(math.exp(log_temperature))) / target - 1

    check_target(target, components)
    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    below, above = excess(low), excess(high)
    if not below < 0 < above:
        raise unreachable(target, (1 + (above if above <= 0 else below)) * target)
    return at(math.exp(brentq(excess, low, high, xtol=1e-5)))


def _summary(transitions: Transitions) -> Dict[str, Any]:
    """Transitions as JSON values for the metadata; of a matrix, only the mean probability to stay."""
    if isinstance(transitions, StickyTransitions):
        return as_stored(transitions)
    return {**as_stored(transitions), "mean_stay": float(transitions.matrix.diagonal().mean())}
