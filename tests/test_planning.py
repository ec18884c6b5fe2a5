"""The plan of a recipe: disk space and GPU hours for an amount of speech, and the bytes of a small run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict

import joblib
import numpy as np
import pytest
import soundfile
from sklearn.cluster import MiniBatchKMeans

from softhubert_plugin.cli import main
from softhubert_plugin.features.shards import read_shard
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.manifests import write_manifest
from softhubert_plugin.planning import (
    HARD_LABEL_BYTES,
    LABEL_BYTES,
    WRITING,
    StageCost,
    feature_gigabytes,
    label_gigabytes,
    most_disk,
    plan,
    plan_tables,
)


def _stages(hours: float, systems: int) -> Dict[int, StageCost]:
    return {stage.number: stage for stage in plan(hours, systems)}


def test_sizes_follow_from_frames_and_widths() -> None:
    stages = _stages(960, 1)
    assert stages[1].temporary == pytest.approx(96 * 3600 * 100 * 39 * 2 / 1e9) and stages[1].disk == 0
    assert stages[3].disk == pytest.approx(960 * 3600 * 100 * LABEL_BYTES / 1e9)
    assert stages[6].temporary == pytest.approx(96 * 3600 * 50 * 768 * 2 / 1e9)
    assert stages[6].disk == pytest.approx(960 * 3600 * 50 * LABEL_BYTES / 1e9)
    two = _stages(960, 2)
    assert two[3].disk == pytest.approx(960 * 3600 * 100 * (LABEL_BYTES + HARD_LABEL_BYTES) / 1e9)


def test_960_hours_fit_into_150_gigabytes_and_60000_hours_into_6_terabytes() -> None:
    assert most_disk(plan(960, 2)) < 150 and most_disk(plan(60_000, 2)) < 6_000
    assert most_disk(plan(60_000, 2)) > 0.06 * 60_000  # the audio is counted


def test_the_most_disk_counts_what_is_there_for_a_time() -> None:
    stages = [StageCost(0, "a", 5, 0, 0, 0), StageCost(1, "b", 0, 9, 0, 0), StageCost(2, "c", 6, 1, 0, 0), StageCost(3, "d", 1, 0, 0, 0)]
    assert most_disk(stages[:1]) == 5 and most_disk(stages) == 14 and most_disk([*stages, StageCost(4, "e", 3, 0, 0, 0)]) == 15


def test_pretraining_takes_the_published_gpu_hours() -> None:
    stages = _stages(960, 1)
    assert stages[4].gpu_hours == pytest.approx(2.5 * 9.5 * 32) and stages[7].gpu_hours == pytest.approx(4 * 9.5 * 32)
    double = _stages(960, 2)
    assert double[4].gpu_hours == 2 * stages[4].gpu_hours and double[1] == stages[1]


def test_the_plan_names_all_stages_for_each_amount_of_speech() -> None:
    text = plan_tables([100, 960, 60_000], systems=2, gpus=8)
    assert text.count("pretraining, iteration 2") == 3 and "60000 h of speech, Large" in text
    assert "probing and clustering on 96 h" in text and "probing and clustering on 100 h" in text
    assert "probing and clustering on 480 h" in plan_tables([960], systems=2, gpus=8, percent=0.5)


class _Folder:
    """A folder whose bytes are counted after every command, and whenever a part of a file was copied or a file was finished.

    Scratch files have no names and are not seen.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.most = 0
        for module, name in ((os, "fsync"), (shutil, "copyfileobj")):
            monkeypatch.setattr(module, name, self._counting(getattr(module, name)))

    def _counting(self, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            done = whole(*arguments)
            self.count()
            return done

        return call

    def count(self) -> int:
        """All bytes in the folder now, without the holes of files that are not filled yet."""
        found = [path.stat() for path in list(self.path.rglob("*")) if path.is_file()]
        total = sum(min(each.st_size, 512 * each.st_blocks) for each in found)
        self.most = max(self.most, total)
        return total

    def run(self, *words: object) -> int:
        """Run a command, and return how many bytes there are after it."""
        assert main(list(map(str, words))) == 0
        return self.count()


@pytest.fixture()
def speech_like(tmp_path: Path) -> Path:
    """Four minutes of noise whose pitch and loudness change every 80 ms: 48 utterances of 5 s."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(48):
        steps = np.repeat(rng.integers(0, 40, 63), 1280)[:80_000]
        tone = np.sin(np.cumsum(0.02 + 0.05 * steps)) * (0.05 + 0.01 * (steps % 7))
        name = f"s{number}.flac"
        soundfile.write(tmp_path / name, tone + 0.02 * rng.standard_normal(len(tone)), 16_000)
        entries.append((name, len(tone)))
    write_manifest(tmp_path / "train.tsv", tmp_path, entries)
    return tmp_path


def test_a_small_run_takes_the_bytes_that_the_plan_counts(
    speech_like: Path, stock_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = tmp_path / "exp"
    exp.mkdir()
    folder = _Folder(exp, monkeypatch)
    hours, share, components = 48 * 5 / 3600, 0.25, 100
    gigabyte = 1e9

    def near(found: int, planned: float, tolerance: float) -> None:
        assert found == pytest.approx(planned * gigabyte, rel=tolerance)

    # Iteration 1: features of the share alone, until both clusterers are fitted.
    near(
        folder.run("features", "mfcc", speech_like, "train", 1, 0, exp / "mfcc", "--percent", share, "--dtype", "float16"),
        feature_gigabytes(share * hours, 100, 39),
        0.02,
    )
    folder.run("gmm", "learn", exp / "mfcc", "train", 1, tmp_path / "gmm", components, "--perplexity", 4, "--iterations", 3)
    features = np.array(read_shard(exp / "mfcc", "train", 0, 1).frames, dtype=np.float32)
    joblib.dump(MiniBatchKMeans(components, n_init=1, random_state=0).fit(features), tmp_path / "km.joblib")
    _remove(exp / "mfcc")
    folder.most = 0
    for rank in range(3):
        folder.run("gmm", "dump", speech_like, "train", tmp_path / "gmm", 3, rank, exp / "gmm", "--audio", "mfcc", "--device", "cpu")
    after = folder.run("labels", "merge", exp / "gmm", "train", 3, "--remove-shards")
    per_frame = open_soft_labels(exp / "gmm" / "train.gmm").bytes_per_frame
    near(after, label_gigabytes(hours, 100, per_frame), 0.02)
    assert per_frame == pytest.approx(LABEL_BYTES, rel=0.35)  # this noise is not speech, but as uncertain
    assert after < folder.most <= (1 + WRITING) * after
    before = after
    folder.run(
        "gmm", "dump", speech_like, "train", tmp_path / "km.joblib", 1, 0, exp / "km", "--audio", "mfcc", "--hard", "--device", "cpu"
    )
    after = folder.run("labels", "merge", exp / "km", "train", 1, "--remove-shards")
    assert 0.7 * HARD_LABEL_BYTES < (after - before) / (hours * 3600 * 100) <= 1.05 * HARD_LABEL_BYTES

    # Iteration 2: the layer of the share, and labels of the whole from audio.
    before = after
    words = ["--percent", share, "--dtype", "float16", "--device", "cpu"]
    after = folder.run("features", "hubert", speech_like, "train", stock_checkpoint, 2, 1, 0, exp / "layer", *words)
    near(after - before, feature_gigabytes(share * hours, 50, 32), 0.03)
    folder.run("gmm", "learn", exp / "layer", "train", 1, tmp_path / "gmm2", components, "--perplexity", 4, "--iterations", 2)
    _remove(exp / "layer")
    folder.most = 0
    words = ["--checkpoint", stock_checkpoint, "--layer", 2, "--device", "cpu"]
    folder.run("gmm", "dump", speech_like, "train", tmp_path / "gmm2", 1, 0, exp / "gmm2", *words)
    after = folder.run("labels", "merge", exp / "gmm2", "train", 1, "--remove-shards")
    near(after - before, label_gigabytes(hours, 50, open_soft_labels(exp / "gmm2" / "train.gmm").bytes_per_frame), 0.02)
    assert after <= folder.most <= before + (1 + WRITING) * (after - before)
    assert not list(exp.rglob("*.npy")) and {path.suffix for path in exp.rglob("*") if path.is_file()} == {".gmm", ".km", ".txt", ".json"}


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
