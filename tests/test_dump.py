"""``gmm dump``: labels made straight from audio, from dumped features and with any number of threads are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.hubert import dump_hubert
from softhubert_plugin.features.shards import ShardWriter, read_shard
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_layout import PROBABILITY_UNIT


@pytest.fixture()
def layer(corpus: Path, stock_checkpoint: Path) -> Path:
    """The corpus with hidden states of layer 2 in ``layer2`` and a mixture fitted on them."""
    dump_hubert(corpus, "train", stock_checkpoint, "2", 1, 0, corpus / "layer2", device="cpu")
    learn_gmm(corpus / "layer2", "train", 1, corpus / "gmm.safetensors", GmmOptions(5, perplexity=2.0))
    return corpus


def test_labels_straight_from_audio_equal_those_of_dumped_features(layer: Path, stock_checkpoint: Path) -> None:
    dump_gmm_posteriors(layer / "layer2", "train", layer / "gmm.safetensors", 1, 0, layer / "two-steps")
    options = {"checkpoint": stock_checkpoint, "layer": 2}
    for rank in range(2):
        dump_gmm_posteriors(layer, "train", layer / "gmm.safetensors", 2, rank, layer / "one-step", **options)  # type: ignore[arg-type]
    merge_labels(layer / "one-step", "train", 2)
    one, two = open_soft_labels(layer / "one-step" / "train.gmm"), open_soft_labels(layer / "two-steps" / "train_0_1.gmm")
    assert len(one) == len(two) == 4 and one.info.manifest_sha256 == two.info.manifest_sha256
    for index in range(len(one)):
        ours, theirs = one.utterance(index), two.utterance(index)
        np.testing.assert_array_equal(ours.components, theirs.components)
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


def test_a_layer_other_than_the_one_of_the_mixture_is_refused(layer: Path, stock_checkpoint: Path) -> None:
    with pytest.raises(SoftHubertError, match="'layer': 1.* was fitted on .*'layer': 2"):
        dump_gmm_posteriors(layer, "train", layer / "gmm.safetensors", 1, 0, layer / "lab", checkpoint=stock_checkpoint, layer=1)
    with pytest.raises(SoftHubertError, match="layer 9"):
        dump_gmm_posteriors(layer, "train", layer / "gmm.safetensors", 1, 0, layer / "lab", checkpoint=stock_checkpoint, layer=9)
    with pytest.raises(SoftHubertError, match="--checkpoint and --layer go together"):
        dump_gmm_posteriors(layer, "train", layer / "gmm.safetensors", 1, 0, layer / "lab", layer=2)


def test_dumped_posteriors_equal_scikit_learns_whatever_the_utterance_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    utterances = [rng.standard_normal((length, 4)).astype(np.float32) for length in (1, 9_000, 3, 700, 1)]
    with ShardWriter(tmp_path, "train", 0, 1, {"frame_rate": 100.0}) as writer:
        for frames in utterances:
            writer.add(frames)
    learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(7, perplexity=None))
    dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path, mass=1.0, max_components=7)
    labels = open_soft_labels(tmp_path / "train_0_1.gmm")
    theirs = GaussianMixture.load(tmp_path / "gmm").to_sklearn()
    assert labels.lengths.tolist() == [1, 9_000, 3, 700, 1]
    for index, frames in enumerate(utterances):
        targets = labels.utterance(index)
        dense = np.zeros((len(frames), 7))
        dense[targets.frame_of_entry, targets.components] = targets.probabilities
        np.testing.assert_allclose(
            dense, theirs.predict_proba(frames.astype(np.float64)), atol=7e-5
        )  # seven entries, each rounded to 1/65535


def test_stored_labels_equal_double_precision_to_within_a_step_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = 20 + 2 * rng.standard_normal((120, 39))
    with ShardWriter(tmp_path, "train", 0, 1, {"frame_rate": 100.0}) as writer:
        for length in rng.integers(50, 3_000, 12):
            writer.add((centres[rng.integers(0, 120, length)] + 2 * rng.standard_normal((length, 39))).astype(np.float32))
    learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(120, iterations=3, perplexity=4.0))
    dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path)
    labels, mixture = open_soft_labels(tmp_path / "train_0_1.gmm"), GaussianMixture.load(tmp_path / "gmm")
    shard = read_shard(tmp_path, "train", 0, 1)
    for index in range(len(labels)):
        counts, components, probabilities = labels.stored(index)
        exact = mixture.predict_proba(torch.from_numpy(np.array(shard.utterance(index)))).numpy()
        order = np.argsort(-exact, axis=1, kind="stable")[:, :16]
        largest = np.take_along_axis(exact, order, 1)
        kept = np.cumsum(largest, axis=1) - largest < 0.999
        # The number of entries is the expected one, except where a frame reaches the mass within a rounding error.
        assert np.abs(counts - kept.sum(1)).max() <= 1 and (counts == kept.sum(1)).mean() > 0.998
        frame = np.repeat(np.arange(len(counts)), counts)
        held = np.add.reduceat(exact[frame, components], np.cumsum(counts, dtype=np.int64) - counts)
        expected = exact[frame, components] / held[frame]
        assert np.abs(probabilities / PROBABILITY_UNIT - expected).max() < 1 / PROBABILITY_UNIT
        rank = np.arange(len(frame)) - (np.cumsum(counts, dtype=np.int64) - counts)[frame]
        np.testing.assert_allclose(exact[frame, components], largest[frame, rank], rtol=1e-3)  # the largest entries, in falling order


def test_labels_do_not_depend_on_the_number_of_threads(layer: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            dump_gmm_posteriors(layer / "layer2", "train", layer / "gmm.safetensors", 1, 0, layer / str(count))
            dump_gmm_posteriors(layer / "layer2", "train", layer / "gmm.safetensors", 1, 0, layer / str(count), hard=True)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for name in ("train_0_1.gmm", "train_0_1.km"):
        assert (layer / "1" / name).read_bytes() == (layer / "3" / name).read_bytes()
    soft = open_soft_labels(layer / "1" / "train_0_1.gmm")
    best = [
        soft.utterance(index).components[np.cumsum(soft.utterance(index).counts) - soft.utterance(index).counts]
        for index in range(len(soft))
    ]
    assert (layer / "1" / "train_0_1.km").read_text().splitlines() == [" ".join(map(str, row)) for row in best]
