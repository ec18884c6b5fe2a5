"""Measure how uncertain posteriors are, and calibrate it by a temperature.

In high dimension a mixture's posteriors are almost one-hot, and a model trained on them is a hard-label model with another
clusterer. A temperature, found here by bisection, brings their mean perplexity to a chosen value.
"""

from __future__ import annotations

import math
from typing import Dict

import torch

from softhubert_plugin.errors import SoftHubertError

WARN_BELOW_PERPLEXITY = 1.05
# Temperatures are searched for between these.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-3, 1e6


def entropy(posteriors: torch.Tensor) -> torch.Tensor:
    """Shannon entropy in nats along the last axis; ``0 log 0`` counts as 0."""
    return torch.special.entr(posteriors).sum(-1)


def mean_perplexity(log_joint: torch.Tensor, temperature: float) -> float:
    """The mean over frames of ``exp(H)``, where ``H`` is the entropy of the tempered posterior.

    Args:
        log_joint: ``(frames, K)`` unnormalised log posteriors at temperature 1, in nats.
    """
    return float(entropy(torch.softmax(log_joint / temperature, dim=-1)).exp().mean())


def describe_posteriors(log_joint: torch.Tensor, temperature: float) -> Dict[str, float]:
    """Describe tempered posteriors by means over frames.

    Args:
        log_joint: ``(frames, K)`` unnormalised log posteriors at temperature 1, in nats.

    Returns:
        ``perplexity``, ``entropy`` (nats), and ``top_1``, ``top_4`` and ``top_16``: the sums of the 1, 4 and 16 largest probabilities.
    """
    return summary_of(torch.softmax(log_joint / temperature, dim=-1))


def summary_of(posteriors: torch.Tensor) -> Dict[str, float]:
    """What :func:`describe_posteriors` says of posteriors ``(frames, K)``."""
    entropies = entropy(posteriors)
    largest = posteriors.topk(min(16, posteriors.shape[-1]), dim=-1).values
    masses = {f"top_{count}": float(largest[:, :count].sum(-1).mean()) for count in (1, 4, 16)}
    return {"perplexity": float(entropies.exp().mean()), "entropy": float(entropies.mean()), **masses}


def calibrate_temperature(log_joint: torch.Tensor, target: float, *, tolerance: float = 1e-4) -> float:
    """The temperature at which the mean perplexity of frames taken one by one equals ``target``.

    Args:
        log_joint: ``(frames, K)`` unnormalised log posteriors of held-out frames at temperature 1, in nats.
        target: mean perplexity, above 1 and below K.
        tolerance: relative error of the perplexity reached.

    Raises:
        SoftHubertError: no temperature gives that perplexity.
    """
    check_target(target, log_joint.shape[-1])
    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    for _ in range(100):
        middle = (low + high) / 2
        reached = mean_perplexity(log_joint, math.exp(middle))
        if abs(reached - target) <= tolerance * target:
            return math.exp(middle)
        low, high = (middle, high) if reached < target else (low, middle)
    raise unreachable(target, reached)


def check_target(target: float, components: int) -> None:
    """Check that a mean perplexity is possible with this many components.

    Raises:
        SoftHubertError: it is not.
    """
    if not 1 < target < components:
        raise SoftHubertError(f"perplexity {target}: expected more than 1 (certain) and less than {components} (uniform)")


def unreachable(target: float, reached: float) -> SoftHubertError:
    """The error that no temperature gives a mean perplexity."""
    return SoftHubertError(
        f"perplexity {target} cannot be reached: the posteriors stay at {reached:.4g}; check for identical components and constant features"
    )
