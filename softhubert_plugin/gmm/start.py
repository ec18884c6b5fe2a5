"""Where EM starts: clusters of a sample, a k-means model of fairseq's script, or another mixture."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

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
    """A mixture whose components are clusters: their shares, centroids and covariances.

    Args:
        frames: ``(n, D)`` float32, those that were clustered (or a sample of such).
        assigned: ``(n,)`` their clusters; those of the nearest centroids if not given.
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
    # One average frame more in each cluster gives those with too few frames to have a shape of their own the shape of the whole.
    counts, sums = counts + 1, sums + sums.sum(0) / len(x)
    if isinstance(family, Tied):
        scatter = x.T @ x
        _, covariances = family.moments_with(counts, sums, scatter + scatter * (len(centroids) / len(x)), floor)
    else:
        _, covariances = family.moments(counts, sums, floor)
    return GaussianMixture(counts / counts.sum(), centroids.double(), covariances, covariance_type)


def read_start(
    path: PathLike, n_components: int, covariance_type: str, sample: np.ndarray, transform: Optional[FeatureTransform], *, floor: float
) -> GaussianMixture:
    """A start from a file: a mixture of ours, or a k-means model of fairseq's ``learn_kmeans.py``.

    Args:
        sample: ``(n, input dimension)`` features; with a k-means model they give the covariances.
        transform: what the new mixture will apply to features first.

    Raises:
        SoftHubertError: the file is neither, or has another number of components or dimensions, another covariance type or transform.
    """
    if GaussianMixture.is_mixture(path):
        mixture = GaussianMixture.load(path)
        if mixture.covariance_type != covariance_type:
            raise SoftHubertError(f"{path}: {mixture.covariance_type} covariances, asked for {covariance_type}; give --covariance to fit")
        if transform is not None:
            raise SoftHubertError(
                f"{path}: a start from a mixture keeps its feature transform; leave out --pca, --whiten and --standardise"
            )
        centroids = mixture.means
        dimension = mixture.input_dimension
    else:
        mixture = None
        centroids = torch.from_numpy(read_kmeans(path)).double()
        dimension = centroids.shape[1]
    if len(centroids) != n_components or dimension != sample.shape[1]:
        raise SoftHubertError(
            f"{path}: {len(centroids)} components in {dimension} dimensions, but {n_components} in {sample.shape[1]} are asked for; "
            "start from another file or give its number of components"
        )
    if mixture is not None:
        return mixture
    frames = torch.from_numpy(sample)
    if transform is not None:
        frames, centroids = transform(frames.double()).float(), transform(centroids)
    started = mixture_from_clusters(frames, centroids, None, covariance_type, floor=floor)
    return replace(started, transform=transform)
