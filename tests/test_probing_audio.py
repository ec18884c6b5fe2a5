"""Probing straight from audio: the numbers of probing feature shards, and nothing of the layers on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Set

import numpy as np
import pytest
import soundfile
import torch

from softhubert_plugin.checkpoints.load import load_checkpoint
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features import layer_stream
from softhubert_plugin.features.hubert import dump_hubert
from softhubert_plugin.features.mfcc import dump_mfcc
from softhubert_plugin.manifests import read_manifest, write_manifest
from softhubert_plugin.probing.probe import probe_layers

PHONES = ["sil", "AA", "B", "S", "IY"]
OPTIONS: Dict[str, Any] = {"clusters": 4, "max_frames": 300, "device": "cpu"}


@pytest.fixture()
def spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five speakers, in turn, with five utterances each; a phone is noise of its own loudness and pitch. Windows hold few utterances."""
    monkeypatch.setattr(layer_stream, "BATCHES_A_WINDOW", 1)
    monkeypatch.setattr(layer_stream.layer_features_of, "__kwdefaults__", {"device": None, "batch_seconds": 3.0, "wanted": None})
    monkeypatch.setattr(layer_stream.layer_features, "__kwdefaults__", {"device": None, "batch_seconds": 3.0})
    rng = np.random.default_rng(0)
    entries, lines = [], []
    for number in range(25):
        name = f"{'abcde'[number % 5]}-{number}"
        phones = np.repeat(rng.integers(0, 5, 8), 6)
        samples = 400 + 320 * (len(phones) - 1)
        time = np.arange(samples)
        phone = phones[np.minimum(time // 320, len(phones) - 1)]
        sound = 0.1 * phone * np.sin(time * (0.05 + 0.3 * phone)) + 0.02 * rng.standard_normal(samples)
        soundfile.write(tmp_path / f"{name}.flac", sound, 16_000)
        entries.append((f"{name}.flac", samples))
        lines.append(f"{name}\t{','.join(PHONES[one] for one in phones)}\n")
    write_manifest(tmp_path / "train.tsv", tmp_path, entries)
    (tmp_path / "phones.tsv").write_text("".join(lines))
    return tmp_path


def _results(folder: Path) -> Dict[str, Any]:
    result = json.loads((folder / "layers.json").read_text())
    result.pop("features")
    result["confusion"] = json.loads((folder / "confusion.json").read_text())
    return result


def _files(folder: Path) -> Set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_probing_audio_gives_the_numbers_of_probing_shards_and_writes_no_layers(spoken: Path, stock_checkpoint: Path) -> None:
    dump_hubert(spoken, "train", stock_checkpoint, "all", 1, 0, spoken / "all", device="cpu", batch_seconds=3.0)
    dump_mfcc(spoken, "train", 1, 0, spoken / "mfcc")
    alignments = spoken / "phones.tsv"
    probe_layers(spoken / "all", "train", 1, spoken / "train.tsv", alignments, spoken / "a", mfcc_dir=spoken / "mfcc", **OPTIONS)
    before = _files(spoken)
    probe_layers(spoken, "train", 1, None, alignments, spoken / "b", checkpoint=stock_checkpoint, mfcc_dir="audio", **OPTIONS)
    assert _results(spoken / "a") == _results(spoken / "b")
    assert _files(spoken) - before == {"b/layers.json", "b/layers.svg", "b/confusion.json"}
    rows = _results(spoken / "b")["layers"]
    assert [row["layer"] for row in rows] == [1, 2] and all(row["accuracy"]["value"] > row["majority"] for row in rows)


def test_a_share_of_audio_is_probed_as_shards_of_that_share(spoken: Path, stock_checkpoint: Path) -> None:
    dump_hubert(spoken, "train", stock_checkpoint, "0-2", 1, 0, spoken / "all", device="cpu", percent=0.8, batch_seconds=3.0)
    listed = spoken / "all" / "train.tsv"
    # The alignments of the share are a part of all alignments.
    probe_layers(spoken / "all", "train", 1, listed, spoken / "phones.tsv", spoken / "a", **OPTIONS)
    words = ["probe", spoken, "train", 1, "--checkpoint", stock_checkpoint, "--percent", 0.8, "--layers", "0-2", "--alignments"]
    words += [spoken / "phones.tsv", "--dest", spoken / "b", "--clusters", 4, "--max-frames", 300, "--device", "cpu"]
    assert main(list(map(str, words))) == 0
    assert _results(spoken / "a") == _results(spoken / "b")
    assert (spoken / "b" / "train.tsv").read_bytes() == listed.read_bytes()


def test_every_utterance_is_run_once_where_speakers_are_together(
    spoken: Path, stock_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(spoken / "train.tsv")
    order = np.argsort([name[0] for name in manifest.names], kind="stable")
    write_manifest(spoken / "train.tsv", spoken, ((manifest.names[index], int(manifest.sizes[index])) for index in order))
    monkeypatch.setattr(layer_stream.layer_features_of, "__kwdefaults__", {"device": None, "batch_seconds": 1.0, "wanted": None})
    run = []
    whole = layer_stream.hidden_states

    def counted(encoder: Any, waveforms: Any, layers: Any) -> Any:
        run.append(len(waveforms))
        return whole(encoder, waveforms, layers)

    monkeypatch.setattr(layer_stream, "hidden_states", counted)
    probe_layers(spoken, "train", 1, None, spoken / "phones.tsv", spoken / "b", checkpoint=stock_checkpoint, **OPTIONS)
    assert sum(run) == len(manifest)


def test_wanted_utterances_have_the_values_that_they_have_among_all(spoken: Path, stock_checkpoint: Path) -> None:
    loaded, manifest = load_checkpoint(stock_checkpoint), read_manifest(spoken / "train.tsv")
    everything = list(layer_stream.layer_features(loaded, manifest, range(25), [1, 2], device="cpu"))
    found = list(layer_stream.layer_features_of(loaded, manifest, range(25), [1, 2], device="cpu", wanted={3, 11, 12}))
    assert [index for index, _ in found] == [3, 11, 12]
    for index, states in found:
        for layer in (1, 2):
            np.testing.assert_array_equal(states[layer], everything[index][layer])


def test_readers_without_alignments_are_left_out_on_request(
    spoken: Path, stock_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (spoken / "phones.tsv").read_text().splitlines(keepends=True)
    (spoken / "phones.tsv").write_text("".join(line for line in lines if line[0] in "abd"))
    words = ["probe", spoken, "train", 1, "--checkpoint", stock_checkpoint, "--alignments", spoken / "phones.tsv", "--dest", spoken / "b"]
    command = [str(word) for word in (*words, "--clusters", 4, "--max-frames", 300, "--device", "cpu")]
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "no alignment of 10 of the 25 utterances" in capsys.readouterr().err
    assert main([*command, "--partial-alignments"]) == 0
    result = _results(spoken / "b")
    assert sorted(name for names in result["speakers"].values() for name in names) == ["a", "b", "d"]
    assert all(len(names) == 1 for names in result["speakers"].values()) and result["without_alignment"] == 10
    (spoken / "phones.tsv").write_text(lines[0].replace(lines[0].split("\t")[0], "stranger"))
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--partial-alignments"])
    assert "no alignment of 25 of the 25 utterances" in capsys.readouterr().err


def test_options_that_do_not_go_together_are_refused(spoken: Path, stock_checkpoint: Path) -> None:
    with pytest.raises(SoftHubertError, match="--manifest is missing"):
        probe_layers(spoken, "train", 1, None, spoken / "phones.tsv", spoken / "b")
    with pytest.raises(SoftHubertError, match="--percent and --layers go with --checkpoint"):
        probe_layers(spoken, "train", 1, spoken / "train.tsv", spoken / "phones.tsv", spoken / "b", percent=0.5)
    with pytest.raises(SoftHubertError, match="NSHARD 2: .* give 1"):
        probe_layers(spoken, "train", 2, None, spoken / "phones.tsv", spoken / "b", checkpoint=stock_checkpoint)
    with pytest.raises(SoftHubertError, match="layer 9"):
        probe_layers(spoken, "train", 1, None, spoken / "phones.tsv", spoken / "b", checkpoint=stock_checkpoint, layers="9")


def test_a_model_that_gives_nan_is_refused_by_the_name_of_the_file(
    spoken: Path, stock_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = layer_stream.hidden_states

    def broken(encoder: Any, waveforms: Any, layers: Any) -> Any:
        return [{layer: torch.full_like(frames, np.nan) for layer, frames in of.items()} for of in whole(encoder, waveforms, layers)]

    monkeypatch.setattr(layer_stream, "hidden_states", broken)
    with pytest.raises(SoftHubertError, match=r"\.flac: gives NaN or infinite features"):
        probe_layers(spoken, "train", 1, None, spoken / "phones.tsv", spoken / "b", checkpoint=stock_checkpoint, **OPTIONS)
