"""Gaussian selection: evaluate only components near a frame (Bocchieri 1993), for mixtures of many components.

Components are grouped by their means; a frame goes to its nearest group, and only the components nearest to that group's centre are
evaluated for it. What is left out counts as zero: an approximation, whose loss in likelihood is for the benchmarks to measure.
"""

from __future__ import annotations

import math
from typing import Optional

import torch

from softhubert_plugin.gmm.engine import Coordinates, Engine
from softhubert_plugin.gmm.kmeans import kmeans
from softhubert_plugin.gmm.mixture import GaussianMixture

# Far under any log density, yet finite: its product with a posterior of zero is zero.
NOT_EVALUATED = -1e30


def make_engine(mixture: GaussianMixture, device: str, candidates: Optional[int]) -> Engine:
    """An engine that evaluates so many components a frame; all, if ``candidates`` is ``None`` or not fewer."""
    if candidates is None or candidates >= mixture.n_components:
        return Engine(mixture, device)
    return SelectingEngine(mixture, device, candidates)


class SelectingEngine(Engine):
    """An :class:`Engine` that evaluates ``candidates`` components a frame and takes the others' densities for zero."""

    def __init__(self, mixture: GaussianMixture, device: str, candidates: int, coordinates: Optional[Coordinates] = None) -> None:
        super().__init__(mixture, device, coordinates)
        self.candidates = candidates
        inside = self.coordinates.inside(mixture)
        # Distances in units of the typical spread of a component.
        self._scale = self._place(_average_deviation(inside).reciprocal())
        means = self._place(inside.means) * self._scale
        centres, _ = kmeans(means.cpu(), 2 * math.isqrt(mixture.n_components), seed=0, iterations=10)
        self._centres = centres.to(device)
        self._half_squares = 0.5 * self._centres.square().sum(1)
        self._shortlists = torch.cdist(self._centres, means).topk(candidates, largest=False).indices

    def moved_to(self, mixture: GaussianMixture) -> Engine:
        return SelectingEngine(mixture, self.device, self.candidates, self.coordinates)

    def _joint(self, x: torch.Tensor, statistics: torch.Tensor) -> torch.Tensor:
        group = torch.addmm(-self._half_squares, x * self._scale, self._centres.T).argmax(1)
        order = group.argsort(stable=True)
        sizes = torch.bincount(group, minlength=len(self._centres)).tolist()
        joint = torch.full((len(x), self.mixture.n_components), NOT_EVALUATED, device=x.device)
        for members, shortlist in zip(order.split(sizes), self._shortlists):
            if len(members):
                part = torch.addmm(self._constant[shortlist], statistics[members], self._natural[:, shortlist])
                joint[members[:, None], shortlist] = part
        return joint


def _average_deviation(mixture: GaussianMixture) -> torch.Tensor:
    """``(D,)`` root mean variance of the components."""
    covariances = mixture.covariances
    if mixture.covariance_type == "tied":
        return covariances.diagonal().sqrt()
    if mixture.covariance_type == "full":
        covariances = covariances.diagonal(dim1=1, dim2=2)
    variance = mixture.weights @ covariances
    return variance.expand(mixture.means.shape[1]).sqrt()
