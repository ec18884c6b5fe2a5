"""Choose temperature and transitions together, so that the posteriors of whole utterances are as uncertain as asked for.

Tempering makes frames say less about their component, so that transitions as fitted would decide ever more: components would last ever
longer, and expectation maximisation at a high temperature ends with one that never ends. What tempering is not meant to change is how often
the component changes. So a temperature takes only that share of the fitted transitions with which the expected number of repeats, frames
with the component of the frame before, stays what it is at temperature 1; the rest is drawn from the tempered weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from scipy.optimize import brentq

from softhubert_plugin.features.shard_chunks import Chunk
from softhubert_plugin.gmm.forward_backward import chain_of
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import FRAME_WISE, frame_wise_shares, smoothed
from softhubert_plugin.gmm.transition_learning import learn_full, learn_sticky, pairs
from softhubert_plugin.gmm.transitions import Full, Sticky, Transitions, as_stored
from softhubert_plugin.gmm.uncertainty import describe, entropy, temperature_for

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

    def repeats(self, mixture: GaussianMixture) -> float:
        """The expected share of frames whose component is that of the frame before."""
        assert mixture.transitions is not None
        chain = chain_of(mixture.transitions, _prior(mixture))
        repeats, count = 0.0, 0
        for pair in pairs(self._shares(mixture), self.lengths, chain):
            repeats += float((pair.before * chain.repeated * pair.after).sum(dtype=np.float64))
            count += len(pair.before)
        return repeats / max(count, 1)

    def _shares(self, mixture: GaussianMixture) -> np.ndarray:
        return frame_wise_shares(self.joint.clone(), mixture.temperature)


def _prior(mixture: GaussianMixture) -> np.ndarray:
    return mixture.tempered_weights.numpy().astype(np.float32)


def tempered(mixture: GaussianMixture, temperature: float, fitted: Transitions, held_out: HeldOut, repeats: float) -> GaussianMixture:
    """The mixture at a temperature, with that share of the fitted transitions that keeps the expected share of repeats.

    Args:
        fitted: the transitions at temperature 1.
        held_out: what repeats are measured on.
        repeats: the share to keep.
    """
    at = replace(mixture, temperature=temperature, transitions=None)

    def with_share(log_odds: float) -> GaussianMixture:
        return replace(at, transitions=diluted(fitted, 1 / (1 + math.exp(-log_odds)), at.tempered_weights))

    def excess(log_odds: float) -> float:
        return held_out.repeats(with_share(log_odds)) - repeats

    ends = excess(-_LOG_ODDS), excess(_LOG_ODDS)
    if not ends[0] < 0 < ends[1]:
        return with_share(-_LOG_ODDS if ends[0] >= 0 else _LOG_ODDS)
    return with_share(brentq(excess, -_LOG_ODDS, _LOG_ODDS, xtol=1e-5))


def diluted(fitted: Transitions, share: float, prior: torch.Tensor) -> Transitions:
    """A share of transitions, and the rest drawn from a prior ``(K,)``. The share of sticky ones is the new probability to stay."""
    if isinstance(fitted, Sticky):
        return Sticky(share)
    mixed = share * fitted.matrix + (1 - share) * prior
    return Full(mixed / mixed.sum(1, keepdim=True))


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
        fitted: Transitions = Sticky(stay)
    else:
        fitted = (learn_sticky if kind == Sticky.kind else learn_full)(alone, chunks, device)
    first = replace(alone, transitions=fitted)
    repeats = held_out.repeats(first)

    def at(temperature: float) -> GaussianMixture:
        if stay is not None or temperature == 1.0:
            return replace(first, temperature=temperature)
        return tempered(mixture, temperature, fitted, held_out, repeats)

    def perplexity_at(temperature: float) -> float:
        return float(entropy(held_out.posteriors(at(temperature))).exp().mean())

    found = at(1.0 if perplexity is None else temperature_for(perplexity_at, perplexity, mixture.n_components))
    assert found.transitions is not None
    after = describe(held_out.posteriors(found))
    metadata = {
        **mixture.metadata,
        FRAME_WISE: {"temperature": mixture.temperature, "posteriors": mixture.metadata["posteriors"]},
        "perplexity": after["perplexity"],
        "posteriors": after,
        "transitions": {"at_temperature_1": _summary(fitted), "repeats_at_temperature_1": repeats, "repeats": held_out.repeats(found)},
    }
    report = [
        f"transitions at temperature 1: {fitted.described}; {100 * repeats:.1f} % of the frames repeat the component before",
        f"with transitions, at temperature {found.temperature:.3f} ({found.transitions.described}): mean perplexity "
        f"{after['perplexity']:.3f}, entropy {after['entropy']:.3f} nats; the largest 1, 4, 16 probabilities sum to {after['top_1']:.3f}, "
        f"{after['top_4']:.3f}, {after['top_16']:.3f}",
    ]
    return replace(found, metadata=metadata), report


def _summary(transitions: Transitions) -> Dict[str, Any]:
    """Transitions as JSON values for the metadata; of a matrix, only the mean probability to stay."""
    if isinstance(transitions, Sticky):
        return as_stored(transitions)
    return {**as_stored(transitions), "mean_stay": float(transitions.matrix.diagonal().mean())}
