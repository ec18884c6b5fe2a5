"""Packed labels: the same distributions to within a step, in far fewer bytes, and read in the same way."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from test_labels import INFO, dense, random_targets, write

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.pack import neighbours_in, pack_labels
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_codec import pack, probabilities_of, ranks_of, stepped, unpack
from softhubert_plugin.labels.targets import FrameTargets

STEP = 0.02


def _clustered(rng: np.random.Generator, frames: int, components: int = 300, entries: int = 14) -> FrameTargets:
    """Targets like real posteriors: a most probable component, with falling probabilities around it."""
    best = rng.integers(0, components, frames)
    scores = -0.7 * np.arange(entries) + rng.normal(0, 0.5, (frames, entries))
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    offsets = np.argsort(np.arange(40) + rng.normal(0, 5, (frames, 40)), axis=1)[:, :entries]
    ids = (best[:, None] + offsets) % components
    return FrameTargets(np.full(frames, entries), ids.reshape(-1), probabilities.reshape(-1).astype(np.float32))


@pytest.mark.parametrize("components", [2, 20, 300, 700])
def test_what_was_packed_comes_back(components: int) -> None:
    rng = np.random.default_rng(components)
    others = (rng.permutation(np.delete(np.arange(components), row)) for row in range(components))
    neighbours = np.stack([np.r_[row, rest] for row, rest in enumerate(others)]).astype(np.uint16)
    for frames in (1, 2, 57):
        counts = rng.integers(1, min(components, 255) + 1, frames)
        ids = np.concatenate([rng.choice(components, count, replace=False) for count in counts])
        levels = rng.integers(1, 256, len(ids)).astype(np.uint8)
        found = unpack(pack((counts.astype(np.uint8), ids.astype(np.uint16), levels), ranks_of(neighbours)), frames, neighbours)
        assert np.array_equal(found[0], counts)
        frame = np.repeat(np.arange(frames), counts)
        one, other = (sorted(zip(frame.tolist(), part[1].tolist(), part[2].tolist())) for part in (found, (counts, ids, levels)))
        assert one == other


def test_square_roots_of_probabilities_are_right_to_within_a_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    utterances = [_clustered(rng, frames) for frames in (50, 1, 200)]
    write(tmp_path / "plain.gmm", utterances)
    report = pack_labels(tmp_path / "plain.gmm", tmp_path / "packed.gmm", step=STEP)
    plain, packed = open_soft_labels(tmp_path / "plain.gmm"), open_soft_labels(tmp_path / "packed.gmm")
    assert packed.info.step == STEP
    assert f"{packed.bytes_per_frame:.2f} bytes per frame" in report
    for index in range(len(utterances)):
        found = packed.utterance(index)
        assert np.allclose(np.add.reduceat(found.probabilities, np.cumsum(found.counts) - found.counts), 1, atol=1e-6)
        difference = np.sqrt(dense(found)) - np.sqrt(dense(plain.utterance(index)))
        assert np.abs(difference).max() < 0.75 * STEP  # half a step, plus the effect of renormalising
    assert [len(packed), packed.lengths.tolist()] == [3, [50, 1, 200]]


def test_real_looking_labels_take_less_than_half_the_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write(tmp_path / "plain.gmm", [_clustered(rng, 1000, 100) for _ in range(20)], n_components=100)
    pack_labels(tmp_path / "plain.gmm", tmp_path / "packed.gmm", step=STEP)
    assert open_soft_labels(tmp_path / "packed.gmm").bytes_per_frame < 0.5 * open_soft_labels(tmp_path / "plain.gmm").bytes_per_frame


def test_neighbours_are_ordered_by_how_probable_they_are_together(tmp_path: Path) -> None:
    targets = FrameTargets(np.array([3, 2]), np.array([4, 1, 7, 7, 4]), np.array([0.6, 0.1, 0.3, 0.9, 0.1], dtype=np.float32))
    write(tmp_path / "plain.gmm", [targets], n_components=9)
    neighbours = neighbours_in(open_soft_labels(tmp_path / "plain.gmm"))
    assert neighbours[4, :3].tolist() == [4, 7, 1]
    assert neighbours[7, :2].tolist() == [7, 4]
    assert np.array_equal(np.sort(neighbours, axis=1), np.tile(np.arange(9), (9, 1)))
    assert np.array_equal(neighbours[:, 0], np.arange(9))


def test_packed_shards_merge_into_a_plain_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for rank in range(2):
        write(tmp_path / "plain.gmm", [random_targets(rng, 30)])
        pack_labels(tmp_path / "plain.gmm", tmp_path / f"train_{rank}_2.gmm", step=0.01)
    merge_labels(tmp_path, "train", 2)
    merged = open_soft_labels(tmp_path / "train.gmm")
    assert merged.info.step == 0
    for rank in range(2):
        expected = dense(open_soft_labels(tmp_path / f"train_{rank}_2.gmm").utterance(0))
        np.testing.assert_allclose(dense(merged.utterance(rank)), expected, atol=1e-4)


def test_the_command_packs_what_can_be_packed_and_refuses_the_rest(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    plain = tmp_path / "plain.gmm"
    write(plain, [random_targets(rng, 30)])
    pack_labels(plain, tmp_path / "packed.gmm")
    assert main(["labels", "pack", str(plain), str(tmp_path / "as-command.gmm")]) == 0
    assert (tmp_path / "as-command.gmm").read_bytes() == (tmp_path / "packed.gmm").read_bytes()
    for source, dest, step, why in (
        (tmp_path / "packed.gmm", tmp_path / "again.gmm", STEP, "packed already"),
        (plain, tmp_path / "again.gmm", 0.9, "--step"),
        (plain, plain, STEP, "one file"),
    ):
        with pytest.raises(SoftHubertError, match=why):
            pack_labels(source, dest, step=step)
    write(plain, [FrameTargets(np.array([2]), np.array([5, 5]), np.array([0.5, 0.5], dtype=np.float32))])
    with pytest.raises(SoftHubertError, match="utterance 0: a frame names a component twice"):
        pack_labels(plain, tmp_path / "twice.gmm")
    assert not (tmp_path / "twice.gmm").exists()


def test_bytes_that_are_not_labels_are_refused_even_with_a_right_checksum() -> None:
    neighbours = np.array([[0, 1], [1, 0]], dtype=np.uint16)
    counts, components, levels = np.array([1, 2], np.uint8), np.array([1, 0, 1], np.uint16), np.array([9, 4, 5], np.uint8)
    good = pack((counts, components, levels), ranks_of(neighbours))
    assert len(unpack(good, 2, neighbours)[1]) == 3
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = stream.compress(bytes(10**7)) + stream.flush()
    for packed, frames in (
        (good, 1),
        (good, 3),
        (good[:-1], 2),
        (good + b"\0", 2),
        (b"", 1),
        (bomb, 2),
    ):
        with pytest.raises(ValueError):
            unpack(packed, frames, neighbours)


def test_a_step_keeps_the_most_probable_entry_whatever_its_size() -> None:
    flat = FrameTargets(np.array([200]), np.arange(200), np.full(200, 0.005, dtype=np.float32))
    counts, _, levels = stepped(flat, 0.5)
    assert counts.tolist() == [200] and levels.tolist() == [1] * 200
    np.testing.assert_allclose(probabilities_of(counts, levels), 0.005)
    assert INFO.step == 0
