"""The linear probe (compared with scikit-learn's), the choice of a layer, and letter alignments."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, List, Optional

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from softhubert_plugin.alignments.utterances import UNLABELLED
from softhubert_plugin.asr.letter_alignment import letter_intervals
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.layers import chosen_layer, resolve_layers
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.manifests import read_manifest, write_manifest
from softhubert_plugin.probing.layer_frames import draw_frames, probing_speakers
from softhubert_plugin.probing.linear import fit_path
from softhubert_plugin.probing.measures import ProbeScore, spoken_phones
from softhubert_plugin.probing.probe import probe_layers

PHONES = ["sil", "AA", "B", "S", "IY"]


def test_probes_of_several_layers_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 3000)
    layers = []
    for noise in (1.0, 3.0):
        mixed = rng.standard_normal((6, 20))[labels] + noise * rng.standard_normal((3000, 20))
        layers.append((mixed @ rng.standard_normal((20, 40)) * np.geomspace(100, 0.01, 40) + 5).astype(np.float32))
    path = fit_path(torch.from_numpy(np.stack(layers)[:, :2000]), torch.from_numpy(labels[:2000]), 6, [1e-1, 1e-2], tolerance=1e-7)
    for probes, l2 in zip(path, [1e-1, 1e-2]):
        for place, features in enumerate(layers):
            mean, scale = features[:2000].mean(0), features[:2000].std(0)
            theirs = LogisticRegression(C=1 / (l2 * 2000), max_iter=2000, tol=1e-8)
            theirs.fit(((features - mean) / scale)[:2000].astype(np.float64), labels[:2000])
            np.testing.assert_allclose(probes.weights[place].numpy() * scale[:, None], theirs.coef_.T, atol=5e-3)
            ours = probes.predict(place, torch.from_numpy(features[2000:])).numpy()
            accuracy = (theirs.predict(((features - mean) / scale)[2000:]) == labels[2000:]).mean()
            assert (ours == labels[2000:]).mean() == pytest.approx(accuracy, abs=0.005)


@pytest.fixture()
def dump(tmp_path: Path) -> Path:
    """Random features of six speakers in two shards, and a frame list. Layer 2 separates the phones, layer 1 partly, layer 3 hardly."""
    rng = np.random.default_rng(3)
    entries, lines = [], []
    centres = rng.standard_normal((5, 8))
    names = [f"{speaker}-{number}" for speaker in ("ann", "bob", "cas", "dan", "eve", "fay") for number in range(3)]
    utterances = []
    for name in names:
        phones = np.repeat(rng.integers(0, 5, 30), 4)
        entries.append((f"{name}.flac", 400 + 320 * (len(phones) - 1)))
        lines.append(f"{name}\t{','.join(PHONES[phone] for phone in phones)}\n")
        utterances.append(phones)
    write_manifest(tmp_path / "train.tsv", tmp_path, entries)
    (tmp_path / "phones.tsv").write_text("".join(lines))
    info = {"kind": "hubert", "frame_rate": 50.0, "manifest_sha256": read_manifest(tmp_path / "train.tsv").fingerprint}
    for layer, noise in ((1, 1.5), (2, 0.4), (3, 6.0)):
        for rank in range(2):
            with ShardWriter(tmp_path / "all" / f"layer{layer}", "train", rank, 2, {**info, "layer": layer}, dtype="float16") as shard:
                for phones in utterances[9 * rank : 9 * (rank + 1)]:
                    shard.add((centres[phones] + noise * rng.standard_normal((len(phones), 8))).astype(np.float32))
    return tmp_path


def _probe(dump: Path, **options: object) -> str:
    arguments = {"clusters": 5, "max_frames": 800, **options}
    return probe_layers(dump / "all", "train", 2, dump / "train.tsv", dump / "phones.tsv", dump / "probe", **arguments)  # type: ignore[arg-type]


def test_the_layer_that_separates_phones_is_chosen_and_recipes_can_read_it(dump: Path) -> None:
    said = _probe(dump)
    assert resolve_layers(f"@{dump}/probe/layers.json") == "2" and "<- chosen" in said
    result = json.loads((dump / "probe" / "layers.json").read_text())
    rows = {row["layer"]: row for row in result["layers"]}
    assert rows[2]["accuracy"]["low"] > rows[1]["accuracy"]["high"] > rows[1]["accuracy"]["low"] > rows[3]["accuracy"]["high"]
    assert rows[2]["pnmi"]["value"] > rows[1]["pnmi"]["value"] > rows[3]["pnmi"]["value"]
    assert rows[2]["phone_error"]["value"] < rows[1]["phone_error"]["value"]
    assert rows[1]["accuracy"]["value"] > rows[1]["majority"]
    assert not set(result["speakers"]["test"]) & {*result["speakers"]["train"], *result["speakers"]["valid"]}
    confusion = np.asarray(json.loads((dump / "probe" / "confusion.json").read_text())["spoken_by_found"]["2"])
    assert confusion.trace() / confusion.sum() == pytest.approx(rows[2]["accuracy"]["value"])
    assert confusion.sum() == rows[2]["frames"] == 3 * 120
    assert (dump / "probe" / "layers.svg").read_text().count("<svg") == 1
    again = (dump / "probe" / "layers.json").read_bytes()
    _probe(dump)
    assert (dump / "probe" / "layers.json").read_bytes() == again


def test_probing_refuses_features_of_another_manifest_and_too_few_speakers(dump: Path) -> None:
    lines = (dump / "train.tsv").read_text().splitlines()
    (dump / "train.tsv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SoftHubertError, match="another manifest"):
        _probe(dump)
    with pytest.raises(SoftHubertError, match="2 speakers .* at least 3"):
        probing_speakers(["ann", "bob", "ann"], 0)
    with pytest.raises(SoftHubertError, match=r"no layer\{N\}/train_0_2.npy"):
        probe_layers(dump, "train", 2, dump / "train.tsv", dump / "phones.tsv", dump / "probe")


@pytest.mark.parametrize(
    ("info", "dimension", "shorter", "complaint"),
    [
        ({"checkpoint_sha256": "b"}, 8, 0, "features of another model than .*layer1 .*'a'"),
        ({}, 7, 0, r"features of another model than .*layer1 \(dimension 7 and 8"),
        ({"frame_rate": 100.0}, 8, 0, "features of another model than"),
        ({}, 8, 4, "utterances of other lengths than in .*layer1"),
        (None, 8, 4, "utterances of other lengths than in .*layer1"),
        (None, 9, 0, "features of another model than"),
    ],
)
def test_layers_that_do_not_belong_together_are_refused_by_folder(
    info: Optional[Dict[str, object]], dimension: int, shorter: int, complaint: str, dump: Path
) -> None:
    common = {"kind": "hubert", "frame_rate": 50.0, "manifest_sha256": read_manifest(dump / "train.tsv").fingerprint}

    def layer(number: int, info: Optional[Dict[str, object]], dimension: int = 8, shorter: int = 0, dtype: str = "float16") -> None:
        for rank in range(2):
            described = {} if info is None else {**common, "checkpoint_sha256": "a", "layer": number, "dtype": dtype, **info}
            with ShardWriter(dump / "all" / f"layer{number}", "train", rank, 2, described, dtype=dtype) as shard:
                for _ in range(9):
                    shard.add(np.ones((120 - shorter, dimension), dtype=np.float32))

    layer(1, {})
    layer(2, {}, dtype="float32")
    layer(3, None)
    assert _probe(dump, clusters=0)
    layer(3, info, dimension, shorter)
    with pytest.raises(SoftHubertError, match=rf"layer3: {complaint}.*dump all layers in one run"):
        _probe(dump)


def test_frames_are_drawn_one_utterance_at_a_time_and_are_those_of_a_draw_from_all() -> None:
    rng = np.random.default_rng(5)
    phones = [rng.integers(-1, 4, length) for length in (7, 1, 30, 12, 400)]
    phones[3][:] = UNLABELLED
    source = SimpleNamespace(length=lambda index: len(phones[index]), rate=50.0)
    aligned = SimpleNamespace(has=lambda index: index != 1, frames=lambda index, length, rate: phones[index])
    everything = [(index, frame) for index in (0, 2, 3, 4) for frame in np.flatnonzero(phones[index] != UNLABELLED)]
    for maximum in (1, 9, 100, len(everything), 10_000):
        draw = np.random.default_rng(1)
        wanted = np.sort(draw.choice(len(everything), maximum, replace=False)) if maximum < len(everything) else range(len(everything))
        found = draw_frames(source, aligned, range(5), maximum, np.random.default_rng(1))  # type: ignore[arg-type]
        assert list(zip(found.utterances, found.frames)) == [everything[place] for place in wanted]
        assert found.phones.tolist() == [phones[index][frame] for index, frame in zip(found.utterances, found.frames)]
    nothing = draw_frames(source, aligned, [1, 3], 5, draw)  # type: ignore[arg-type]
    assert [part.shape for part in nothing] == [(0,)] * 3


def test_a_choice_that_names_no_layer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layers.json").write_text("{}")
    with pytest.raises(SoftHubertError, match="names no layer"):
        chosen_layer(tmp_path / "layers.json")
    with pytest.raises(SoftHubertError, match="no such file; write it with 'softhubert probe'"):
        chosen_layer(tmp_path / "nowhere.json")


def test_phone_errors_are_counted_after_collapsing() -> None:
    assert spoken_phones(np.array([0, 0, 1, 1, 2, 0, 2, UNLABELLED, 1]), silence=0) == [1, 2, 2, 1]
    score = ProbeScore(3, 0)
    score.add("ann", np.array([0, 1, 1, 2, 2, UNLABELLED]), np.array([0, 1, 2, 2, 2, 1]))
    score.add("bob", np.array([1, 1, 1]), np.array([1, 2, 1]))
    summary = score.summary()
    assert summary["accuracy"]["value"] == pytest.approx(6 / 8) and summary["frames"] == 8
    assert summary["speech_accuracy"]["value"] == pytest.approx(5 / 7)  # one frame of silence is left out
    assert summary["phone_error"]["value"] == pytest.approx(2 / 3)  # one utterance right; the other has two insertions
    assert summary["intervals_over"] == "utterances"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([0, 5, 0, 0, 7, 7, 0], [(0.0, 0.5, None), (0.5, 1.5, 5), (1.5, 3.0, 7), (3.0, 4.0, None)]),
        ([5, 0, 5], [(0.0, 0.75, 5), (0.75, 1.5, 5), (1.5, 4.0, None)]),
        ([0, 0], [(0.0, 4.0, None)]),
    ],
)
def test_blanks_are_divided_between_the_letters_around_them(path: List[int], expected: object) -> None:
    assert letter_intervals(path, blank=0, frame_seconds=0.5, seconds=4.0) == expected
