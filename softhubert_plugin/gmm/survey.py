"""The first pass over the features: it computes their moments, draws a sample, and checks every value.

The start of a mixture (k-means, principal components, variance floors) uses the results. The sample's size bounds the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np
import torch
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import Chunk, read_chunk, refuse_unusable, stream_chunks
from softhubert_plugin.gmm import distributed
from softhubert_plugin.gmm.mixture import FeatureTransform


@dataclass(frozen=True)
class Survey:
    """What the first pass found, before any transform.

    Attributes:
        frames: the number of frames.
        mean: ``(D,)`` float64.
        covariance: ``(D, D)`` float64 if asked for, else its diagonal ``(D,)``.
        sample: ``(n, D)`` float32, frames drawn evenly from all chunks.
    """

    frames: int
    mean: torch.Tensor
    covariance: torch.Tensor
    sample: np.ndarray


def survey(chunks: Sequence[Chunk], *, sample_frames: int, full_covariance: bool, seed: int, device: str = "cpu") -> Survey:
    """Read all chunks once, each process its own share of them.

    Args:
        sample_frames: how many frames to draw; all, if there are fewer.
        full_covariance: whether to compute the whole covariance or only its diagonal.
        seed: of the draw.
        device: where to compute.

    Returns:
        The survey of all chunks, the same in every process.

    Raises:
        SoftHubertError: a value is NaN, infinite or absurdly large; the message names shard and utterance.
    """
    frames = np.asarray([chunk.frames for chunk in chunks])
    total = int(frames.sum())
    dimension = chunks[0].shard.frames.shape[1]
    # Each chunk's share of the sample. Only running totals are rounded, so that rounding errors do not add up.
    ends = np.cumsum(frames) * min(sample_frames, total) // total
    shares = np.diff(ends, prepend=0)
    # The products are centred on a point near the data; any such point is good enough.
    origin = torch.from_numpy(_first_rows(chunks[0]).mean(0)).to(device)
    sums = torch.zeros(dimension, dimension + 1 if full_covariance else 2, dtype=torch.float64, device=device)
    drawn = {}
    own = distributed.own_share(range(len(chunks)))
    progress = tqdm(total=len(own), desc="reading features", unit="chunk", disable=None if distributed.rank() == 0 else True)
    for index, (chunk, rows) in zip(own, stream_chunks(chunks[index] for index in own)):
        refuse_unusable(chunk, rows)
        x = torch.from_numpy(rows).to(device) - origin
        sums[:, 0] += x.sum(0)
        if full_covariance:
            sums[:, 1:] += x.T @ x
        else:
            sums[:, 1] += x.square().sum(0)
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
    beginning = Chunk(chunk.shard, ((first, min(end, first + 64)),))
    rows = read_chunk(beginning)
    refuse_unusable(beginning, rows)
    return rows


def refuse_constant(found: Survey, source: object, *, some_may_be: bool = False) -> None:
    """Check that feature dimensions vary: a Gaussian of width zero has no density.

    Args:
        source: what the error message names.
        some_may_be: whether dimensions may be constant as long as one is not, because principal components leave them out.

    Raises:
        SoftHubertError: some dimensions do not vary, or none does.
    """
    variance = found.covariance.diagonal() if found.covariance.dim() == 2 else found.covariance
    # The limit is relative to the mean's square: this much variance can remain of a constant in single precision. Below the second limit,
    # squares have fewer digits there.
    constant = torch.nonzero(variance <= 1e-10 * found.mean.square() + 1e-30).flatten().tolist()
    if constant and (len(constant) == len(variance) or not some_may_be):
        listed = ", ".join(map(str, constant[:8])) + (", …" if len(constant) > 8 else "")
        remedy = "" if len(constant) == len(variance) else ", or reduce them with --pca"
        raise SoftHubertError(
            f"{source}: {len(constant)} of {len(variance)} feature dimensions do not vary (dimension {listed}); "
            f"check how the features were made{remedy}"
        )


def check_transform(*, pca: Optional[int], whiten: bool, standardise: bool, dimension: int, frames: int) -> None:
    """Check the options of :func:`fit_transform` for ``frames`` frames of D = ``dimension``, before they are read.

    Raises:
        SoftHubertError: ``pca`` is out of range, or ``standardise`` is combined with one of the others.
    """
    if standardise and (pca is not None or whiten):
        raise SoftHubertError("--standardise cannot be combined with --pca or --whiten; whitening already gives unit variance")
    kept = dimension if pca is None else pca
    if (pca is not None or whiten) and not 1 <= kept <= min(dimension, frames):
        raise SoftHubertError(f"PCA to {kept} dimensions: expected 1 to {min(dimension, frames)} (dimensions and frames)")


def fit_transform(
    found: Survey, *, pca: Optional[int], whiten: bool, standardise: bool, source: object = "features"
) -> Optional[FeatureTransform]:
    """Fit the transform asked for: principal components, whitened or not, or scaling of each dimension to unit variance.

    Args:
        found: the survey; ``pca`` and ``whiten`` need its whole covariance.
        pca: the number of principal components to keep; ``None`` keeps all.
        whiten: scale the principal components to unit variance.
        standardise: scale each dimension to unit variance.
        source: what the error message names.

    Returns:
        The transform, or ``None`` if none is asked for.

    Raises:
        SoftHubertError: ``pca`` is out of range or beyond the dimensions that vary, or ``standardise`` is combined with one of the others.
    """
    check_transform(pca=pca, whiten=whiten, standardise=standardise, dimension=len(found.mean), frames=found.frames)
    if standardise:
        return FeatureTransform(found.mean, torch.diag(found.covariance.rsqrt()))
    if pca is None and not whiten:
        return None
    dimension = len(found.mean) if pca is None else pca
    variances, axes = torch.linalg.eigh(found.covariance)
    variances, axes = variances.flip(0), axes.flip(1)[:, :dimension]
    varying = int((variances > variances[0] * 1e-12).sum())  # the rest is rounding
    if varying < dimension:
        raise SoftHubertError(
            f"{source}: only {varying} dimensions vary, not enough for {dimension} principal components; give --pca {varying} or fewer"
        )
    # The sign of an axis is arbitrary, and libraries choose it differently: fix it.
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    if whiten:
        axes = axes * variances[:dimension].rsqrt()
    return FeatureTransform(found.mean, axes.contiguous())
