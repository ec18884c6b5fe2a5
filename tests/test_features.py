"""Features, compared with those of fairseq's own dump scripts, and fairseq's clustering scripts on our features."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from softhubert_plugin.checkpoints.load import load_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.hidden_states import hidden_states
from softhubert_plugin.features.hubert import dump_hubert
from softhubert_plugin.features.layers import parse_layers
from softhubert_plugin.features.mfcc import dump_mfcc
from softhubert_plugin.features.shards import read_shard, read_shards
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.gmm.from_kmeans import gmm_from_kmeans
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.verify import verify_file, verify_labels
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary


def _script(name: str, *arguments: object) -> None:
    """Run one of fairseq's scripts for HuBERT clustering."""
    command = [sys.executable, "-m", "softhubert_plugin", "fairseq-tool", f"hubert/simple_kmeans/{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_mfcc_shards_equal_those_of_fairseqs_script_and_are_interchangeable(corpus: Path, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for split in ("train", "valid"):
        dump_mfcc(corpus, split, 1, 0, ours)
    _script("dump_mfcc_feature", corpus, "train", 1, 0, theirs)
    expected, found = read_shard(theirs, "train", 0, 1), read_shard(ours, "train", 0, 1)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_array_equal(found.frames, expected.frames)

    # fairseq's features in our mixture. They lack our description, so the label rate must be given.
    learn_gmm(theirs, "train", 1, tmp_path / "gmm.safetensors", GmmOptions(5))
    dump_gmm_posteriors(theirs, "train", tmp_path / "gmm.safetensors", 1, 0, tmp_path / "lab", label_rate=100.0)
    merge_labels(tmp_path / "lab", "train", 1)
    assert "4 utterances" in verify_file(tmp_path / "lab" / "train.gmm", corpus / "train.tsv")

    # Our features in fairseq's clustering.
    _script("learn_kmeans", ours, "train", 1, tmp_path / "km.joblib", 5, "--percent", -1)
    _script("dump_km_label", ours, "valid", tmp_path / "km.joblib", 1, 0, tmp_path / "km")
    write_cluster_dictionary(tmp_path / "km", "km", 5)
    labels = HardLabels(tmp_path / "km" / "valid_0_1.km", tmp_path / "km" / "dict.km.txt")
    verify_labels(labels, read_manifest(corpus / "valid.tsv"), 100.0)


def test_fairseqs_k_means_clusters_half_precision_in_single(corpus: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    dump_mfcc(corpus, "train", 1, 0, share, dtype="float16", percent=0.75)
    _script("learn_kmeans", share, "train", 1, tmp_path / "km.joblib", 5, "--percent", -1, "--seed", 1)
    assert joblib.load(tmp_path / "km.joblib").cluster_centers_.dtype == np.float32
    gmm_from_kmeans(tmp_path / "km.joblib", tmp_path / "gmm", share, "train", 1, perplexity=2.0)
    assert "4 utterances" in dump_gmm_posteriors(corpus, "train", tmp_path / "gmm", 1, 0, tmp_path / "lab", audio="mfcc")


def test_joined_shards_are_the_whole_and_a_finished_one_is_not_redone(corpus: Path, tmp_path: Path) -> None:
    for rank in range(3):
        dump_mfcc(corpus, "train", 3, rank, tmp_path)
    dump_mfcc(corpus, "train", 1, 0, tmp_path)
    parts, whole = read_shards(tmp_path, "train", 3), read_shard(tmp_path, "train", 0, 1)
    np.testing.assert_array_equal(np.concatenate([part.frames for part in parts]), whole.frames)
    assert np.array_equal(np.concatenate([part.lengths for part in parts]), whole.lengths)
    assert "already there" in dump_mfcc(corpus, "train", 3, 1, tmp_path)
    with pytest.raises(SoftHubertError, match="rank 3 of 3 shards"):
        dump_mfcc(corpus, "train", 3, 3, tmp_path)


def test_hidden_states_equal_those_of_fairseqs_script(corpus: Path, tmp_path: Path, stock_checkpoint: Path) -> None:
    _script("dump_hubert_feature", corpus, "train", stock_checkpoint, 2, 1, 0, tmp_path / "theirs")
    dump_hubert(corpus, "train", stock_checkpoint, "all", 1, 0, tmp_path / "ours")
    expected, found = read_shard(tmp_path / "theirs", "train", 0, 1), read_shard(tmp_path / "ours" / "layer2", "train", 0, 1)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_allclose(found.frames, expected.frames, atol=1e-6)
    assert found.info["layer"] == 2 and found.info["frame_rate"] == 50


@pytest.mark.parametrize("samples", [6_400, 6_437, 6_719])
def test_a_layer_is_the_same_alone_and_among_others(stock_checkpoint: Path, samples: int) -> None:
    loaded = load_checkpoint(stock_checkpoint)
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    [both] = hidden_states(loaded.encoder, [waveform], [1, 2])
    assert torch.equal(hidden_states(loaded.encoder, [waveform], [1])[0][1], both[1])
    assert both[1].shape == both[2].shape == (1 + (samples - 400) // 320, 32)


def test_layers_are_named_by_number_list_or_all() -> None:
    assert parse_layers("6", 12) == [6]
    assert parse_layers("4,8,12", 12) == [4, 8, 12]
    assert parse_layers("all", 3) == [1, 2, 3]
    assert parse_layers("0-2,7,1", 12) == [0, 1, 2, 7]
    for text in ("-1", "13", "last", "1,,2", "3-1", ""):
        with pytest.raises(SoftHubertError, match="layer"):
            parse_layers(text, 12)


def test_utterances_shorter_than_a_window_are_refused_by_name(corpus: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(corpus / "audio" / "train-0.flac", np.zeros(300), 16_000)
    lines = (corpus / "train.tsv").read_text().splitlines()
    (corpus / "train.tsv").write_text("\n".join([lines[0], "audio/train-0.flac\t300", *lines[2:]]) + "\n")
    with pytest.raises(SoftHubertError, match=r"train-0.*300.*400"):
        dump_mfcc(corpus, "train", 1, 0, tmp_path / "mfcc")
