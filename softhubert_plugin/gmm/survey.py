"""The first pass over the features: their moments, a sample of them, and whether every number is one.

What starts a mixture (k-means, principal components, variance floors) comes from here. Memory is bounded by the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np
import torch
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import Chunk, refuse_non_finite, stream_chunks
from softhubert_plugin.gmm import distributed
from softhubert_plugin.gmm.mixture import FeatureTransform


@dataclass(frozen=True)
class Survey:
    """What the first pass found, before any transform.

    Attributes:
        frames: how many.
        mean: ``(D,)`` float64.
        covariance: ``(D, D)`` float64 if asked for, else its diagonal ``(D,)``.
        sample: ``(n, D)`` float32, frames drawn evenly from everywhere.
    """

    frames: int
    mean: torch.Tensor
    covariance: torch.Tensor
    sample: np.ndarray


def survey(chunks: Sequence[Chunk], *, sample_frames: int, full_covariance: bool, seed: int, device: str = "cpu") -> Survey:
    """Read all chunks once, each process its share.

    Args:
        sample_frames: how many frames to draw (all, where there are fewer).

    Raises:
        SoftHubertError: a value is NaN or infinite; the message names shard and utterance.
    """
    frames = np.asarray([chunk.frames for chunk in chunks])
    total = int(frames.sum())
    dimension = chunks[0].shard.frames.shape[1]
    # Each chunk's share of the sample, without rounding that adds up.
    ends = np.cumsum(frames) * min(sample_frames, total) // total
    shares = np.diff(ends, prepend=0)
    # Any point near the data will do to centre products on.
    origin = torch.from_numpy(_first_rows(chunks[0]).mean(0)).to(device)
    sums = torch.zeros(dimension, dimension + 1 if full_covariance else 2, dtype=torch.float64, device=device)
    drawn = {}
    own = distributed.own_share(range(len(chunks)))
    progress = tqdm(total=len(own), desc="reading features", unit="chunk", disable=None if distributed.rank() == 0 else True)
    for index, (chunk, rows) in zip(own, stream_chunks(chunks[index] for index in own)):
        x = torch.from_numpy(rows).to(device) - origin
        sums[:, 0] += x.sum(0)
        if full_covariance:
            sums[:, 1:] += x.T @ x
        else:
            sums[:, 1] += x.square().sum(0)
        if not bool(torch.isfinite(sums).all()):
            refuse_non_finite(chunk, rows)
            raise SoftHubertError(f"{chunk.shard.path}: values so large that their squares overflow; check how the features were made")
        picked = np.random.default_rng([seed, index]).choice(len(rows), size=int(shares[index]), replace=False)
        drawn[index] = rows[np.sort(picked)]
        progress.update()
    progress.close()
    distributed.add_up(sums)
    everything = {index: part for found in distributed.gather(drawn) for index, part in found.items()}
    moments = sums.cpu() / total
    shift = moments[:, 0]
    spread = moments[:, 1:] - torch.outer(shift, shift) if full_covariance else moments[:, 1] - shift.square()
    return Survey(total, origin.cpu().double() + shift, spread, np.concatenate([everything[index] for index in sorted(everything)]))


def _first_rows(chunk: Chunk) -> np.ndarray:
    first, end = chunk.runs[0]
    rows = np.asarray(chunk.shard.frames[first : min(end, first + 64)], dtype=np.float32)
    refuse_non_finite(Chunk(chunk.shard, ((first, first + len(rows)),)), rows)
    return rows


def refuse_constant(found: Survey, source: object) -> None:
    """Every dimension must vary: a Gaussian of no width has no density.

    Raises:
        SoftHubertError: some do not.
    """
    variance = found.covariance.diagonal() if found.covariance.dim() == 2 else found.covariance
    # Relative to the mean's square: what single precision leaves of the variance of a constant.
    constant = torch.nonzero(variance <= 1e-10 * (1 + found.mean.square())).flatten().tolist()
    if constant:
        listed = ", ".join(map(str, constant[:8])) + (", …" if len(constant) > 8 else "")
        raise SoftHubertError(
            f"{source}: {len(constant)} of {len(variance)} feature dimensions do not vary (dimension {listed}); "
            "check how the features were made, or reduce them with --pca"
        )


def fit_transform(found: Survey, *, pca: Optional[int], whiten: bool, standardise: bool) -> Optional[FeatureTransform]:
    """The transform asked for: principal components, whitened or not, or each dimension to unit variance.

    Raises:
        SoftHubertError: ``pca`` is out of range, or ``standardise`` is asked for beside the others.
    """
    if standardise and (pca is not None or whiten):
        raise SoftHubertError("--standardise and --pca or --whiten exclude each other; whitening already gives unit variance")
    if standardise:
        return FeatureTransform(found.mean, torch.diag(found.covariance.rsqrt()))
    if pca is None and not whiten:
        return None
    dimension = len(found.mean) if pca is None else pca
    if not 1 <= dimension <= min(len(found.mean), found.frames):
        raise SoftHubertError(f"PCA to {dimension} dimensions: expected 1 to {min(len(found.mean), found.frames)} (dimensions and frames)")
    variances, axes = torch.linalg.eigh(found.covariance)
    variances, axes = variances.flip(0)[:dimension], axes.flip(1)[:, :dimension]
    # Of each axis one direction is as good as the other: fix it, since libraries choose differently.
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    if whiten:
        axes = axes * variances.clamp(min=float(variances[0]) * 1e-12).rsqrt()
    return FeatureTransform(found.mean, axes.contiguous())
