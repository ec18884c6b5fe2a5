"""The mixture: posteriors compared with scikit-learn's, its file, its temperature, truncation, and what learning refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as SklearnMixture

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.gmm.largest import largest
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.gmm.mixture import FeatureTransform, GaussianMixture
from softhubert_plugin.gmm.uncertainty import calibrate_temperature, entropy, mean_perplexity
from softhubert_plugin.labels.truncation import DEPTH, truncate

COVARIANCES = ("diag", "spherical", "tied", "full")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """600 frames of 6 dimensions around four centres, far from the origin so that cancellation would show."""
    rng = np.random.default_rng(0)
    return 50 + 3 * rng.standard_normal((4, 6)).repeat(150, 0) + rng.standard_normal((600, 6)) * rng.uniform(0.2, 2, 6)


@pytest.fixture(params=COVARIANCES)
def fitted(request: pytest.FixtureRequest, frames: np.ndarray) -> SklearnMixture:
    """A mixture of scikit-learn's for each covariance type."""
    return SklearnMixture(5, covariance_type=request.param, random_state=0).fit(frames)


def test_posteriors_and_likelihoods_equal_scikit_learns(fitted: SklearnMixture, frames: np.ndarray) -> None:
    mixture = GaussianMixture.from_sklearn(fitted)
    inputs = torch.from_numpy(frames)
    np.testing.assert_allclose(mixture.predict_proba(inputs).numpy(), fitted.predict_proba(frames), atol=1e-9)
    np.testing.assert_allclose(mixture.score_samples(inputs).numpy(), fitted.score_samples(frames), rtol=1e-9)
    np.testing.assert_array_equal(mixture.predict(inputs).numpy(), fitted.predict(frames))


def test_float32_features_lose_nothing_on_the_way(fitted: SklearnMixture, frames: np.ndarray) -> None:
    # scikit-learn computes in the precision of its input. Ours always computes in float64.
    single = frames.astype(np.float32)
    found = GaussianMixture.from_sklearn(fitted).predict_proba(torch.from_numpy(single)).numpy()
    np.testing.assert_allclose(found, fitted.predict_proba(single.astype(np.float64)), atol=1e-9)


def test_a_mixture_goes_to_scikit_learn_and_back_without_loss(fitted: SklearnMixture, frames: np.ndarray) -> None:
    returned = GaussianMixture.from_sklearn(fitted).to_sklearn()
    np.testing.assert_allclose(returned.predict_proba(frames), fitted.predict_proba(frames), atol=1e-12)


def test_a_saved_mixture_loads_bit_for_bit(fitted: SklearnMixture, tmp_path: Path) -> None:
    transform = FeatureTransform(torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64))
    mixture = GaussianMixture.from_sklearn(fitted, temperature=2.5, transform=transform, metadata={"seed": 3})
    mixture.save(tmp_path / "gmm.safetensors")
    loaded = GaussianMixture.load(tmp_path / "gmm.safetensors")
    assert torch.equal(loaded.covariances, mixture.covariances) and torch.equal(loaded.means, mixture.means)
    assert (loaded.covariance_type, loaded.temperature, loaded.metadata) == (fitted.covariance_type, 2.5, {"seed": 3})
    assert loaded.transform is not None and torch.equal(loaded.transform.matrix, transform.matrix)


def test_a_damaged_or_foreign_mixture_is_refused_by_name(fitted: SklearnMixture, tmp_path: Path) -> None:
    path = tmp_path / "gmm.safetensors"
    with pytest.raises(SoftHubertError, match="no such mixture"):
        GaussianMixture.load(path)
    GaussianMixture.from_sklearn(fitted).save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SoftHubertError, match=r"gmm.safetensors: truncated"):
        GaussianMixture.load(path)


def test_features_of_another_dimension_are_refused(fitted: SklearnMixture) -> None:
    with pytest.raises(SoftHubertError, match="dimension 5 .* dimension 6"):
        GaussianMixture.from_sklearn(fitted).predict_proba(torch.zeros(3, 5))


def test_temperature_is_calibrated_to_the_requested_perplexity(fitted: SklearnMixture, frames: np.ndarray) -> None:
    log_joint = GaussianMixture.from_sklearn(fitted).log_joint(torch.from_numpy(frames))
    for target in (1.2, 2.0, 4.5):
        assert mean_perplexity(log_joint, calibrate_temperature(log_joint, target)) == pytest.approx(target, rel=2e-4)
    with pytest.raises(SoftHubertError, match="perplexity 7"):
        calibrate_temperature(log_joint, 7.0)


def test_tempering_softens_as_the_formula_says() -> None:
    log_joint = torch.log(torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64))
    powered = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64) ** (1 / 3)
    torch.testing.assert_close(torch.softmax(log_joint / 3, 1)[0], powered / powered.sum())


def test_truncation_keeps_the_largest_entries_up_to_mass_and_count() -> None:
    posteriors = torch.tensor([[0.3, 0.5, 0.15, 0.05], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    found = largest(posteriors.log(), 1.0, 3)
    targets, entropies = truncate(found, mass=0.9)
    assert targets.counts.tolist() == [3, 1, 3]
    assert targets.components.tolist() == [1, 0, 2, 0, 0, 1, 2]
    np.testing.assert_allclose(targets.probabilities[:3], np.array([0.5, 0.3, 0.15]) / 0.95, rtol=1e-5)
    np.testing.assert_allclose(np.add.reduceat(targets.probabilities, [0, 3, 4]), 1, rtol=1e-6)
    np.testing.assert_allclose(found.entropy, entropy(posteriors), atol=1e-6)
    np.testing.assert_allclose(entropies[1:], [0, np.log(3)], atol=1e-6)


@pytest.mark.parametrize("components", [1, 2, 100, 1024, 1025, 65_535])
def test_the_largest_posteriors_are_those_that_a_stable_sort_finds(components: int) -> None:
    log_joint = 30 * torch.randn(40, components, generator=torch.Generator().manual_seed(0)) - 500
    log_joint[::2] = log_joint[::2].round()  # ties go to the lower component
    found = largest(log_joint.clone(), 3.0, 16)
    exact = torch.softmax(log_joint.double() / 3, 1).numpy()
    order = np.argsort(-exact, axis=1, kind="stable")[:, :16]
    near = found.depths < DEPTH
    np.testing.assert_array_equal(found.components[near], order[near])
    np.testing.assert_allclose(np.exp(-found.depths) / found.total[:, None], np.take_along_axis(exact, order, 1), atol=7e-6)


def test_entropy_of_a_uniform_distribution_is_the_logarithm_of_its_size() -> None:
    assert float(entropy(torch.full((1, 8), 1 / 8)).exp()) == pytest.approx(8)


def _write_shard(folder: Path, utterances: list[np.ndarray]) -> None:
    with ShardWriter(folder, "train", 0, 1, {"kind": "mfcc"}) as shard:
        for frames in utterances:
            shard.add(frames.astype(np.float32))


def test_learning_separates_obvious_clusters_and_records_how(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    _write_shard(tmp_path, [centre + rng.standard_normal((50, 2)) for _ in range(10) for centre in centres])
    for options in ({}, {"pca": 2, "whiten": True}):
        learn_gmm(tmp_path, "train", 1, tmp_path / "gmm.safetensors", GmmOptions(3, perplexity=1.5, **options))  # type: ignore[arg-type]
        mixture = GaussianMixture.load(tmp_path / "gmm.safetensors")
        assert sorted(mixture.predict(torch.tensor(centres)).tolist()) == [0, 1, 2]
        assert mixture.metadata["perplexity"] == pytest.approx(1.5, rel=1e-3)
        assert mixture.metadata["features"] == {"kind": "mfcc"}


def test_learning_is_reproducible_for_a_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    _write_shard(tmp_path, [rng.standard_normal((40, 3)) for _ in range(20)])
    for name in ("a", "b"):
        learn_gmm(tmp_path, "train", 1, tmp_path / name, GmmOptions(4, perplexity=2.0, seed=5))
    first, second = (GaussianMixture.load(tmp_path / name) for name in "ab")
    assert torch.equal(first.means, second.means) and first.temperature == second.temperature


def test_more_components_than_frames_are_refused(tmp_path: Path) -> None:
    _write_shard(tmp_path, [np.random.default_rng(0).standard_normal((10, 3))])
    with pytest.raises(SoftHubertError, match="frames of train to fit 50 components"):
        learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(50))


def test_features_with_nan_are_refused_by_shard_and_utterance(tmp_path: Path) -> None:
    good = np.random.default_rng(0).standard_normal((30, 3))
    bad = good.copy()
    bad[4, 1] = np.nan
    _write_shard(tmp_path, [good, bad, good])
    with pytest.raises(SoftHubertError, match=r"train_0_1.npy: NaN or infinite features in utterance 1"):
        learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(2, perplexity=1.5))
