"""All layers in one pass: the same features in batches or alone, resumed or uninterrupted, of subsets and in float16."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import soundfile
import torch
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from omegaconf import OmegaConf
from shapes import TINY_HUBERT

from softhubert_plugin.checkpoints.load import LoadedModel, load_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features import hidden_states as states_module
from softhubert_plugin.features.hidden_states import frames_of, hidden_states
from softhubert_plugin.features.hubert import dump_hubert
from softhubert_plugin.features.layer_stream import layer_features
from softhubert_plugin.features.shards import ShardWriter, is_complete, read_shard
from softhubert_plugin.front_end import parse_conv_feature_layers
from softhubert_plugin.manifests import read_manifest, write_manifest


def _model(extractor_mode: str, normalize: bool) -> LoadedModel:
    cfg = {**TINY_HUBERT, "_name": "hubert", "extractor_mode": extractor_mode, "layer_norm_first": extractor_mode == "layer_norm"}
    task = OmegaConf.merge(OmegaConf.structured(HubertPretrainingConfig()), {"data": "/gone", "labels": ["km"]})
    torch.manual_seed(0)
    model = HubertModel(OmegaConf.merge(OmegaConf.structured(HubertConfig()), cfg), task, [range(20)]).eval()
    for parameter in model.encoder.layers.parameters():  # the usual values are so small that every layer would repeat its input
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return LoadedModel(model, None, model, parse_conv_feature_layers(cfg["conv_feature_layers"]), normalize)


@pytest.fixture()
def lengths(tmp_path: Path) -> Path:
    """A manifest of utterances of 0.1 to 35 seconds, not sorted by length."""
    rng = np.random.default_rng(0)
    entries = []
    for number, samples in enumerate([24_000, 1_600, 560_000, 8_123, 1_937, 160_000, 33_333, 2_000]):
        soundfile.write(tmp_path / f"spk-{number}.flac", 0.2 * rng.standard_normal(samples), 16_000)
        entries.append((f"spk-{number}.flac", samples))
    write_manifest(tmp_path / "train.tsv", tmp_path, entries)
    return tmp_path / "train.tsv"


@pytest.mark.parametrize(("mode", "normalize"), list(itertools.product(["default", "layer_norm"], [False, True])))
def test_batched_equals_unbatched_and_fairseq_alone(mode: str, normalize: bool, lengths: Path) -> None:
    loaded = _model(mode, normalize)
    manifest = read_manifest(lengths)
    order = range(len(manifest))
    batched = list(layer_features(loaded, manifest, order, [0, 1, 2], batch_seconds=300))
    alone = list(layer_features(loaded, manifest, order, [0, 1, 2], batch_seconds=0))
    assert len(batched) == len(alone) == len(manifest)
    for index in order:
        expected = frames_of(int(manifest.sizes[index]), loaded.conv_layers)
        for layer in (0, 1, 2):
            assert batched[index][layer].shape == alone[index][layer].shape == (expected, 32)
            np.testing.assert_allclose(batched[index][layer], alone[index][layer], atol=1e-5, rtol=0)
        waveform = torch.from_numpy(soundfile.read(manifest.audio_path(index), dtype="float32")[0])
        if normalize:
            waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
        with torch.no_grad():
            theirs, _ = loaded.encoder.extract_features(waveform[None], padding_mask=None, mask=False, output_layer=2)
        np.testing.assert_allclose(batched[index][2], theirs[0].numpy(), atol=1e-5, rtol=0)
    assert np.abs(batched[0][1] - batched[0][2]).max() > 0.1  # the layers differ


def test_long_utterances_are_cut_into_the_pieces_of_fairseqs_script(lengths: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "MAX_PIECE", 20_000)
    loaded = _model("default", False)
    manifest = read_manifest(lengths)
    [found] = layer_features(loaded, manifest, [6], [2], batch_seconds=300)
    waveform = torch.from_numpy(soundfile.read(manifest.audio_path(6), dtype="float32")[0])
    with torch.no_grad():
        parts = [loaded.encoder.extract_features(part[None], output_layer=2)[0][0] for part in waveform.split(20_000)]
    np.testing.assert_allclose(found[2], torch.cat(parts).numpy(), atol=1e-5, rtol=0)


def test_batches_do_not_depend_on_the_layers_asked_for(lengths: Path) -> None:
    loaded, manifest = _model("default", False), read_manifest(lengths)
    several = list(layer_features(loaded, manifest, range(8), [0, 1, 2]))
    one = list(layer_features(loaded, manifest, range(8), [1]))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(several, one))


def test_an_utterance_without_a_frame_is_refused_by_name(corpus: Path, stock_checkpoint: Path, tmp_path: Path) -> None:
    soundfile.write(corpus / "audio" / "train-1.flac", np.zeros(399), 16_000)
    lines = (corpus / "train.tsv").read_text().splitlines()
    lines[2] = "audio/train-1.flac\t399"
    (corpus / "train.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(SoftHubertError, match=r"train-1\.flac: 399 samples, too short .* \(400 samples\).*line 3"):
        dump_hubert(corpus, "train", stock_checkpoint, "all", 1, 0, tmp_path / "out")


def test_an_interrupted_dump_resumes_to_the_same_bytes(
    corpus: Path, stock_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Short windows, so that there are several. Every utterance is committed.
    options: Any = {"batch_seconds": 0.5, "dtype": "float16"}
    monkeypatch.setattr(ShardWriter, "COMMIT_EVERY", 1)
    dump_hubert(corpus, "train", stock_checkpoint, "0-2", 1, 0, tmp_path / "whole", **options)
    add, computed = ShardWriter.add, []

    def stop_after_eight(self: ShardWriter, frames: np.ndarray) -> None:
        computed.append(self.path)
        if len(computed) == 9:  # the third utterance has layers 0 and 1, but not layer 2
            raise KeyboardInterrupt
        add(self, frames)

    monkeypatch.setattr(ShardWriter, "add", stop_after_eight)
    for folder in ("broken", "other"):
        computed.clear()
        with pytest.raises(KeyboardInterrupt):
            dump_hubert(corpus, "train", stock_checkpoint, "0-2", 1, 0, tmp_path / folder, **options)
        assert not list((tmp_path / folder).rglob("train*"))
    dump_hubert(corpus, "train", stock_checkpoint, "0-2", 1, 0, tmp_path / "broken", **options)
    assert len(computed) - 9 == 6  # two of the four utterances, those of the first window, were kept
    dump_hubert(corpus, "train", stock_checkpoint, "0-2", 1, 0, tmp_path / "other", **{**options, "batch_seconds": 0.6})
    assert len(computed) - 15 == 12  # batches of another size are not mixed with those that were kept
    for layer in (0, 1, 2):
        for suffix in ("npy", "len", "json"):
            name = f"layer{layer}/train_0_1.{suffix}"
            assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "broken").rglob(".*"))


def test_a_writer_trusts_the_journal_only_as_far_as_the_frames_go(tmp_path: Path) -> None:
    frames = [np.full((3 + number, 2), number, dtype=np.float32) for number in range(5)]

    def write(utterances: List[np.ndarray], error: bool) -> None:
        writer = ShardWriter(tmp_path, "train", 0, 1, {"kind": "test"}, resume=True)
        writer.COMMIT_EVERY = 1
        try:
            with writer:
                for utterance in utterances[len(writer.lengths) :]:
                    writer.add(utterance)
                if error:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass

    write(frames[:4], error=True)
    partial = tmp_path / ".train_0_1.npy.partial"
    with open(partial, "r+b") as stream:  # as after a power failure: the last utterance is cut
        stream.truncate(partial.stat().st_size - 5)
    with ShardWriter(tmp_path, "train", 0, 1, {"kind": "test"}, resume=True) as writer:
        assert writer.lengths == [3, 4, 5]
        for utterance in frames[3:]:
            writer.add(utterance)
    shard = read_shard(tmp_path, "train", 0, 1)
    np.testing.assert_array_equal(shard.frames, np.concatenate(frames))
    assert shard.lengths.tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("resume", [True, False])
def test_an_interrupted_dump_in_the_place_of_an_older_one_is_not_taken_for_fairseqs(resume: bool, tmp_path: Path) -> None:
    def write(kind: str, error: bool = False) -> None:
        with ShardWriter(tmp_path, "train", 0, 1, {"kind": kind}, resume=resume) as writer:
            for _ in range(2 - len(writer.lengths)):
                writer.add(np.full((30, 2), len(kind), dtype=np.float32))
            if error:
                raise KeyboardInterrupt

    write("old")
    with pytest.raises(KeyboardInterrupt):
        write("another", error=True)
    assert (tmp_path / "train_0_1.npy").exists() and not is_complete(tmp_path, "train", 0, 1, {"kind": "another"})
    with pytest.raises(SoftHubertError, match="was interrupted or is still running.*dump the shard again" if resume else "no such file"):
        read_shard(tmp_path, "train", 0, 1)
    # An earlier version left the lengths. So does an interruption just before the description is written.
    (tmp_path / "train_0_1.len").write_text("30\n30\n")
    if resume:
        with pytest.raises(SoftHubertError, match="was interrupted or is still running"):
            read_shard(tmp_path, "train", 0, 1)
    write("another")
    shard = read_shard(tmp_path, "train", 0, 1)
    assert shard.info == {"kind": "another"} and (shard.frames == 7).all() and not list(tmp_path.glob(".*"))


def test_a_shard_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0, 1, {}, resume=True) as first:
        first.add(np.zeros((2, 2), dtype=np.float32))
        with pytest.raises(SoftHubertError, match="another process"), ShardWriter(tmp_path, "train", 0, 1, {}, resume=True):
            pass


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="--dtype float32"), ShardWriter(tmp_path, "train", 0, 1, {}, dtype="float16") as shard:
        shard.add(np.full((2, 2), 1e6, dtype=np.float32))
    assert not list(tmp_path.iterdir())


def test_a_subset_has_its_own_manifest_which_its_shards_name(corpus: Path, stock_checkpoint: Path, tmp_path: Path) -> None:
    for rank in range(2):
        dump_hubert(corpus, "train", stock_checkpoint, "2", 2, rank, tmp_path / "half", percent=0.5, dtype="float16")
    subset, whole = read_manifest(tmp_path / "half" / "train.tsv"), read_manifest(corpus / "train.tsv")
    assert len(subset) == 2 and set(subset.names) < set(whole.names)
    dump_hubert(corpus, "train", stock_checkpoint, "2", 1, 0, tmp_path / "full")
    full = read_shard(tmp_path / "full", "train", 0, 1)
    for rank in range(2):
        shard = read_shard(tmp_path / "half", "train", rank, 2)
        assert shard.info["manifest_sha256"] == subset.fingerprint and shard.frames.dtype == np.float16
        np.testing.assert_allclose(shard.utterance(0), full.utterance(whole.names.index(subset.names[rank])), atol=2e-3)
    with pytest.raises(SoftHubertError, match="above 0 and up to 1"):
        dump_hubert(corpus, "train", stock_checkpoint, "2", 1, 0, tmp_path / "none", percent=10)


def test_hidden_states_of_a_batch_need_no_common_length(stock_checkpoint: Path) -> None:
    loaded = load_checkpoint(stock_checkpoint)
    waveforms = [torch.randn(samples, generator=torch.Generator().manual_seed(samples)) for samples in (400, 7_200, 7_520)]
    for batched, waveform in zip(hidden_states(loaded.encoder, waveforms, [0, 2]), waveforms):
        [alone] = hidden_states(loaded.encoder, [waveform], [0, 2])
        assert all(torch.allclose(batched[layer], alone[layer], atol=1e-5) for layer in (0, 2))
