"""k-means (Lloyd's algorithm) on frames in memory: the usual start of a mixture."""

from __future__ import annotations

import math
from typing import Tuple

import torch

# Up to this many clusters start from spread-out seeds (k-means++, Arthur and Vassilvitskii 2007), so that no cluster is missed. With more
# clusters, such seeds are the outliers among the frames: on speech, EM then ends at a lower likelihood than from frames drawn evenly.
SPREAD_UP_TO = 32
# Choosing spread-out seeds costs one pass per seed, over this many frames per cluster.
SEEDING_FRAMES = 100


def kmeans(frames: torch.Tensor, clusters: int, *, seed: int, iterations: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Cluster frames by k-means.

    Args:
        frames: ``(n, D)`` float32, ``n ≥ clusters``.
        clusters: K.
        seed: of the frames that the clusters start from.
        iterations: the maximum; it stops earlier when no frame changes its cluster.

    Returns:
        ``(K, D)`` centroids, and the cluster of each frame, ``(n,)``.
    """
    generator = torch.Generator().manual_seed(seed)
    centre = frames.mean(0)
    x = frames - centre
    drawn = torch.randperm(len(x), generator=generator)
    spread = clusters <= SPREAD_UP_TO
    centroids = _spread_out(x[drawn[: SEEDING_FRAMES * clusters]], clusters, generator) if spread else x[drawn[:clusters]]
    assigned = nearest(x, centroids)
    for _ in range(iterations):
        counts = torch.bincount(assigned, minlength=clusters)
        sums = torch.zeros_like(centroids).index_add_(0, assigned, x)
        # A cluster that lost all its frames keeps its centroid: EM re-seeds it if it stays empty.
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
        previous, assigned = assigned, nearest(x, centroids)
        if torch.equal(previous, assigned):
            break
    return centroids + centre, assigned


def nearest(x: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """The nearest of ``(K, D)`` centroids for each of ``(n, D)`` frames: ``(n,)``."""
    half = 0.5 * centroids.square().sum(1)
    return torch.cat([torch.addmm(-half, part, centroids.T).argmax(1) for part in x.split(8192)])


def _spread_out(x: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """Choose seeds by greedy k-means++.

    Each step draws a few frames, with probabilities by their squared distance to the seeds so far, and keeps the one that leaves the
    smallest sum of squared distances.
    """
    squares = x.square().sum(1)
    trials = 2 + int(math.log(clusters))
    chosen = torch.randint(len(x), (1,), generator=generator)
    distance = torch.full_like(squares, math.inf)
    for number in range(clusters):
        apart = (squares[:, None] - 2 * (x @ x[chosen[number:]].T) + squares[chosen[number:]]).clamp_(min=0)
        remaining = torch.minimum(distance[:, None], apart)
        best = int(remaining.sum(0).argmin())
        distance = remaining[:, best]
        chosen = torch.cat([chosen[:number], chosen[number + best : number + best + 1]])
        weights = distance.double() if bool((distance > 0).any()) else torch.ones(len(x), dtype=torch.float64)
        chosen = torch.cat([chosen, torch.multinomial(weights, trials, replacement=True, generator=generator)])
    return x[chosen[:clusters]]
