"""Label files, soft and hard: written, read back, merged, pooled, verified and converted; bad ones are refused."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
import pytest

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.convert import convert_labels
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.inspect import describe_labels, draw_entropies, labels_text
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_layout import PROBABILITY_UNIT, SoftLabelInfo, StoredTargets, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.labels.verify import verify_file, verify_labels
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary, write_manifest

INFO = SoftLabelInfo(
    n_components=300,
    label_rate=100.0,
    split="train",
    mass=0.999,
    max_components=16,
    temperature=2.0,
    mixture_sha256="m" * 64,
    manifest_sha256="",
    frames=0,
    perplexity_before=4.0,
    perplexity=3.9,
    entropy_before=1.3,
    entropy=1.2,
    entropy_histogram=[0] * 60,
)


def random_targets(rng: np.random.Generator, frames: int, components: int = 300) -> FrameTargets:
    """Random sparse distributions, dense enough that frames share components."""
    counts = rng.integers(1, 6, frames)
    ids = np.concatenate([rng.choice(components, count, replace=False) for count in counts])
    probabilities = np.concatenate([rng.dirichlet(np.ones(count)) for count in counts]).astype(np.float32)
    return FrameTargets(counts, ids, probabilities)


def dense(targets: FrameTargets, components: int = 300) -> np.ndarray:
    """The same distributions as a ``(frames, components)`` matrix."""
    matrix = np.zeros((len(targets), components))
    np.add.at(matrix, (targets.frame_of_entry, targets.components), targets.probabilities)
    return matrix


def write(path: Path, utterances: List[FrameTargets], **changes: object) -> None:
    """Write soft labels described by ``INFO`` with ``changes``."""
    info = replace(INFO, frames=sum(map(len, utterances)), **changes)  # type: ignore[arg-type]
    write_soft_labels(path, map(quantised, utterances), info)


@pytest.fixture()
def utterances() -> List[FrameTargets]:
    """Targets of three utterances, of 7, 1 and 12 frames."""
    rng = np.random.default_rng(0)
    return [random_targets(rng, frames) for frames in (7, 1, 12)]


def test_soft_labels_read_back_to_within_their_precision(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    write(tmp_path / "train.gmm", utterances)
    labels = open_soft_labels(tmp_path / "train.gmm")
    assert len(labels) == 3 and labels.lengths.tolist() == [7, 1, 12] and labels.n_components == 300
    for index, targets in enumerate(utterances):
        read = labels.utterance(index)
        np.testing.assert_allclose(dense(read), dense(targets), atol=6 / PROBABILITY_UNIT)
        np.testing.assert_allclose(dense(read).sum(1), 1, rtol=1e-6)


def test_open_labels_travel_to_a_data_loading_worker(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    write(tmp_path / "train.gmm", utterances)
    labels = open_soft_labels(tmp_path / "train.gmm")
    labels.utterance(0)
    sent = pickle.loads(pickle.dumps(labels))
    np.testing.assert_array_equal(sent.utterance(2).components, labels.utterance(2).components)


def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    path = tmp_path / "train.gmm"
    write(path, utterances)
    original = path.read_bytes()
    before = [dense(open_soft_labels(path).utterance(index)) for index in range(3)]
    start = 8 + int.from_bytes(original[:8], "little")
    refused = 0
    for position in range(start, len(original), 3):
        path.write_bytes(original[:position] + bytes([original[position] ^ 0x10]) + original[position + 1 :])
        try:
            labels = open_soft_labels(path)
            after = [dense(labels.utterance(index)) for index in range(3)]
        except SoftHubertError:
            refused += 1
            continue
        for one, other in zip(before, after):
            np.testing.assert_array_equal(one, other)
    assert refused > 100


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, utterances: List[FrameTargets], keep: int) -> None:
    path = tmp_path / "train.gmm"
    write(path, utterances)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SoftHubertError, match="train.gmm"):
        open_soft_labels(path)


def test_shards_merge_into_the_bytes_of_one_file(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    write(tmp_path / "train_0_2.gmm", utterances[:2])
    write(tmp_path / "train_1_2.gmm", utterances[2:])
    merge_labels(tmp_path, "train", 2)
    write(tmp_path / "whole.gmm", utterances)
    merged, whole = open_soft_labels(tmp_path / "train.gmm"), open_soft_labels(tmp_path / "whole.gmm")
    for index in range(3):
        for one, other in zip(merged.stored(index), whole.stored(index)):
            np.testing.assert_array_equal(one, other)
    assert describe_labels(tmp_path / "train.gmm")["frames"] == 20


def test_shards_of_different_mixtures_are_not_merged(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    write(tmp_path / "train_0_2.gmm", utterances[:2])
    write(tmp_path / "train_1_2.gmm", utterances[2:], mixture_sha256="n" * 64)
    with pytest.raises(SoftHubertError, match="mixture_sha256"):
        merge_labels(tmp_path, "train", 2)


def test_pooling_averages_the_distributions_of_neighbouring_frames(utterances: List[FrameTargets]) -> None:
    for targets in utterances:
        matrix = dense(targets)
        pairs = [matrix[start : start + 2].mean(0) for start in range(0, len(matrix), 2)]
        np.testing.assert_allclose(dense(targets.pooled(2, "mean")), pairs, atol=1e-6)
        np.testing.assert_array_equal(dense(targets.pooled(2, "pick")), matrix[::2])


def test_pooled_entries_name_each_component_once(utterances: List[FrameTargets]) -> None:
    pooled = utterances[2].pooled(2, "mean")
    keys = list(zip(pooled.frame_of_entry.tolist(), pooled.components.tolist()))
    assert len(keys) == len(set(keys))


def test_slices_and_padding_keep_every_frame_in_its_place(utterances: List[FrameTargets]) -> None:
    targets = utterances[2]
    np.testing.assert_array_equal(dense(targets.sliced(3, 9)), dense(targets)[3:9])
    components, probabilities = targets.padded(15, 8)
    matrix = np.zeros((15, 300))
    np.add.at(matrix, (np.arange(15)[:, None], components), probabilities)
    np.testing.assert_allclose(matrix[:12], dense(targets))
    assert not matrix[12:].any()


def _km(folder: Path, text: str, clusters: int = 4) -> HardLabels:
    (folder / "train.km").write_text(text)
    write_cluster_dictionary(folder, "km", clusters)
    return HardLabels(folder / "train.km", folder / "dict.km.txt")


def test_hard_labels_are_one_component_per_frame(tmp_path: Path) -> None:
    labels = _km(tmp_path, "0 1 3\n2 2\n")
    assert labels.lengths.tolist() == [3, 2]
    assert labels.utterance(1).components.tolist() == [2, 2]
    assert labels.utterance(0).probabilities.tolist() == [1, 1, 1]


def test_the_order_of_the_dictionary_gives_the_component_ids(tmp_path: Path) -> None:
    (tmp_path / "train.km").write_text("7 3\n")
    (tmp_path / "dict.km.txt").write_text("3 10\n7 5\n")
    assert HardLabels(tmp_path / "train.km", tmp_path / "dict.km.txt").utterance(0).components.tolist() == [1, 0]


@pytest.mark.parametrize(("text", "complaint"), [("", "empty"), ("0 1\n\n", "no labels"), ("0 a\n", "line 1"), ("0 1\n1 4\n", "line 2")])
def test_hard_labels_that_are_empty_or_unknown_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SoftHubertError, match=complaint):
        _km(tmp_path, text)


def test_labels_that_do_not_fit_the_manifest_are_refused(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a", 7 * 160 + 240), ("b", 400), ("c", 12 * 160 + 240)])
    manifest = read_manifest(tmp_path / "train.tsv")
    write(tmp_path / "train.gmm", utterances, manifest_sha256=manifest.fingerprint)
    verify_labels(open_soft_labels(tmp_path / "train.gmm"), manifest, 100.0)
    assert "3 utterances, 20 frames" in verify_file(tmp_path / "train.gmm", tmp_path / "train.tsv")
    with pytest.raises(SoftHubertError, match=r"labels at 100 Hz, but task.label_rate is 50"):
        verify_labels(open_soft_labels(tmp_path / "train.gmm"), manifest, 50.0)
    write(tmp_path / "train.gmm", utterances[:2])
    with pytest.raises(SoftHubertError, match="labels of 2 utterances, but .* lists 3"):
        verify_labels(open_soft_labels(tmp_path / "train.gmm"), manifest, 100.0)
    write(tmp_path / "train.gmm", utterances, manifest_sha256="f" * 64)
    with pytest.raises(SoftHubertError, match="made for another manifest"):
        verify_labels(open_soft_labels(tmp_path / "train.gmm"), manifest, 100.0)


def test_labels_at_a_wrong_rate_are_refused_where_fairseq_only_warns(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a", 16_000), ("b", 32_000)])
    labels = _km(tmp_path, " ".join(["1"] * 98) + "\n" + " ".join(["2"] * 198) + "\n")
    verify_labels(labels, read_manifest(tmp_path / "train.tsv"), 100.0)
    with pytest.raises(SoftHubertError, match=r"utterance 0 \(a\) has 98 labels, 1.96 s at 50 Hz, but 1.00 s of audio \(2 such"):
        verify_labels(labels, read_manifest(tmp_path / "train.tsv"), 50.0)


def test_dumped_labels_are_the_mixtures_posteriors_and_a_rerun_skips_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    features = [rng.standard_normal((frames, 4)).astype(np.float32) for frames in (30, 50)]
    with ShardWriter(tmp_path, "train", 0, 1, {"kind": "mfcc", "frame_rate": 100.0, "manifest_sha256": "x"}) as shard:
        for frames in features:
            shard.add(frames)
    learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(6, perplexity=2.0))
    dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path / "lab", mass=1.0)
    merge_labels(tmp_path / "lab", "train", 1)
    labels = open_labels(tmp_path / "lab", "train", "gmm")
    mixture = GaussianMixture.load(tmp_path / "gmm")
    import torch

    for index, frames in enumerate(features):
        expected = mixture.predict_proba(torch.from_numpy(frames)).numpy()
        np.testing.assert_allclose(dense(labels.utterance(index), 6), expected, atol=6 / PROBABILITY_UNIT)
    first = (tmp_path / "lab/train_0_1.gmm").read_bytes()
    assert "already there" in dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path / "lab", mass=1.0)
    (tmp_path / "lab/train_0_1.gmm").unlink()
    dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path / "lab", mass=1.0)
    assert (tmp_path / "lab/train_0_1.gmm").read_bytes() == first


def test_features_without_description_need_a_label_rate(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    np.save(tmp_path / "train_0_1.npy", frames)
    (tmp_path / "train_0_1.len").write_text("15\n25\n")
    learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(3, perplexity=1.5))
    with pytest.raises(SoftHubertError, match="--label-rate"):
        dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path)
    dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path, label_rate=50.0)
    assert open_soft_labels(tmp_path / "train_0_1.gmm").info.label_rate == 50.0


def test_features_without_description_that_changed_are_labelled_again(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)

    def dump(frames: np.ndarray, lengths: str, seconds: int) -> str:
        np.save(tmp_path / "train_0_1.npy", frames)
        (tmp_path / "train_0_1.len").write_text(lengths)
        os.utime(tmp_path / "train_0_1.npy", (seconds, seconds))
        if not (tmp_path / "gmm").exists():
            learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(3, perplexity=1.5))
        return dump_gmm_posteriors(tmp_path, "train", tmp_path / "gmm", 1, 0, tmp_path, label_rate=50.0)

    assert "2 utterances" in dump(frames, "15\n25\n", 1)
    labelled = open_soft_labels(tmp_path / "train_0_1.gmm").path.stat().st_mtime
    assert "already there" in dump(frames, "15\n25\n", 1)
    assert "2 utterances" in dump(-frames, "15\n25\n", int(labelled) + 10)
    os.utime(tmp_path / "train_0_1.gmm", (labelled + 20, labelled + 20))
    assert "already there" in dump(-frames, "15\n25\n", int(labelled) + 10)
    assert "2 utterances" in dump(-frames, "25\n15\n", 1)
    assert open_soft_labels(tmp_path / "train_0_1.gmm").lengths.tolist() == [25, 15]


@pytest.mark.parametrize("damage", ["length", "dimension", "empty"])
def test_shards_whose_parts_disagree_are_refused(tmp_path: Path, damage: str) -> None:
    np.save(tmp_path / "train_0_1.npy", np.zeros((40, 3) if damage != "dimension" else (40,), dtype=np.float32))
    (tmp_path / "train_0_1.len").write_text({"length": "15\n24\n", "dimension": "15\n25\n", "empty": ""}[damage])
    with pytest.raises(SoftHubertError, match="train_0_1"):
        learn_gmm(tmp_path, "train", 1, tmp_path / "gmm", GmmOptions(3))


def test_writing_holds_one_utterance_at_a_time(tmp_path: Path) -> None:
    """The generated labels are far larger than the memory that may be used."""
    counts = np.full(100_000, 4, dtype=np.uint8)
    entries = np.arange(400_000, dtype=np.uint16) % 300

    def stream() -> Iterator[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for _ in range(20):
            yield counts, entries, np.full(400_000, 16_384, dtype=np.uint16)

    tracemalloc.start()
    write_soft_labels(tmp_path / "train.gmm", stream(), replace(INFO, frames=2_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "train.gmm").stat().st_size
    assert size > 30e6 and peak < size / 3
    assert [path.name for path in tmp_path.iterdir()] == ["train.gmm"]


def test_scratch_files_have_no_name_that_could_outlive_a_killed_process(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    def watched() -> Iterator[StoredTargets]:
        yield from map(quantised, utterances[:2])
        [unfinished] = tmp_path.iterdir()
        assert unfinished.is_file() and unfinished.stat().st_size == 0
        yield from map(quantised, utterances[2:])

    write_soft_labels(tmp_path / "train.gmm", watched(), replace(INFO, frames=20))
    assert [path.name for path in tmp_path.iterdir()] == ["train.gmm"]


def test_the_metadata_may_be_known_only_at_the_end(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    seen = []

    def stream() -> Iterator[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for targets in utterances:
            seen.append(len(targets))
            yield quantised(targets)

    write_soft_labels(tmp_path / "late.gmm", stream(), lambda: replace(INFO, frames=sum(seen)))
    write(tmp_path / "early.gmm", utterances)
    assert (tmp_path / "late.gmm").read_bytes() == (tmp_path / "early.gmm").read_bytes()


def test_the_file_is_safetensors_to_the_library_itself(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    from safetensors.numpy import load_file

    write(tmp_path / "train.gmm", utterances)
    tensors = load_file(tmp_path / "train.gmm")
    assert tensors["utterance_frames"].tolist() == [0, 7, 8, 20]
    stored = [quantised(targets) for targets in utterances]
    for position, name in enumerate(("frame_counts", "components", "probabilities")):
        np.testing.assert_array_equal(tensors[name], np.concatenate([parts[position] for parts in stored]))


def test_invalid_labels_are_not_written(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    good = [quantised(targets) for targets in utterances]
    empty_frame = (np.array([1, 0], dtype=np.uint8), np.zeros(1, dtype=np.uint16), np.ones(1, dtype=np.uint16))
    for stream, frames in (([], 0), (good, 19), ([empty_frame], 2)):
        with pytest.raises(SoftHubertError, match="train.gmm"):
            write_soft_labels(tmp_path / "train.gmm", stream, replace(INFO, frames=frames))
    assert not list(tmp_path.iterdir())


def test_a_component_named_twice_is_found_by_verify(tmp_path: Path) -> None:
    twice = (np.array([2], dtype=np.uint8), np.array([5, 5], dtype=np.uint16), np.array([1, 1], dtype=np.uint16))
    write_soft_labels(tmp_path / "train.gmm", [twice], replace(INFO, frames=1))
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a", 400)])
    with pytest.raises(SoftHubertError, match="twice in one frame"):
        verify_file(tmp_path / "train.gmm", tmp_path / "train.tsv")


def test_hard_labels_in_the_place_of_soft_ones_are_called_hard(tmp_path: Path) -> None:
    (tmp_path / "train.km").write_text("12 7 7 3 12 0\n5 5 5 1\n")
    with pytest.raises(SoftHubertError, match="train.km: hard labels .text., expected soft ones"):
        describe_labels(tmp_path / "train.km")


def test_a_folder_in_the_place_of_labels_is_refused(tmp_path: Path) -> None:
    for read in (describe_labels, open_soft_labels):
        with pytest.raises(SoftHubertError, match="cannot be read .Is a directory.; give a label file"):
            read(tmp_path)


def test_the_printed_inspection_agrees_with_the_one_for_programs(tmp_path: Path, utterances: List[FrameTargets]) -> None:
    write(tmp_path / "train.gmm", utterances, entropy_histogram=[15] + [0] * 58 + [5])
    description = describe_labels(tmp_path / "train.gmm")
    text = labels_text(description)
    assert "mean perplexity   3.900 (4.000 before truncation)" in text and "20 at 100 Hz" in text
    bars = text.split("frames\n")[-1].splitlines()
    assert len(bars) == 15 and "75.0 %  " + "#" * 40 in bars[0] and "25.0 %" in bars[-1]
    draw_entropies(description, tmp_path / "entropy.png")
    assert (tmp_path / "entropy.png").read_bytes().startswith(b"\x89PNG")


def test_dense_posteriors_become_labels_and_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.full(30, 0.1), 50)
    np.save(tmp_path / "train.npy", posteriors.astype(np.float32))
    (tmp_path / "train.len").write_text("20\n30\n")
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a", 6_640), ("b", 9_840)])
    convert_labels(
        tmp_path / "train.npy", tmp_path / "train.gmm", label_rate=50.0, manifest=tmp_path / "train.tsv", mass=1, max_components=30
    )
    assert "fit" in verify_file(tmp_path / "train.gmm", tmp_path / "train.tsv")
    convert_labels(tmp_path / "train.gmm", tmp_path / "back.npy")
    np.testing.assert_allclose(np.load(tmp_path / "back.npy"), posteriors, atol=31 / PROBABILITY_UNIT)
    assert (tmp_path / "back.len").read_text() == "20\n30\n"
    entropy = -(posteriors * np.log(posteriors.clip(1e-300))).sum(-1)
    assert describe_labels(tmp_path / "train.gmm")["perplexity"] == pytest.approx(np.exp(entropy).mean(), rel=1e-3)


def test_truncated_dense_posteriors_keep_the_largest_entries(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.array([[0.1, 0.6, 0.0, 0.3]]))
    (tmp_path / "train.len").write_text("1\n")
    convert_labels(tmp_path / "train.npy", tmp_path / "train.gmm", label_rate=50.0, mass=0.8)
    targets = open_soft_labels(tmp_path / "train.gmm").utterance(0)
    assert targets.components.tolist() == [1, 3]
    np.testing.assert_allclose(targets.probabilities, [2 / 3, 1 / 3], rtol=1e-4)


def test_hard_labels_survive_conversion_to_soft_and_back(tmp_path: Path) -> None:
    _km(tmp_path, "0 1 3\n2 2\n")
    convert_labels(tmp_path / "train.km", tmp_path / "train.gmm", label_rate=50.0)
    convert_labels(tmp_path / "train.gmm", tmp_path / "back.km")
    assert (tmp_path / "back.km").read_text() == "0 1 3\n2 2\n"


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[1.5, -0.5]], [[np.nan, 1.0]], [0.5, 0.5]])
def test_rows_that_are_not_distributions_are_not_converted(tmp_path: Path, rows: List[List[float]]) -> None:
    np.save(tmp_path / "train.npy", np.array(rows))
    (tmp_path / "train.len").write_text("1\n")
    with pytest.raises(SoftHubertError, match="train.npy"):
        convert_labels(tmp_path / "train.npy", tmp_path / "train.gmm", label_rate=50.0)
    assert not (tmp_path / "train.gmm").exists()


def test_conversions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for source, dest, rate, complaint in (
        ("a.gmm", "b.gmm", 50.0, "one of the two"),
        ("a.npy", "b.gmm", None, "--label-rate"),
        ("a.npy", "b.gmm", 50.0, "no such file"),
        ("a.gmm", "b.npy", None, "no such soft labels"),
    ):
        with pytest.raises(SoftHubertError, match=complaint):
            convert_labels(tmp_path / source, tmp_path / dest, label_rate=rate)
