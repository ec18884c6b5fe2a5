"""A mixture of k-means centroids: its argmax, its posteriors, its temperature, and the commands that take it."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import joblib
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.cluster import MiniBatchKMeans

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.gmm.from_kmeans import gmm_from_kmeans
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.soft import open_soft_labels

Data = Tuple[Path, np.ndarray, MiniBatchKMeans]
INFO = {"kind": "mfcc", "frame_rate": 100.0, "manifest_sha256": "m" * 64}


@pytest.fixture()
def data(tmp_path: Path) -> Data:
    """Two shards of features around eight centres, and a k-means model of them as fairseq saves it."""
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((8, 5))[rng.integers(0, 8, 2000)] * 3 + rng.standard_normal((2000, 5)) + 10).astype(np.float32)
    for rank in range(2):
        with ShardWriter(tmp_path, "train", rank, 2, INFO, dtype="float16") as writer:
            for utterance in np.split(frames[1000 * rank : 1000 * (rank + 1)], 10):
                writer.add(utterance)
    model = MiniBatchKMeans(8, n_init=1, random_state=0).fit(frames)
    joblib.dump(model, tmp_path / "km.joblib")
    return tmp_path, frames, model


def test_posteriors_are_a_softmax_of_distances_at_the_asked_perplexity(data: Data) -> None:
    folder, frames, model = data
    said = gmm_from_kmeans(folder / "km.joblib", folder / "gmm.safetensors", folder, "train", 2, perplexity=3.0)
    mixture = GaussianMixture.load(folder / "gmm.safetensors")
    assert mixture.weights.tolist() == [1 / 8] * 8 and mixture.covariance_type == "spherical" and "8 spherical components" in said
    x = torch.from_numpy(frames)
    assert mixture.predict(x).tolist() == model.predict(frames).tolist()
    squares = ((frames[:, None] - model.cluster_centers_[None]) ** 2).sum(-1)
    scale = 2 * float(mixture.covariances[0]) * mixture.temperature
    posteriors = mixture.predict_proba(x).numpy()
    np.testing.assert_allclose(posteriors, softmax(-squares / scale, axis=1), atol=1e-5)
    entropy = -(posteriors * np.log(posteriors + 1e-300)).sum(1)
    assert np.exp(entropy).mean() == pytest.approx(3.0, abs=0.15)  # calibrated on a part of these frames
    nearest = squares.min(1).mean() / 5
    assert float(mixture.covariances[0]) == pytest.approx(nearest, rel=0.1)


def test_the_same_command_gives_the_same_bytes_and_dump_takes_them(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    folder, *_ = data
    for name in ("a", "b"):
        words = ["gmm", "from-kmeans", folder / "km.joblib", folder / name, "--features", folder, "train", 2, "--perplexity", 2]
        assert main(list(map(str, words))) == 0
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    assert GaussianMixture.load(folder / "a").metadata["features"] == {**INFO}
    assert main(["gmm", "dump", str(folder), "train", str(folder / "a"), "2", "1", str(folder / "lab")]) == 0
    labels = open_soft_labels(folder / "lab" / "train_1_2.gmm")
    assert labels.n_components == 8 and labels.info.perplexity == pytest.approx(2.0, abs=0.15)
    assert "mean perplexity" in capsys.readouterr().out


def test_no_calibration_keeps_the_temperature_of_one(data: Data) -> None:
    folder, *_ = data
    gmm_from_kmeans(folder / "km.joblib", folder / "gmm.safetensors", folder, "train", 2, perplexity=None)
    assert GaussianMixture.load(folder / "gmm.safetensors").temperature == 1.0


def test_what_does_not_fit_is_refused_in_one_line(data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, frames, _ = data
    joblib.dump(MiniBatchKMeans(4, n_init=1, random_state=0).fit(frames[:, :3]), folder / "narrow.joblib")
    with pytest.raises(SoftHubertError, match="centroids of dimension 3, but .* dimension 5"):
        gmm_from_kmeans(folder / "narrow.joblib", folder / "gmm.safetensors", folder, "train", 2)
    with pytest.raises(SoftHubertError, match="perplexity 9: expected"):
        gmm_from_kmeans(folder / "km.joblib", folder / "gmm.safetensors", folder, "train", 2, perplexity=9)
    with pytest.raises(SoftHubertError, match="no such k-means model"):
        gmm_from_kmeans(folder / "none.joblib", folder / "gmm.safetensors", folder, "train", 2)
    with pytest.raises(SystemExit) as stopped:
        main(["gmm", "from-kmeans", str(folder / "km.joblib"), str(tmp_path / "g"), "--features", str(folder), "train", "two"])
    assert stopped.value.code == 2 and "expected the number of shards" in capsys.readouterr().err
    assert not (folder / "gmm.safetensors").exists()
