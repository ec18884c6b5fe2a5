"""Make a mixture of k-means centroids: equal weights, one variance, and a temperature calibrated as that of a fitted mixture.

Its posteriors are a softmax of negative squared distances to the centroids, and its argmax is the nearest centroid. So its labels are those
of k-means, made soft: they tell what softness does apart from what the clusterer does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import numpy as np
import torch

from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import read_shards
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.gmm.calibration import calibrated_with_transitions, check_transitions
from softhubert_plugin.gmm.kmeans import nearest
from softhubert_plugin.gmm.kmeans_file import read_kmeans
from softhubert_plugin.gmm.start import mixture_from_centroids
from softhubert_plugin.gmm.training_data import divide, provenance
from softhubert_plugin.gmm.uncertainty import check_target


def gmm_from_kmeans(
    km_path: PathLike,
    gmm_path: PathLike,
    feat_dir: PathLike,
    split: str,
    nshard: int,
    *,
    perplexity: Optional[float] = 4.0,
    percent: float = -1.0,
    seed: int = 1,
    markov: Optional[str] = None,
    stay: Optional[float] = None,
    device: Optional[str] = None,
) -> str:
    """Write the mixture of a k-means model.

    The variance is the mean squared distance of the held-out frames to their nearest centroid, per dimension. The same arguments give the
    same bytes.

    Args:
        km_path: k-means model of fairseq's ``learn_kmeans.py``.
        gmm_path: the mixture file to write.
        feat_dir, split, nshard: feature shards of the kind that the k-means was fitted on; at most 10,000 of their frames are used.
        perplexity: target for the mean perplexity of the posteriors; ``None`` keeps temperature 1.
        percent: share of the utterances to draw these frames from, in (0, 1]; negative for all of them.
        seed: of the draw.
        markov, stay: transitions to fit on top, as for :class:`~softhubert_plugin.gmm.learn_gmm.GmmOptions`.
        device: where to compute; by default a GPU if there is one.

    Returns:
        A report in several lines.

    Raises:
        SoftHubertError: the model or the features are unusable or do not fit each other, or an option is out of range.
    """
    device = usable_device(device)
    centroids = read_kmeans(km_path)
    shards = read_shards(feat_dir, split, nshard)
    count, dimension = centroids.shape
    if dimension != shards[0].frames.shape[1]:
        raise SoftHubertError(
            f"{km_path}: centroids of dimension {dimension}, but {shards[0].path} has features of dimension {shards[0].frames.shape[1]}; "
            "give the features that the k-means was fitted on"
        )
    check_transitions(markov, stay, count)
    if perplexity is not None:
        check_target(perplexity, count)
    data = divide(shards, feat_dir, split, n_components=count, percent=percent, seed=seed)
    variance = _squared_distance(data.held_out, centroids) / dimension
    if not variance > 0:
        raise SoftHubertError(f"{km_path}: every frame of {feat_dir} is a centroid, so that distances say nothing; give more frames")
    start = mixture_from_centroids(centroids, variance)
    mixture, report = calibrated_with_transitions(start, data, perplexity, device, kind=markov, stay=stay)
    options = {"perplexity": perplexity, "percent": percent, "kmeans_sha256": sha256_of(km_path)}
    options.update({name: value for name, value in (("markov", markov), ("stay", stay)) if value is not None})
    of_data = provenance(shards, len(data.held_out), seed=seed, options=options)
    replace(mixture, metadata={**mixture.metadata, **of_data}).save(gmm_path)
    return "\n".join([f"{gmm_path}: {count} spherical components of equal weight, the centroids of {km_path}", *report])


def _squared_distance(frames: np.ndarray, centroids: np.ndarray) -> float:
    """The mean squared distance of ``(n, D)`` frames to their nearest centroid."""
    x, means = torch.from_numpy(frames).double(), torch.from_numpy(centroids)
    return float((x - means[nearest(x, means)]).square().sum(1).mean())
