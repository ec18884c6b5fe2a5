"""Fit a Gaussian mixture to feature shards and calibrate how soft its posteriors are.

Stands between features and labels; reads shards and writes one mixture file. scikit-learn does the fitting, on a random sample of
whole utterances whose size bounds the memory; a tenth of the sample is held out to measure likelihood and perplexity.
"""

from __future__ import annotations

import platform
import time
import warnings
from typing import List, Optional, Tuple

import numpy as np
import torch

from softhubert_plugin import __version__
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import read_shards, sample_frames
from softhubert_plugin.files import PathLike
from softhubert_plugin.gmm.mixture import FeatureTransform, GaussianMixture
from softhubert_plugin.gmm.uncertainty import WARN_BELOW_PERPLEXITY, calibrate_temperature, mean_perplexity

HELD_OUT_SHARE = 0.1
MAX_HELD_OUT_FRAMES = 20_000
# A component's variance is kept from collapsing onto few frames: at least this share of the mean variance of the features.
VARIANCE_FLOOR = 1e-3


def learn_gmm(
    feat_dir: PathLike,
    split: str,
    nshard: int,
    gmm_path: PathLike,
    n_components: int,
    *,
    percent: float = -1.0,
    max_frames: int = 200_000,
    covariance_type: str = "diag",
    pca: Optional[int] = None,
    whiten: bool = False,
    perplexity: Optional[float] = 4.0,
    iterations: int = 100,
    seed: int = 1,
) -> str:
    """Fit a mixture, calibrate its temperature, and save it.

    Args:
        n_components: K.
        percent: share of the utterances to fit on, in (0, 1]; negative for all of them.
        max_frames: fit on at most so many frames; the sample is held in memory.
        pca: reduce to so many principal components first.
        whiten: scale the principal components to unit variance.
        perplexity: target for the mean perplexity of held-out posteriors; ``None`` keeps temperature 1.
        iterations: EM iterations at most.

    Returns:
        A report of likelihood and perplexity, one line each.

    Raises:
        SoftHubertError: the features are unusable, or there are fewer frames than components.
    """
    shards = read_shards(feat_dir, split, nshard)
    if n_components < 1 or n_components > 65_535:
        raise SoftHubertError(f"{n_components} components: expected 1 to 65535 (labels store 16-bit component ids)")
    generator = np.random.default_rng(seed)
    frames, lengths = sample_frames(shards, percent=percent, max_frames=max_frames, rng=generator)
    training, held_out = _hold_out(frames, lengths)
    if len(training) < n_components:
        raise SoftHubertError(
            f"{feat_dir}: {len(training)} frames of {split} to fit {n_components} components; give more speech (--percent, --max-frames) "
            "or ask for fewer components"
        )
    transform = _fit_transform(training, pca, whiten)
    started = time.perf_counter()
    mixture, iterations_run = _fit(training, n_components, covariance_type, transform, iterations, seed)
    seconds = time.perf_counter() - started
    log_joint = mixture.log_joint(torch.from_numpy(held_out))
    untempered = mean_perplexity(log_joint, 1.0)
    temperature = 1.0 if perplexity is None else calibrate_temperature(log_joint, perplexity)
    reached = mean_perplexity(log_joint, temperature)
    info = {
        "features": shards[0].info,
        "dimension": mixture.input_dimension,
        "frames": len(training),
        "held_out_frames": len(held_out),
        "held_out_log_likelihood": float(log_joint.logsumexp(1).mean()),
        "iterations": iterations_run,
        "perplexity": reached,
        "perplexity_at_temperature_1": untempered,
        "seed": seed,
        "versions": {"softhubert": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    mixture = GaussianMixture(mixture.weights, mixture.means, mixture.covariances, covariance_type, temperature, transform, info)
    mixture.save(gmm_path)
    report = [
        f"{gmm_path}: {n_components} {covariance_type} components, {len(training)} frames, {iterations_run} iterations, {seconds:.1f} s",
        f"held-out log-likelihood {info['held_out_log_likelihood']:.3f} nats a frame",
        f"mean perplexity {untempered:.3f} at temperature 1, {reached:.3f} at temperature {temperature:.3f}",
    ]
    if reached < WARN_BELOW_PERPLEXITY:
        report.append(
            f"warning: perplexity under {WARN_BELOW_PERPLEXITY}: these labels are hard in all but name; calibrate with --perplexity"
        )
    return "\n".join(report)


def _hold_out(frames: np.ndarray, lengths: List[int]) -> Tuple[np.ndarray, np.ndarray]:
    """Split off the last whole utterances of the (shuffled) sample; with a single utterance, its last frames."""
    wanted = min(int(len(frames) * HELD_OUT_SHARE) + 1, MAX_HELD_OUT_FRAMES)
    boundaries = np.cumsum(lengths)[:-1]
    suitable = boundaries[boundaries >= len(frames) - 2 * wanted]
    cut = int(suitable[0]) if len(suitable) else len(frames) - wanted
    return frames[:cut], frames[cut:][:MAX_HELD_OUT_FRAMES]


def _fit_transform(frames: np.ndarray, pca: Optional[int], whiten: bool) -> Optional[FeatureTransform]:
    """Principal component analysis of the sample, if asked for."""
    if pca is None and not whiten:
        return None
    dimension = frames.shape[1] if pca is None else pca
    if not 1 <= dimension <= min(frames.shape):
        raise SoftHubertError(f"PCA to {dimension} dimensions: expected 1 to {min(frames.shape)} (feature dimension and frames)")
    data = frames.astype(np.float64)
    mean = data.mean(0)
    variances, axes = np.linalg.eigh(np.cov(data - mean, rowvar=False).reshape(frames.shape[1], frames.shape[1]))
    variances, axes = variances[::-1][:dimension], axes[:, ::-1][:, :dimension]
    if whiten:
        axes = axes / np.sqrt(np.maximum(variances, variances[0] * 1e-12))
    return FeatureTransform(torch.from_numpy(mean), torch.from_numpy(np.ascontiguousarray(axes)))


def _fit(
    frames: np.ndarray, n_components: int, covariance_type: str, transform: Optional[FeatureTransform], iterations: int, seed: int
) -> Tuple[GaussianMixture, int]:
    """Fit by scikit-learn's EM from its k-means start; return the mixture and the number of iterations."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as SklearnMixture

    data = frames.astype(np.float64)
    if transform is not None:
        data = transform(torch.from_numpy(data)).numpy()
    fitted = SklearnMixture(
        n_components,
        covariance_type=covariance_type,
        reg_covar=VARIANCE_FLOOR * float(data.var(0).mean()),
        max_iter=iterations,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Stopping at the iteration limit is the user's choice here; the number of iterations is reported.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(data)
    return GaussianMixture.from_sklearn(fitted), int(fitted.n_iter_)
