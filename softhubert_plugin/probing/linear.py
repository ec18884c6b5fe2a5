"""Multinomial logistic regression of several layers at once, by a preconditioned L-BFGS that needs two matrix products per step.

The loss is scikit-learn's: mean cross-entropy plus ``l2 / 2`` times the squared weights of standardised features; the bias is not
penalised (``LogisticRegression(C=1 / (l2 * frames))``). Steps are preconditioned with the Hessian at zero weights,
``(1/K) XᵀX/N + l2 I`` for each class, after Böhning (1992), which makes the problem well conditioned. Logits are linear in the weights,
so the line search needs no matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Sequence, Tuple

import torch

_MEMORY = 10
_ROWS_A_BLOCK = 16_384


@dataclass(frozen=True)
class LinearProbes:
    """Classifiers of L layers, for features that are not standardised.

    Attributes:
        weights: ``(L, D, K)`` float32.
        biases: ``(L, K)`` float32.
        steps: how many steps the solver took.
    """

    weights: torch.Tensor
    biases: torch.Tensor
    steps: int

    def predict(self, layer: int, features: torch.Tensor) -> torch.Tensor:
        """Classify features.

        Args:
            layer: index of the layer among the L fitted ones, from 0.
            features: ``(frames, D)`` of that layer.

        Returns:
            ``(frames,)`` classes.
        """
        return (features @ self.weights[layer] + self.biases[layer]).argmax(-1)


def fit_path(
    features: torch.Tensor,
    labels: torch.Tensor,
    classes: int,
    l2: Sequence[float],
    *,
    max_steps: int = 100,
    tolerance: float = 1e-3,
) -> List[LinearProbes]:
    """Fit every layer for a list of regularisation strengths; each fit starts from the result of the one before.

    Args:
        features: ``(L, N, D)`` floats, on the device to use; float32 is overwritten by the standardised features.
        labels: ``(N,)`` int64 within ``0 … classes-1``, the same for all layers.
        classes: K.
        l2: strengths; the best order is from strong to weak.
        max_steps: the maximum number of steps per strength.
        tolerance: stop when a step lowers every layer's loss by less than this share of it.

    Returns:
        One set of probes per entry of ``l2``.
    """
    mean, scale = _standardise(features)
    layers, _, width = features.shape
    gram = _gram(features)
    weights = torch.zeros(layers, width, classes, device=features.device)
    # The bias starts at the log of the classes' frequencies.
    frequencies = torch.bincount(labels, minlength=classes).float() / len(labels)
    bias = torch.log(frequencies + 0.5 / len(labels)).expand(layers, classes).clone()
    problem = _Problem(features, labels, classes)
    path = []
    for strength in l2:
        hessian = gram / classes + strength * torch.eye(width, device=gram.device)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
        weights, bias, steps = _minimise(problem, weights, bias, strength, inverse, max_steps, tolerance)
        raw = weights / scale[..., None]
        path.append(LinearProbes(raw, bias - (mean[:, None] @ raw)[:, 0], steps))
    return path


def _standardise(features: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Subtract each feature's mean and divide by its standard deviation, in place; return both, ``(L, D)`` each."""
    mean = features.mean(1)
    features -= mean[:, None]
    scale = features.pow(2).mean(1).sqrt()
    scale = torch.where(scale > 1e-8 * (1 + mean.abs()), scale, torch.ones_like(scale))  # a constant feature stays zero
    features /= scale[:, None]
    return mean, scale


def _gram(features: torch.Tensor) -> torch.Tensor:
    """``(L, D, D)``: XᵀX/N."""
    return features.transpose(1, 2) @ features / features.shape[1]


class _Problem:
    """The logits, the cross-entropy and its gradient for fixed features and labels."""

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
        self.features, self.labels, self.classes = features, labels, classes
        self.chosen = labels.expand(len(features), -1)[..., None]

    def logits(self, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """``(L, N, K)`` from weights ``(L, D, K)`` and bias ``(L, K)``."""
        return torch.baddbmm(bias[:, None], self.features, weights)

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """``(L,)`` mean cross-entropy."""
        parts = [
            (block.logsumexp(-1) - block.gather(-1, chosen)[..., 0]).double().sum(1)
            for block, chosen in zip(logits.split(_ROWS_A_BLOCK, 1), self.chosen.split(_ROWS_A_BLOCK, 1))
        ]
        return torch.stack(parts).sum(0) / len(self.labels)

    def gradient(self, logits: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """The gradient of the cross-entropy by weights, ``(L, D, K)``, and by bias, ``(L, K)``."""
        errors = torch.softmax(logits, -1)
        errors.scatter_add_(-1, self.chosen, torch.full_like(self.chosen, -1, dtype=errors.dtype))
        errors /= len(self.labels)
        return self.features.transpose(1, 2) @ errors, errors.sum(1)


def _minimise(
    problem: _Problem, weights: torch.Tensor, bias: torch.Tensor, l2: float, inverse: torch.Tensor, max_steps: int, tolerance: float
) -> Tuple[torch.Tensor, torch.Tensor, int]:
    """L-BFGS from the given weights and bias; return the new ones and the number of steps."""
    classes = problem.classes

    def joined(gradient: Tuple[torch.Tensor, torch.Tensor], at: torch.Tensor) -> torch.Tensor:
        """The gradient of the loss by weights and bias, ``(L, D + 1, K)``; the bias is the last row."""
        return torch.cat([gradient[0] + l2 * at[:, :-1], gradient[1][:, None]], 1)

    def precondition(vector: torch.Tensor) -> torch.Tensor:
        # Standardised features have mean zero, so the Hessian does not couple bias and weights; the bias's part is 1/K.
        return torch.cat([inverse @ vector[:, :-1], vector[:, -1:] * classes], 1)

    def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * b).sum((1, 2), dtype=torch.float64)

    def column(values: torch.Tensor) -> torch.Tensor:
        return values.float()[:, None, None]

    at = torch.cat([weights, bias[:, None]], 1)
    logits = problem.logits(at[:, :-1], at[:, -1])
    value = problem.loss(logits) + l2 / 2 * dot(at[:, :-1], at[:, :-1])
    gradient = joined(problem.gradient(logits), at)
    history: List[Tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    steps = 0
    while steps < max_steps:
        steps += 1
        direction = -_two_loops(gradient, history, precondition, dot)
        slope = dot(gradient, direction)
        along = problem.logits(direction[:, :-1], direction[:, -1])
        squares = [dot(a[:, :-1], b[:, :-1]) for a, b in ((at, at), (at, direction), (direction, direction))]
        length = torch.ones_like(value)
        for _ in range(30):
            penalty = l2 / 2 * (squares[0] + 2 * length * squares[1] + length.pow(2) * squares[2])
            tried = problem.loss(logits + column(length) * along) + penalty
            enough = tried <= value + 1e-4 * length * slope
            if enough.all():
                break
            length = torch.where(enough, length, length / 2)
        else:
            length = torch.where(enough, length, torch.zeros_like(length))
            tried = torch.where(enough, tried, value)
        moved = column(length) * direction
        at = at + moved
        logits += column(length) * along
        before, gradient = gradient, joined(problem.gradient(logits), at)
        change = gradient - before
        curvature = dot(moved, change)
        history = [*history[-(_MEMORY - 1) :], (moved, change, curvature)]
        gained = (value - tried) / value.abs().clamp_min(1e-12)
        value = tried
        if (gained < tolerance).all():
            break
    return at[:, :-1].contiguous(), at[:, -1].contiguous(), steps


def _two_loops(
    gradient: torch.Tensor,
    history: List[Tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    precondition: Callable[[torch.Tensor], torch.Tensor],
    dot: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The inverse Hessian's product with the gradient (Nocedal and Wright 2006, algorithm 7.4), for each layer."""
    vector, alphas = gradient, []
    inverse = [torch.where(curvature > 1e-20, 1 / curvature, torch.zeros_like(curvature)) for *_, curvature in history]
    for (moved, change, _), rho in zip(reversed(history), reversed(inverse)):
        alpha = rho * dot(moved, vector)
        vector = vector - alpha.float()[:, None, None] * change
        alphas.append(alpha)
    vector = precondition(vector)
    if history:
        moved, change, curvature = history[-1]
        scaled = dot(change, precondition(change))
        gamma = torch.where((curvature > 1e-20) & (scaled > 0), curvature / scaled, torch.ones_like(scaled))
        vector = gamma.float()[:, None, None] * vector
    for (moved, change, _), rho, alpha in zip(history, inverse, reversed(alphas)):
        beta = rho * dot(change, vector)
        vector = vector + (alpha - beta).float()[:, None, None] * moved
    return vector
