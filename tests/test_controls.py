"""Controls of soft labels: what each of them keeps, what it takes away, and that everything reads them."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import List

import numpy as np
import pytest
from test_labels import INFO, dense, random_targets, write
from test_task import _task

from softhubert_plugin.cli import main
from softhubert_plugin.data.selection import select_targets
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels import controls
from softhubert_plugin.labels.controls import control_labels, draw_distinct, smoothed_entropy, uniform_share
from softhubert_plugin.labels.inspect import describe_labels, labels_text
from softhubert_plugin.labels.pack import pack_labels
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.targets import FrameTargets

K = INFO.n_components


@pytest.fixture()
def original(tmp_path: Path) -> Path:
    """Soft labels of six utterances of 1 to 40 frames; some frames are certain, and one has two equally probable components."""
    rng = np.random.default_rng(5)
    tie = FrameTargets(np.array([3]), np.array([7, 4, 2]), np.array([0.4, 0.4, 0.2], dtype=np.float32))
    write(tmp_path / "train.gmm", [*(random_targets(rng, frames, K) for frames in (40, 1, 13, 25, 30)), tie])
    return tmp_path / "train.gmm"


def _rows(path: Path) -> np.ndarray:
    """All frames of a file as a dense ``(frames, K)`` matrix."""
    labels = open_soft_labels(path)
    return np.concatenate([dense(labels.utterance(index), K) for index in range(len(labels))])


def _entropies(rows: np.ndarray) -> np.ndarray:
    return -(rows * np.log(np.where(rows > 0, rows, 1))).sum(1)


def _best(rows: np.ndarray) -> List[int]:
    return np.round(rows, 6).argmax(1).tolist()  # the lowest of equally probable components


def test_argmax_keeps_the_most_probable_component_alone(original: Path, tmp_path: Path) -> None:
    control_labels(original, tmp_path / "argmax.gmm", kind="argmax")
    rows = _rows(tmp_path / "argmax.gmm")
    assert rows.max(1).tolist() == [1.0] * len(rows) and rows.sum() == len(rows)
    assert _best(rows) == _best(_rows(original)) and _best(rows)[-1] == 4
    assert open_soft_labels(tmp_path / "argmax.gmm").info.perplexity == 1


def test_smooth_has_the_mean_entropy_of_the_original_spread_evenly_over_frames_and_components(original: Path, tmp_path: Path) -> None:
    control_labels(original, tmp_path / "smooth.gmm", kind="smooth")
    rows, before = _rows(tmp_path / "smooth.gmm"), _rows(original)
    assert rows.sum(1) == pytest.approx(1, abs=1e-5) and _best(rows) == _best(before)
    assert _entropies(rows).mean() == pytest.approx(_entropies(before).mean(), abs=1e-4)
    others = np.sort(rows, axis=1)[:, :-1]
    assert others == pytest.approx(others[0, 0], rel=1e-5) and rows.max(1) == pytest.approx(rows[0].max())
    info = open_soft_labels(tmp_path / "smooth.gmm").info
    assert info.entropy == pytest.approx(_entropies(rows).mean(), abs=1e-5)
    assert sum(info.entropy_histogram) == info.frames == len(rows)


def test_shuffle_keeps_probabilities_and_the_most_probable_component_and_draws_the_others(original: Path, tmp_path: Path) -> None:
    control_labels(original, tmp_path / "shuffle.gmm", kind="shuffle", seed=3)
    rows, before = _rows(tmp_path / "shuffle.gmm"), _rows(original)
    assert np.sort(rows, axis=1) == pytest.approx(np.sort(before, axis=1))
    kept = [bool(new[best] == old[best]) for new, old, best in zip(rows, before, _best(before))]
    assert all(kept)
    uncertain = (before > 0).sum(1) > 1
    others = ((rows > 0) & (before > 0)).sum(1)[uncertain] - 1
    assert others.mean() < 0.1, "the other components stayed"


def test_shuffle_does_not_depend_on_how_utterances_are_put_together(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control_labels(original, tmp_path / "a.gmm", kind="shuffle")
    monkeypatch.setattr(controls, "_BLOCK_FRAMES", 1)
    monkeypatch.setattr(controls, "_TABLE_ENTRIES", 3 * K)
    control_labels(original, tmp_path / "b.gmm", kind="shuffle")
    control_labels(original, tmp_path / "c.gmm", kind="shuffle", seed=2)
    assert (tmp_path / "a.gmm").read_bytes() == (tmp_path / "b.gmm").read_bytes() != (tmp_path / "c.gmm").read_bytes()


def test_every_selection_of_components_is_equally_probable() -> None:
    wanted = np.tile([2, 0, 3, 1], 6000)
    drawn = draw_distinct(np.random.default_rng(0).random(int(wanted.sum())), wanted, 3)
    frames = np.split(drawn, np.cumsum(wanted)[:-1])
    for size, selections in ((2, 6), (3, 6), (1, 3)):
        counts = Counter(tuple(frame.tolist()) for frame in frames if len(frame) == size)
        assert set(counts) == set(permutations(range(3), size))
        expected = 6000 / selections
        assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts.values())


def test_a_frame_with_every_component_is_shuffled_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(8), size=50).astype(np.float32)
    write(tmp_path / "full.gmm", [FrameTargets(np.full(50, 8), np.tile(np.arange(8), 50), probabilities.ravel())], n_components=8)
    control_labels(tmp_path / "full.gmm", tmp_path / "shuffle.gmm", kind="shuffle")
    found = open_soft_labels(tmp_path / "shuffle.gmm").utterance(0)
    assert np.sort(found.components.reshape(50, 8), axis=1).tolist() == [list(range(8))] * 50


@pytest.mark.parametrize("kind", ["argmax", "smooth", "shuffle"])
def test_a_control_at_the_rate_of_the_model_is_made_of_averaged_labels(kind: str, original: Path, tmp_path: Path) -> None:
    control_labels(original, tmp_path / "control.gmm", kind=kind, rate=INFO.label_rate / 2)
    before, labels = open_soft_labels(original), open_soft_labels(tmp_path / "control.gmm")
    averaged = np.concatenate([dense(before.utterance(index).pooled(2, "mean"), K) for index in range(len(before))])
    rows = _rows(tmp_path / "control.gmm")
    assert labels.lengths.tolist() == [20, 1, 7, 13, 15, 1] and labels.info.frames == len(rows) == len(averaged)
    assert labels.label_rate == INFO.label_rate / 2
    agree = [row[best] == pytest.approx(row.max(), abs=1e-4) for row, best in zip(rows, _best(averaged))]
    assert all(agree)
    if kind == "shuffle":
        assert np.sort(rows, axis=1) == pytest.approx(np.sort(averaged, axis=1), abs=1e-4)
    if kind != "argmax":
        assert labels.info.entropy == pytest.approx(_entropies(averaged).mean(), abs=1e-3)
        assert _entropies(rows).mean() == pytest.approx(labels.info.entropy, abs=1e-3)
    for rate in (INFO.label_rate * 2, INFO.label_rate / 1.5, 0.0, -50.0):
        with pytest.raises(SoftHubertError, match="--rate .*: expected the"):
            control_labels(original, tmp_path / "b.gmm", kind=kind, rate=rate)


def test_an_averaged_frame_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    components = np.concatenate([np.arange(200), np.arange(100, 300)])
    write(tmp_path / "wide.gmm", [FrameTargets(np.array([200, 200]), components, np.full(400, 1 / 200, dtype=np.float32))])
    with pytest.raises(SoftHubertError, match="300 components in an averaged frame"):
        control_labels(tmp_path / "wide.gmm", tmp_path / "b.gmm", kind="shuffle", rate=INFO.label_rate / 2)


@pytest.mark.parametrize("components", [2, 100, 65_536])
def test_the_share_that_gives_an_entropy_is_found(components: int) -> None:
    for entropy in (0.0, 1e-6, 0.3, 0.6931, math.log(components)):
        assert smoothed_entropy(uniform_share(entropy, components), components) == pytest.approx(entropy, abs=1e-9)
    assert uniform_share(0.0, 1) == 0 and smoothed_entropy(0.0, 1) == 0


@pytest.mark.parametrize("kind", ["argmax", "smooth", "shuffle"])
def test_a_packed_original_gives_the_same_kind_of_control_and_says_what_it_is(kind: str, original: Path, tmp_path: Path) -> None:
    pack_labels(original, tmp_path / "packed.gmm", step=0.01)
    control_labels(tmp_path / "packed.gmm", tmp_path / "control.gmm", kind=kind, seed=4)
    labels = open_soft_labels(tmp_path / "control.gmm")
    assert (labels.info.control, labels.info.step, labels.lengths.tolist()) == (kind, 0.0, open_soft_labels(original).lengths.tolist())
    described = labels_text(describe_labels(tmp_path / "control.gmm"))
    assert f"control           {kind}" in described and ("seed 4" in described) == (kind == "shuffle")
    assert "control  " not in labels_text(describe_labels(original))
    pack_labels(tmp_path / "control.gmm", tmp_path / "again.gmm", step=0.01)
    assert np.abs(_rows(tmp_path / "again.gmm") - _rows(tmp_path / "control.gmm")).max() < 0.03


def test_labels_that_are_no_control_keep_their_bytes(original: Path) -> None:
    head = original.read_bytes()[:4000]
    assert b"control" not in head and b"uniform" not in head


def test_what_cannot_be_controlled_is_refused(original: Path, tmp_path: Path) -> None:
    control_labels(original, tmp_path / "argmax.gmm", kind="argmax")
    with pytest.raises(SoftHubertError, match="is a control already"):
        control_labels(tmp_path / "argmax.gmm", tmp_path / "b.gmm", kind="shuffle")
    with pytest.raises(SoftHubertError, match="one file"):
        control_labels(original, original, kind="argmax")
    with pytest.raises(SoftHubertError, match="--like .*: not a smooth control"):
        control_labels(original, tmp_path / "b.gmm", kind="smooth", like=tmp_path / "argmax.gmm")
    with pytest.raises(SoftHubertError, match="only for --kind smooth"):
        control_labels(original, tmp_path / "b.gmm", kind="argmax", like=tmp_path / "argmax.gmm")
    with pytest.raises(SoftHubertError, match="--seed -1"):
        control_labels(original, tmp_path / "b.gmm", kind="shuffle", seed=-1)
    (tmp_path / "train.km").write_text("1 2 3\n")
    with pytest.raises(SoftHubertError, match="not soft labels"):
        control_labels(tmp_path / "train.km", tmp_path / "b.gmm", kind="argmax")
    with pytest.raises(SoftHubertError, match="no such soft labels"):
        control_labels(tmp_path / "nowhere.gmm", tmp_path / "b.gmm", kind="argmax")
    twice = FrameTargets(np.array([3]), np.array([7, 7, 2]), np.array([0.4, 0.4, 0.2], dtype=np.float32))
    write(tmp_path / "twice.gmm", [twice])
    with pytest.raises(SoftHubertError, match="twice in one frame"):
        control_labels(tmp_path / "twice.gmm", tmp_path / "b.gmm", kind="shuffle")
    assert not (tmp_path / "b.gmm").exists()


@pytest.mark.parametrize("kind", ["argmax", "smooth", "shuffle"])
def test_controls_are_verified_measured_and_trained_on_like_the_original(
    kind: str, labelled_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = labelled_corpus / kind
    for split in ("train", "valid"):
        original, control = f"{labelled_corpus}/labels/{split}.gmm", f"{folder}/{split}.gmm"
        like = ["--like", f"{folder}/train.gmm"] if (kind, split) == ("smooth", "valid") else []
        assert main(["labels", "control", original, control, "--kind", kind, *like]) == 0
        assert main(["labels", "verify", control, "--manifest", f"{labelled_corpus}/{split}.tsv"]) == 0
        assert main(["labels", "inspect", control]) == 0
    train, valid = (open_soft_labels(folder / f"{split}.gmm") for split in ("train", "valid"))
    assert train.uniform == valid.uniform and (train.uniform > 0) == (kind == "smooth")
    task = _task(labelled_corpus, label_dir=str(folder))
    for split in ("train", "valid"):
        task.load_dataset(split)
        batch = task.datasets[split].collater([{"id": 0}, {"id": 1}])
        targets = batch["target_list"][0]["masked"]
        assert targets["probabilities"].sum(1).numpy() == pytest.approx(1, abs=1e-4)
    capsys.readouterr()
    mixed = _task(labelled_corpus, label_dir=str(labelled_corpus / "labels"))
    mixed.load_dataset("train")
    (labelled_corpus / "labels" / "valid.gmm").write_bytes((folder / "valid.gmm").read_bytes())
    with pytest.raises(SystemExit):
        mixed.load_dataset("valid")
    assert "the same control of all" in capsys.readouterr().err


def test_what_is_spread_evenly_is_the_same_before_and_after_pooling_and_selection(original: Path, tmp_path: Path) -> None:
    control_labels(original, tmp_path / "smooth.gmm", kind="smooth")
    labels = open_soft_labels(tmp_path / "smooth.gmm")
    chosen = np.ones((1, 20), dtype=bool)
    late = select_targets([labels.entries(0).pooled(2, "mean")], chosen, labels.uniform, K)
    early = select_targets([labels.utterance(0).pooled(2, "mean")], chosen)
    assert late["components"].shape == (20, K) and late["frames"].tolist() == early["frames"].tolist()
    matrices = []
    for found in (late, early):
        matrix = np.zeros((20, K))
        np.put_along_axis(matrix, found["components"].numpy(), found["probabilities"].numpy(), axis=1)
        matrices.append(matrix)
    np.testing.assert_allclose(*matrices, atol=1e-6)
