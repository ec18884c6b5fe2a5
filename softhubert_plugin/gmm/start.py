"""Make the mixture that EM starts from: from clusters of a sample, a k-means model of fairseq's script, or another mixture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional, Tuple

import numpy as np
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.gmm.families import FAMILIES, Tied
from softhubert_plugin.gmm.kmeans import nearest
from softhubert_plugin.gmm.kmeans_file import read_kmeans
from softhubert_plugin.gmm.mixture import FeatureTransform, GaussianMixture


def mixture_from_clusters(
    frames: torch.Tensor, centroids: torch.Tensor, assigned: Optional[torch.Tensor], covariance_type: str, *, floor: float
) -> GaussianMixture:
    """A mixture with one component per cluster, from the clusters' shares, centroids and covariances.

    Args:
        frames: ``(n, D)`` float32, the frames that were clustered (or a sample of them).
        centroids: ``(K, D)``.
        assigned: ``(n,)`` cluster of each frame; if ``None``, the nearest centroid's.
        covariance_type: as in :class:`~softhubert_plugin.gmm.mixture.GaussianMixture`.
        floor: the smallest variance, as a share of the variance of all frames.
    """
    if assigned is None:
        assigned = nearest(frames, centroids.float())
    centre = frames.double().mean(0)
    x = frames.double() - centre
    family = FAMILIES[covariance_type]
    counts = torch.bincount(assigned, minlength=len(centroids)).double()
    sums = torch.zeros(len(centroids), family.columns(x.shape[1]), dtype=torch.float64)
    for part, clusters in zip(x.split(4096), assigned.split(4096)):
        sums.index_add_(0, clusters, family.statistics(part))
    # Every cluster gets one average frame more. A cluster with too few frames to have a shape of its own thus gets the shape of the whole.
    counts, sums = counts + 1, sums + sums.sum(0) / len(x)
    if isinstance(family, Tied):
        scatter = x.T @ x
        _, covariances = family.moments_with(counts, sums, scatter + scatter * (len(centroids) / len(x)), floor)
    else:
        _, covariances = family.moments(counts, sums, floor)
    return GaussianMixture(counts / counts.sum(), centroids.double(), covariances, covariance_type)


def mixture_from_centroids(centroids: np.ndarray, variance: float) -> GaussianMixture:
    """A spherical mixture of equal weights and one variance: its posteriors follow from the distances to the centroids alone.

    Args:
        centroids: ``(K, D)`` float64.
        variance: of every component; with a temperature, only their product matters to the posteriors.
    """
    count = len(centroids)
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    return GaussianMixture(weights, torch.from_numpy(centroids), torch.full((count,), variance, dtype=torch.float64), "spherical")


def read_start(
    path: PathLike, n_components: int, covariance_type: str, sample: np.ndarray, transform: Optional[FeatureTransform], *, floor: float
) -> GaussianMixture:
    """Read a start from a file: one of our mixtures, or a k-means model of fairseq's ``learn_kmeans.py``.

    Args:
        sample: ``(n, input dimension)`` features; they give the covariances of a start from a k-means model.
        transform: what the new mixture applies to features first.
        floor: the smallest variance, as a share of the variance of all frames.

    Raises:
        SoftHubertError: the file is neither of these, or has another number of components or dimensions, another covariance type or
            another transform.
    """
    mixture, centroids = open_start(path, n_components, covariance_type, sample.shape[1], transformed=transform is not None)
    if mixture is not None:
        return replace(mixture, transitions=None, metadata={})
    frames = torch.from_numpy(sample)
    if transform is not None:
        frames, centroids = transform(frames.double()).float(), transform(centroids)
    started = mixture_from_clusters(frames, centroids, None, covariance_type, floor=floor)
    return replace(started, transform=transform)


def open_start(
    path: PathLike, n_components: int, covariance_type: str, dimension: int, *, transformed: bool
) -> Tuple[Optional[GaussianMixture], torch.Tensor]:
    """Read the file of a start, which needs no features: a mixture and its means, or ``None`` and the centroids of a k-means model.

    Args:
        dimension: of the features.
        transformed: whether the new mixture applies a transform to features first.

    Raises:
        SoftHubertError: as :func:`read_start`.
    """
    if not Path(path).is_file():
        raise SoftHubertError(
            f"{path}: no such mixture or k-means model to start from; give one of 'softhubert gmm learn' or of fairseq's learn_kmeans.py"
        )
    if GaussianMixture.is_mixture(path):
        mixture = GaussianMixture.load(path)
        if mixture.covariance_type != covariance_type:
            raise SoftHubertError(
                f"{path}: has {mixture.covariance_type} covariances, not {covariance_type}; give the --covariance of the file"
            )
        if transformed:
            raise SoftHubertError(
                f"{path}: a fit that starts from a mixture keeps its feature transform; leave out --pca, --whiten and --standardise"
            )
        centroids, found = mixture.means, mixture.input_dimension
    else:
        mixture = None
        centroids = torch.from_numpy(read_kmeans(path)).double()
        found = centroids.shape[1]
    if len(centroids) != n_components or found != dimension:
        raise SoftHubertError(
            f"{path}: {len(centroids)} components in {found} dimensions, but {n_components} in {dimension} are expected; "
            "start from another file, or ask for the number of components of this one"
        )
    return mixture, centroids
