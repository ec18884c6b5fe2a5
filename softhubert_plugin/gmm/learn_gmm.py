"""Fit a Gaussian mixture to feature shards and calibrate how soft its posteriors are.

This step stands between features and labels: it streams shards and writes one mixture file. Memory does not grow with the corpus. It also
runs in several processes, each with its own share of the data:
``torchrun --nproc_per_node 4 -m softhubert_plugin gmm learn FEAT_DIR train …``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import torch

from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import Chunk
from softhubert_plugin.features.shards import FeatureShard, read_shards
from softhubert_plugin.files import PathLike, check_destination, sha256_of
from softhubert_plugin.gmm import distributed
from softhubert_plugin.gmm.calibration import calibrated_with_transitions, check_transitions
from softhubert_plugin.gmm.em import Fit, fit_mixture
from softhubert_plugin.gmm.kmeans import kmeans
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.start import mixture_from_clusters, open_start, read_start
from softhubert_plugin.gmm.survey import Survey, check_transform, fit_transform, refuse_constant, survey
from softhubert_plugin.gmm.training_data import check_division, check_same_features, divide, provenance
from softhubert_plugin.gmm.uncertainty import check_target
from softhubert_plugin.version import __version__

# No variance falls under this share of the variance of all frames, so that no component collapses onto a few frames.
VARIANCE_FLOOR = 1e-4
# k-means sees about this many frames per component, and at most this many bytes. It makes two passes: EM continues from there, and ends
# better than after more passes.
START_FRAMES = 60
START_PASSES = 2
MAX_START_BYTES = 300_000_000
# A full covariance has D(D+1)/2 parameters per component: above this dimension there is never enough speech to estimate them.
MAX_FULL_DIMENSION = 128
# Options that EM does not depend on.
OF_CALIBRATION = ("perplexity", "markov", "stay")


@dataclass(frozen=True)
class GmmOptions:
    """How to fit a mixture.

    Attributes:
        n_components: K.
        percent: share of the utterances to fit on, in (0, 1]; negative for all of them.
        covariance_type: ``diag``, ``spherical``, ``tied`` or ``full``.
        pca: reduce the features to this many principal components first.
        whiten: scale the principal components to unit variance.
        standardise: scale each dimension to unit variance first.
        init: file to start from, instead of k-means on a sample: a mixture, or a k-means model of fairseq's.
        perplexity: target for the mean perplexity of held-out posteriors; ``None`` keeps temperature 1.
        iterations: the maximum number of EM iterations; 0 keeps the Gaussians of the start.
        tolerance: stop when an iteration gains less than this share of the held-out log-likelihood.
        seed: of the draw of held-out utterances, of the sample and of the start.
        markov: transitions to fit on top: ``sticky``, ``full``, or ``None`` for none.
        stay: the probability to stay of sticky transitions; ``None`` fits it.
    """

    n_components: int
    percent: float = -1.0
    covariance_type: str = "diag"
    pca: Optional[int] = None
    whiten: bool = False
    standardise: bool = False
    init: Optional[str] = None
    perplexity: Optional[float] = 4.0
    iterations: int = 100
    tolerance: float = 1e-5
    seed: int = 1
    markov: Optional[str] = None
    stay: Optional[float] = None

    def described(self) -> Dict[str, Any]:
        """The options as JSON values, which do not say in which folder files are.

        Without transitions, they are those of a version that had none, so that its files are still the same.
        """
        described = {name: value for name, value in vars(self).items() if name not in ("markov", "stay") or value is not None}
        return {**described, "init": self.init and Path(self.init).name}


def learn_gmm(feat_dir: PathLike, split: str, nshard: int, gmm_path: PathLike, options: GmmOptions, *, device: Optional[str] = None) -> str:
    """Fit a mixture, calibrate its temperature, and save it. An interrupted fit continues from its last iteration.

    Args:
        feat_dir, split, nshard: the feature shards to fit on.
        gmm_path: the mixture file to write.
        options: how to fit.
        device: ``cpu``, ``cuda`` …; by default a GPU if there is one. Under ``torchrun``, ``cuda`` is each process's own GPU.

    Returns:
        A report of likelihood and perplexity in several lines; empty in every process but the first.

    Raises:
        SoftHubertError: the features are unusable, an option is out of range, or there are fewer frames than components.
    """
    _check_numbers(options)
    device = distributed.local_device(usable_device(device))
    check_destination(gmm_path)
    with distributed.process_group(device):
        shards = read_shards(feat_dir, split, nshard)
        path = Path(gmm_path)
        _check_fit(shards, options)
        request, request_of_fit = distributed.from_first(_requests(shards, options) if distributed.rank() == 0 else ("", ""))
        if _fitted_for(path, request) is not None:
            return f"{path}: already there" if distributed.rank() == 0 else ""
        data = divide(shards, feat_dir, split, n_components=options.n_components, percent=options.percent, seed=options.seed)
        # The state that a killed process leaves for the next one.
        progress_path = path.with_name(f".{path.name}.fit")
        fit = _resumed(progress_path, request_of_fit, request)
        if fit is None:
            fit = Fit(_start(data.chunks, options, feat_dir, device), [], finished=options.iterations == 0)
        first = distributed.rank() == 0
        keep: Callable[[Fit], None] = (lambda fit: _keep(progress_path, fit, request_of_fit)) if first else (lambda fit: None)
        keep(fit)
        fit = fit_mixture(
            fit,
            data.chunks,
            data.held_out,
            iterations=options.iterations,
            tolerance=options.tolerance,
            floor=VARIANCE_FLOOR,
            seed=options.seed,
            device=device,
            keep=keep,
        )
        if distributed.rank() != 0:
            return ""
        mixture, report = calibrated_with_transitions(fit.mixture, data, options.perplexity, device, kind=options.markov, stay=options.stay)
        of_fit = {"curve": fit.curve, "iterations": fit.iteration, "request": request}
        of_data = provenance(shards, data.frames, seed=options.seed, options=options.described())
        replace(mixture, metadata={**mixture.metadata, **of_fit, **of_data}).save(path)
        progress_path.unlink(missing_ok=True)
        moved = sum(int(record["reseeded"]) for record in fit.curve)
        fitted = f"{path}: {options.n_components} {options.covariance_type} components, {data.frames} frames, {fit.iteration} iterations"
        fitted += f", {moved} empty components re-seeded" if moved else ""
        return "\n".join([fitted, *report])


def _check_numbers(options: GmmOptions) -> None:
    """Check the options that need no features.

    Raises:
        SoftHubertError: one is out of range.
    """
    check_division(options.n_components, options.percent)
    if options.iterations < 0:
        raise SoftHubertError(f"--iterations {options.iterations}: expected 0 or more")
    check_transitions(options.markov, options.stay, options.n_components)


def _check_fit(shards: Sequence[FeatureShard], options: GmmOptions) -> None:
    """Check the options that must fit each other, the features and the start, before all features are read.

    Raises:
        SoftHubertError: one does not.
    """
    if options.perplexity is not None:
        check_target(options.perplexity, options.n_components)
    dimension = shards[0].frames.shape[1]
    frames = sum(len(shard.frames) for shard in shards)
    check_transform(pca=options.pca, whiten=options.whiten, standardise=options.standardise, dimension=dimension, frames=frames)
    kept = dimension if options.pca is None else options.pca
    if options.covariance_type == "full" and kept > MAX_FULL_DIMENSION:
        raise SoftHubertError(
            f"full covariances of {kept} dimensions: the maximum is {MAX_FULL_DIMENSION}; reduce them with --pca, "
            "or choose --covariance diag"
        )
    if options.init is not None:
        transformed = options.pca is not None or options.whiten or options.standardise
        start, _ = open_start(options.init, options.n_components, options.covariance_type, dimension, transformed=transformed)
        if options.iterations == 0 and start is not None:  # which would only be renamed: its Gaussians stay those of its own features
            learnt_from, remedy = start.metadata.get("features", {}), "give those features, or fit with --iterations above 0"
            check_same_features(learnt_from, shards[0].info, shards[0].path, options.init, remedy)


def _requests(shards: Sequence[FeatureShard], options: GmmOptions) -> Tuple[str, str]:
    """A fingerprint of everything that a mixture depends on: the same request gives the same one, wherever and whenever it is made.

    The second one is of what its EM depends on, which does not know how it will be calibrated. All features are read for them, once, where
    each iteration of the fit reads them again.
    """
    data = [[shard.path.name, shard.info, shard.lengths.tolist(), sha256_of(shard.path)] for shard in shards]
    start = sha256_of(options.init) if options.init is not None and Path(options.init).is_file() else None

    def fingerprint(described: Dict[str, Any]) -> str:
        return hashlib.sha256(json.dumps([data, described, start, __version__], sort_keys=True).encode()).hexdigest()

    described = options.described()
    return fingerprint(described), fingerprint({name: value for name, value in described.items() if name not in OF_CALIBRATION})


def _fitted_for(path: Path, *requests: str) -> Optional[GaussianMixture]:
    """The mixture in ``path``, if it was made for one of these requests and is whole."""
    if not GaussianMixture.is_mixture(path):
        return None
    try:
        mixture = GaussianMixture.load(path)
    except SoftHubertError:
        return None  # damaged: it is fitted again
    return mixture if mixture.metadata.get("request") in requests else None


def _keep(path: Path, fit: Fit, request: str) -> None:
    replace(fit.mixture, metadata={"request": request, "curve": fit.curve, "finished": fit.finished}).save(path)


def _resumed(path: Path, *requests: str) -> Optional[Fit]:
    """The fit that an interrupted process left for one of these requests, if there is one; the same in all processes."""

    def read() -> Optional[Fit]:
        mixture = _fitted_for(path, *requests)
        if mixture is None:
            return None
        return Fit(replace(mixture, metadata={}), list(mixture.metadata["curve"]), bool(mixture.metadata["finished"]))

    return distributed.from_first(read() if distributed.rank() == 0 else None)


def _start(chunks: Sequence[Chunk], options: GmmOptions, feat_dir: PathLike, device: str) -> GaussianMixture:
    dimension = chunks[0].shard.frames.shape[1]
    sample_frames = min(START_FRAMES * options.n_components + 5_000, MAX_START_BYTES // (4 * dimension))
    pooled = options.pca is not None or options.whiten
    found = survey(chunks, sample_frames=sample_frames, full_covariance=pooled, seed=options.seed, device=device)
    refuse_constant(found, feat_dir, some_may_be=pooled)
    mixture = distributed.from_first(_first_mixture(found, options, feat_dir) if distributed.rank() == 0 else None)
    assert mixture is not None
    return mixture


def _first_mixture(found: Survey, options: GmmOptions, feat_dir: PathLike) -> GaussianMixture:
    transform = fit_transform(found, pca=options.pca, whiten=options.whiten, standardise=options.standardise, source=feat_dir)
    if options.init is not None:
        return read_start(options.init, options.n_components, options.covariance_type, found.sample, transform, floor=VARIANCE_FLOOR)
    sample = torch.from_numpy(found.sample)
    if transform is not None:
        sample = transform(sample.double()).float()
    centroids, assigned = kmeans(sample, options.n_components, seed=options.seed, iterations=START_PASSES)
    return replace(mixture_from_clusters(sample, centroids, assigned, options.covariance_type, floor=VARIANCE_FLOOR), transform=transform)
