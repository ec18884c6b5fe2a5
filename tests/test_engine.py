"""Fitting: EM on chunks equals scikit-learn's EM on all frames, fits resume, processes share the work, and bad input is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.mixture import GaussianMixture as SklearnMixture

import softhubert_plugin.gmm.learn_gmm as program
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import plan_chunks, read_chunk, stream_chunks
from softhubert_plugin.features.shards import FeatureShard, ShardWriter, read_shard, read_shards, shard_range
from softhubert_plugin.gmm.em import Fit, expectation, refill
from softhubert_plugin.gmm.engine import NEGLIGIBLE, SPARSE_BELOW, Engine, Sums, weighted_sums
from softhubert_plugin.gmm.feed import Feed
from softhubert_plugin.gmm.kmeans import kmeans
from softhubert_plugin.gmm.kmeans_file import read_kmeans
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.survey import fit_transform, survey

CENTRES = 40 + 4 * np.random.default_rng(3).standard_normal((6, 5))


def _utterances(seed: int = 0, count: int = 40) -> List[np.ndarray]:
    """Frames of six overlapping, correlated, unequal clusters, far from the origin."""
    rng = np.random.default_rng(seed)
    shape = rng.standard_normal((5, 5)) * 0.4 + np.diag([1.0, 2.0, 0.5, 1.5, 0.8])
    lengths = rng.integers(20, 60, count)
    return [(CENTRES[rng.integers(0, 6, n)] + rng.standard_normal((n, 5)) @ shape).astype(np.float32) for n in lengths]


@pytest.fixture()
def shard(tmp_path: Path) -> FeatureShard:
    """A shard of forty such utterances."""
    with ShardWriter(tmp_path, "train", 0, 1, {"kind": "mfcc"}) as writer:
        for frames in _utterances():
            writer.add(frames)
    return read_shard(tmp_path, "train", 0, 1)


def _fitted(covariance_type: str, frames: np.ndarray) -> SklearnMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SklearnMixture(5, covariance_type=covariance_type, max_iter=2, random_state=0, reg_covar=0).fit(frames)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied", "full"])
def test_an_em_iteration_in_chunks_equals_scikit_learns_on_all_frames(covariance_type: str, shard: FeatureShard) -> None:
    frames = np.asarray(shard.frames, dtype=np.float64)
    fitted = _fitted(covariance_type, frames)
    engine = Engine(GaussianMixture.from_sklearn(fitted))
    chunks = plan_chunks([shard], [np.ones(len(shard), dtype=bool)], chunk_frames=100)
    sums = expectation(engine, Feed(chunks, "cpu", part_frames=engine.part_frames))
    likelihood, responsibilities = fitted._e_step(frames)
    fitted._m_step(frames, responsibilities)
    updated = engine.maximise(sums, floor=0.0)
    assert float(sums.log_likelihood / sums.frames) == pytest.approx(likelihood, rel=1e-5)
    np.testing.assert_allclose(updated.weights.numpy(), fitted.weights_, rtol=1e-5)
    np.testing.assert_allclose(updated.means.numpy(), fitted.means_, rtol=1e-5)
    np.testing.assert_allclose(updated.covariances.numpy(), fitted.covariances_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied", "full"])
@pytest.mark.parametrize("transformed", [False, True])
def test_single_precision_densities_equal_those_of_double_precision(covariance_type: str, transformed: bool, shard: FeatureShard) -> None:
    chunks = plan_chunks([shard], [np.ones(len(shard), dtype=bool)])
    transform = None
    frames = torch.from_numpy(np.array(shard.frames)).double()
    if transformed:
        found = survey(chunks, sample_frames=10, full_covariance=True, seed=0)
        transform = fit_transform(found, pca=4, whiten=True, standardise=False)
    inside = frames if transform is None else transform(frames)
    mixture = GaussianMixture.from_sklearn(_fitted(covariance_type, inside.numpy()), transform=transform)
    found_joint = Engine(mixture).log_joint(np.array(shard.frames))
    torch.testing.assert_close(found_joint.double(), mixture.log_joint(frames), atol=2e-3, rtol=1e-5)
    posteriors = torch.softmax(found_joint, 1).double()
    torch.testing.assert_close(posteriors, mixture.predict_proba(frames), atol=2e-4, rtol=0)


def test_sparse_and_dense_sums_agree_where_responsibilities_are_few() -> None:
    generator = torch.Generator().manual_seed(0)
    responsibilities = torch.softmax(60 * torch.randn(300, 200, generator=generator), dim=1)
    assert (responsibilities > NEGLIGIBLE).float().mean() < SPARSE_BELOW
    statistics = torch.randn(300, 8, generator=generator)
    torch.testing.assert_close(weighted_sums(responsibilities, statistics), responsibilities.T @ statistics)


def test_chunks_cover_the_chosen_utterances_once_and_keep_them_whole(shard: FeatureShard) -> None:
    chosen = np.arange(len(shard)) % 3 != 1
    chunks = plan_chunks([shard], [chosen], chunk_frames=150)
    expected = np.concatenate([shard.utterance(index) for index in np.flatnonzero(chosen)])
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in stream_chunks(chunks)]), expected)
    ends = set(shard.offsets.tolist())
    assert max(chunk.frames for chunk in chunks) <= 150
    assert all(row in ends for chunk in chunks for run in chunk.runs for row in run)


def test_an_utterance_longer_than_a_chunk_is_cut_or_kept_as_asked(shard: FeatureShard) -> None:
    everything = [np.ones(len(shard), dtype=bool)]
    assert max(chunk.frames for chunk in plan_chunks([shard], everything, chunk_frames=16)) == 16
    assert [chunk.frames for chunk in plan_chunks([shard], everything, chunk_frames=1, whole_utterances=True)] == shard.lengths.tolist()


def test_half_precision_shards_are_read_in_single_precision(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0, 1, {}) as writer:
        writer.add(np.arange(12, dtype=np.float16).reshape(4, 3))
    shard = read_shard(tmp_path, "train", 0, 1)
    rows = read_chunk(plan_chunks([shard], [np.array([True])])[0])
    assert rows.dtype == np.float32 and rows[3].tolist() == [9, 10, 11]


def test_the_survey_finds_mean_covariance_and_an_even_sample(shard: FeatureShard) -> None:
    chunks = plan_chunks([shard], [np.ones(len(shard), dtype=bool)], chunk_frames=200)
    found = survey(chunks, sample_frames=300, full_covariance=True, seed=0)
    frames = np.asarray(shard.frames, dtype=np.float64)
    np.testing.assert_allclose(found.mean.numpy(), frames.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(frames.T, bias=True), rtol=1e-4, atol=1e-4)
    assert len(found.sample) == 300 == len(np.unique(found.sample, axis=0))
    whitened = fit_transform(found, pca=None, whiten=True, standardise=False)
    assert whitened is not None
    np.testing.assert_allclose(torch.cov(whitened(torch.from_numpy(frames)).T, correction=0).numpy(), np.eye(5), atol=1e-4)


def test_an_empty_component_takes_half_of_the_heaviest() -> None:
    mixture = GaussianMixture(
        torch.tensor([0.7, 0.3, 1e-9], dtype=torch.float64),
        torch.tensor([[0.0, 0.0], [5.0, 5.0], [99.0, 99.0]], dtype=torch.float64),
        torch.ones(3, 2, dtype=torch.float64),
    )
    moved, count = refill(mixture, torch.tensor([70.0, 30.0, 0.0]), seed=0)
    assert count == 1
    torch.testing.assert_close(moved.weights, torch.tensor([0.35, 0.3, 0.35], dtype=torch.float64))
    torch.testing.assert_close((moved.means[0] + moved.means[2]).abs().sum(), torch.tensor(0.0, dtype=torch.float64))
    torch.testing.assert_close(moved.means[2].abs(), torch.full((2,), 0.2, dtype=torch.float64))


def test_kmeans_finds_separate_clusters_whatever_the_seed() -> None:
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    frames = centres.repeat(100, 1) + 0.1 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        _, assigned = kmeans(frames, 3, seed=seed, iterations=2)
        assert torch.bincount(assigned).tolist() == [100, 100, 100]


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied", "full"])
def test_every_iteration_raises_the_likelihood_of_what_is_fitted(covariance_type: str, shard: FeatureShard, tmp_path: Path) -> None:
    options = GmmOptions(6, covariance_type=covariance_type, iterations=8, tolerance=-1.0, perplexity=1.5)
    learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", options)
    curve = [record["train"] for record in GaussianMixture.load(tmp_path / "gmm").metadata["curve"]]
    assert len(curve) == 8
    assert all(after > before - 1e-4 for before, after in zip(curve, curve[1:])) and curve[-1] > curve[0]


def test_an_interrupted_fit_continues_where_it_stopped_and_ends_the_same(
    shard: FeatureShard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = GmmOptions(6, iterations=6, tolerance=-1.0, perplexity=1.5)
    learn_gmm(tmp_path, "train", 1, tmp_path / "whole", options)
    kept, keep = [], program._keep

    def interrupted(path: Path, fit: Any, request: str) -> None:
        keep(path, fit, request)
        kept.append(fit.iteration)
        if fit.iteration == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(program, "_keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn_gmm(tmp_path, "train", 1, tmp_path / "parts", options)
    monkeypatch.setattr(program, "_keep", lambda path, fit, request: kept.append(fit.iteration))
    learn_gmm(tmp_path, "train", 1, tmp_path / "parts", options)
    assert kept == [0, 1, 2, 3, 3, 4, 5, 6]
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if "parts" in path.name) == ["parts"]
    assert learn_gmm(tmp_path, "train", 1, tmp_path / "parts", options).endswith("already there")


def test_the_same_features_give_the_same_file_wherever_they_are_and_others_are_fitted_again(tmp_path: Path) -> None:
    def fit(place: str, *, last: float = 0.0, start: str = "") -> bytes:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        with ShardWriter(folder, "train", 0, 1, {"kind": "mfcc"}) as writer:
            *others, frames = _utterances(0, 40)
            for each in others:
                writer.add(each)
            frames[-2] += last
            writer.add(frames)
        os.utime(folder / "train_0_1.npy", ns=(0, len(place)))
        options = GmmOptions(6, iterations=2, tolerance=-1.0, perplexity=1.5, init=str(folder / start) if start else None)
        learn_gmm(folder, "train", 1, folder / f"gmm{start}", options)
        return (folder / f"gmm{start}").read_bytes()

    one, other = fit("one"), fit("another")
    assert one == other
    assert fit("one", start="gmm") == fit("another", start="gmm")
    assert fit("one", last=1.0) != one, "one frame has changed"


def test_two_processes_fit_the_same_mixture_as_one(tmp_path: Path) -> None:
    for rank in range(2):
        with ShardWriter(tmp_path, "train", rank, 2, {"kind": "mfcc"}) as writer:
            for frames in _utterances(rank, 400):
                writer.add(frames)
    arguments = ["train", "2"]
    options = ["6", "--iterations", "5", "--tolerance", "-1", "--perplexity", "1.5"]
    learn_gmm(tmp_path, "train", 2, tmp_path / "one", GmmOptions(6, iterations=5, tolerance=-1.0, perplexity=1.5))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617"]
    command += ["-m", "softhubert_plugin", "gmm", "learn", str(tmp_path), *arguments, str(tmp_path / "two"), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 diag components") == 1
    one, two = (GaussianMixture.load(tmp_path / name) for name in ("one", "two"))
    torch.testing.assert_close(two.means, one.means, rtol=1e-5, atol=0)
    torch.testing.assert_close(two.covariances, one.covariances, rtol=1e-5, atol=0)
    torch.testing.assert_close(two.weights, one.weights, rtol=1e-5, atol=0)
    assert two.temperature == pytest.approx(one.temperature, rel=1e-4)


def test_a_fit_starts_from_a_mixture_or_from_fairseqs_kmeans(shard: FeatureShard, tmp_path: Path) -> None:
    options: Dict[str, Any] = {"n_components": 6, "iterations": 1, "tolerance": -1.0, "perplexity": 1.5}
    clusters = MiniBatchKMeans(6, n_init=1, random_state=0).fit(np.array(shard.frames))
    joblib.dump(clusters, tmp_path / "km.joblib")
    np.testing.assert_allclose(read_kmeans(tmp_path / "km.joblib"), clusters.cluster_centers_, rtol=1e-6)
    learn_gmm(tmp_path, "train", 1, tmp_path / "first", GmmOptions(**options, init=str(tmp_path / "km.joblib")))
    learn_gmm(tmp_path, "train", 1, tmp_path / "second", GmmOptions(**options, init=str(tmp_path / "first")))
    first, second = (GaussianMixture.load(tmp_path / name).metadata["curve"][0]["train"] for name in ("first", "second"))
    assert second > first
    with pytest.raises(SoftHubertError, match="6 components in 5 dimensions, but 7"):
        learn_gmm(tmp_path, "train", 1, tmp_path / "third", GmmOptions(7, init=str(tmp_path / "km.joblib")))


def test_a_malicious_kmeans_file_runs_nothing(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    joblib.dump({"cluster_centers_": Harm()}, tmp_path / "direct")
    joblib.dump({"cluster_centers_": np.array([Harm()], dtype=object)}, tmp_path / "hidden")
    (tmp_path / "plain").write_bytes(pickle.dumps(Harm()))
    for name in ("direct", "hidden", "plain"):
        with pytest.raises(SoftHubertError, match=name):
            read_kmeans(tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n_components": 5, "covariance_type": "full"}, "full covariances of 130 dimensions: the maximum is 128"),
        ({"n_components": 5, "pca": 200}, "PCA to 200 dimensions: expected 1 to 130"),
        ({"n_components": 5, "percent": 1.5}, "--percent 1.5"),
        ({"n_components": 5, "standardise": True, "whiten": True}, "--standardise cannot be combined with --pca or --whiten"),
        ({"n_components": 70_000}, "expected 1 to 65536"),
    ],
    ids=lambda value: next(iter(list(value)[1:]), "count") if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense_are_refused(options: Dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0, 1, {}) as writer:
        for _ in range(4):
            writer.add(np.random.default_rng(0).standard_normal((100, 130)).astype(np.float32))
    with pytest.raises(SoftHubertError, match=complaint):
        learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(**options))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"perplexity": 5.0}, "perplexity 5.0: expected more than 1 .* and less than 5"),
        ({"perplexity": 0.5}, "perplexity 0.5: expected more than 1"),
        ({"iterations": -5}, "--iterations -5: expected 0 or more"),
        ({"percent": 0.0}, "--percent 0"),
        ({"pca": 50}, "PCA to 50 dimensions: expected 1 to 5"),
        ({"pca": 0}, "PCA to 0 dimensions: expected 1 to 5"),
        ({"pca": 3, "standardise": True}, "--standardise cannot be combined"),
        ({"init": "nothere.safetensors"}, "nothere.safetensors: no such mixture or k-means model to start from"),
        ({"init": "."}, "no such mixture or k-means model"),
        ({"init": "MIXTURE", "n_components": 7}, "5 components in 5 dimensions, but 7 in 5 are expected"),
        ({"init": "NARROW"}, "5 components in 4 dimensions, but 5 in 5 are expected"),
        ({"init": "MIXTURE", "covariance_type": "full"}, "has diag covariances, not full"),
        ({"init": "MIXTURE", "whiten": True}, "leave out --pca, --whiten and --standardise"),
        ({"gmm_path": "folder"}, "folder: cannot be written .*there is a folder of this name"),
        ({"gmm_path": "file/gmm"}, "file/gmm: cannot be written .*there is a file in the place of its folder"),
    ],
    ids=str,
)
def test_what_cannot_become_a_mixture_is_refused_before_the_features_are_read(
    options: Dict[str, Any], complaint: str, shard: FeatureShard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    frames = np.array(shard.frames[:500])
    joblib.dump(MiniBatchKMeans(5, n_init=1, random_state=0).fit(frames[:, :4]), tmp_path / "NARROW")
    GaussianMixture.from_sklearn(_fitted("diag", frames)).save(tmp_path / "MIXTURE")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "_requests", lambda *_: pytest.fail("the features were read"))
    path = options.get("gmm_path", "gmm")
    settings = {name: value for name, value in {"n_components": 5, "perplexity": 1.5, **options}.items() if name != "gmm_path"}
    with pytest.raises(SoftHubertError, match=complaint):
        learn_gmm(tmp_path, "train", 1, path, GmmOptions(**settings))


def test_a_mixture_is_not_renamed_to_one_of_other_features(tmp_path: Path) -> None:
    for layer in (6, 9):
        info = {"kind": "hubert", "layer": layer, "manifest_sha256": str(layer)}
        with ShardWriter(tmp_path / f"{layer}", "train", 0, 1, info) as writer:
            for frames in _utterances(layer, 8):
                writer.add(frames)
    with ShardWriter(
        tmp_path / "same", "train", 0, 1, {"kind": "hubert", "layer": 6, "manifest_sha256": "x", "dtype": "float16"}
    ) as writer:
        writer.add(np.concatenate(_utterances(1, 8)))
    options = GmmOptions(4, iterations=1, perplexity=1.5)
    learn_gmm(tmp_path / "6", "train", 1, tmp_path / "gmm", options)
    init = str(tmp_path / "gmm")
    with pytest.raises(SoftHubertError, match=r"9.train_0_1.npy: features .*'layer': 9.*, but .*gmm was fitted on .*'layer': 6"):
        learn_gmm(tmp_path / "9", "train", 1, tmp_path / "other", replace(options, init=init, iterations=0))
    assert "4 diag components" in learn_gmm(tmp_path / "9", "train", 1, tmp_path / "other", replace(options, init=init))
    assert "4 diag components" in learn_gmm(tmp_path / "same", "train", 1, tmp_path / "third", replace(options, init=init, iterations=0))


def test_another_perplexity_does_not_repeat_the_fit_that_an_interrupted_calibration_left(
    shard: FeatureShard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = GmmOptions(6, iterations=2, tolerance=-1.0, perplexity=1.5)
    learn_gmm(tmp_path, "train", 1, tmp_path / "whole", options)
    kept, keep = [], program._keep

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def keep_and_count(path: Path, fit: Any, request: str) -> None:
        keep(path, fit, request)
        kept.append(fit.iteration)

    monkeypatch.setattr(program, "_keep", keep_and_count)
    with monkeypatch.context() as patched:
        patched.setattr(program, "calibrated_with_transitions", stopped)
        with pytest.raises(KeyboardInterrupt):
            learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", replace(options, perplexity=3.0, markov="sticky"))
    learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", options)
    assert kept == [0, 1, 2, 2] and (tmp_path / "gmm").read_bytes() == (tmp_path / "whole").read_bytes()
    # The request of a fit that an earlier version left has all options.
    keep(tmp_path / ".old.fit", Fit(GaussianMixture.load(tmp_path / "gmm"), [], True), program._requests([shard], options)[0])
    learn_gmm(tmp_path, "train", 1, tmp_path / "old", options)
    assert kept[4:] == [0], "finished without an iteration"


def test_dimensions_that_do_not_vary_are_named(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    frames[:, 2] = 7
    with ShardWriter(tmp_path, "train", 0, 1, {}) as writer:
        writer.add(frames[:50])
        writer.add(frames[50:])
    with pytest.raises(SoftHubertError, match=r"1 of 4 feature dimensions do not vary \(dimension 2\)"):
        learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(2, perplexity=1.5))
    assert "3 diag components" in learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(3, pca=3, perplexity=1.5))


def _learn(folder: Path, frames: np.ndarray, **options: Any) -> GaussianMixture:
    with ShardWriter(folder, "train", 0, 1, {}) as writer:
        for utterance in np.array_split(frames, 4 if len(frames) > 4 else 1):
            writer.add(utterance.astype(np.float32))
    learn_gmm(folder, "train", 1, folder / "gmm", GmmOptions(**{"n_components": 3, "perplexity": 1.5, "iterations": 2, **options}))
    return GaussianMixture.load(folder / "gmm")


@pytest.mark.parametrize(
    ("columns", "options", "complaint"),
    [
        ("constant", {"pca": 4, "covariance_type": "full"}, "only 3 dimensions vary, .* 4 principal components; give --pca 3 or fewer"),
        ("constant", {"pca": 4}, "only 3 dimensions vary"),
        ("constant", {"whiten": True}, "only 3 dimensions vary"),
        ("all constant", {"whiten": True}, r"4 of 4 feature dimensions do not vary .*; check how the features were made$"),
        ("all constant", {"pca": 2}, "4 of 4 feature dimensions do not vary"),
        ("all constant", {}, "4 of 4 feature dimensions do not vary"),
        ("denormal", {"whiten": True}, "4 of 4 feature dimensions do not vary"),
        ("denormal", {"standardise": True}, "4 of 4 feature dimensions do not vary"),
        ("few", {"covariance_type": "full"}, "covariance matrices of 4 dimensions became singular.*--covariance diag"),
    ],
)
def test_features_that_vary_in_too_few_dimensions_are_refused_in_one_line(
    columns: str, options: Dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).standard_normal((200, 4)) + 3
    if columns == "constant":
        frames[:, 2] = 7
    elif columns == "all constant":
        frames[:] = [1, 0, 7, -2.1]
    elif columns == "denormal":
        frames *= 1e-40
    else:
        frames = frames[:3]
    with pytest.raises(SoftHubertError, match=complaint):
        _learn(tmp_path, frames, **options)


@pytest.mark.parametrize("options", [{}, {"standardise": True}, {"whiten": True}, {"covariance_type": "full"}])
def test_the_scale_of_features_changes_nothing_but_the_scale_of_the_mixture(options: Dict[str, Any], tmp_path: Path) -> None:
    frames = np.concatenate(_utterances(0, 10)) - CENTRES.mean(0)
    small, large = (_learn(tmp_path / str(scale), frames * 2.0**scale, **options) for scale in (-20, 0))
    torch.testing.assert_close(small.weights, large.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("nshard", [0, -1])
def test_there_is_at_least_one_shard(nshard: int, tmp_path: Path) -> None:
    for ask in (lambda: learn_gmm(tmp_path, "train", nshard, tmp_path / "gmm", GmmOptions(3)), lambda: shard_range(4, nshard, 0)):
        with pytest.raises(SoftHubertError, match=rf"NSHARD {nshard}: expected 1 or more shards"):
            ask()


def test_a_shard_that_shrinks_while_it_is_read_is_reported(shard: FeatureShard) -> None:
    chunks = plan_chunks([shard], [np.ones(len(shard), dtype=bool)])
    os.truncate(shard.path, shard.path.stat().st_size - 8)
    with pytest.raises(SoftHubertError, match=r"train_0_1.npy: ends before row"):
        read_chunk(chunks[-1])


def test_sums_of_several_mixture_types_fit_into_one_vector() -> None:
    tied = GaussianMixture(torch.tensor([1.0]).double(), torch.zeros(1, 3).double(), torch.eye(3).double(), "tied")
    sums = Sums.zeros(tied, "cpu")
    sums.scatter.fill_(2)
    sums.counts.fill_(1)
    assert float(sums.flat.sum()) == 2 * 9 + 1 and sums.statistics.shape == (1, 3)


def test_shards_of_a_split_are_fitted_on_together(tmp_path: Path) -> None:
    for rank, frames in enumerate(_utterances(count=2)):
        with ShardWriter(tmp_path, "train", rank, 2, {}) as writer:
            writer.add(frames)
    total = sum(len(shard.frames) for shard in read_shards(tmp_path, "train", 2))
    report = learn_gmm(tmp_path, "train", 2, tmp_path / "gmm", GmmOptions(2, perplexity=1.2))
    assert f"{total - len(_utterances(count=2)[0])} frames" in report or f"{total - len(_utterances(count=2)[1])} frames" in report


def test_a_folder_in_the_place_of_the_mixture_is_refused_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softhubert_plugin.gmm.learn_gmm.fit_mixture", lambda *_, **__: pytest.fail("fits"))
    with ShardWriter(tmp_path, "train", 0, 1, {}) as writer:
        writer.add(np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32))
    with pytest.raises(SoftHubertError, match="there is a folder of this name"):
        learn_gmm(tmp_path, "train", 1, tmp_path, GmmOptions(2))
