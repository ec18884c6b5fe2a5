"""Merging that removes shards: the same bytes, from any point at which it is killed, and never twice the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from test_labels import INFO, random_targets, write

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels import joining
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.pack import pack_labels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import write_manifest

SHARDS = [[40, 3], [1], [25, 30, 2], [9]]


def _targets(seed: int) -> List[List[FrameTargets]]:
    rng = np.random.default_rng(seed)
    return [[random_targets(rng, frames, INFO.n_components) for frames in shard] for shard in SHARDS]


def _write(folder: Path, seed: int = 0) -> None:
    for rank, utterances in enumerate(_targets(seed)):
        write(folder / f"train_{rank}_4.gmm", utterances)


@pytest.fixture()
def expected(tmp_path: Path) -> bytes:
    """The bytes of an ordinary merge of the shards."""
    _write(tmp_path / "kept")
    merge_labels(tmp_path / "kept", "train", 4)
    return (tmp_path / "kept" / "train.gmm").read_bytes()


def _names(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_shards_are_gone_and_the_bytes_are_those_of_an_ordinary_merge(tmp_path: Path, expected: bytes) -> None:
    _write(tmp_path / "lab")
    merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert (tmp_path / "lab" / "train.gmm").read_bytes() == expected and _names(tmp_path / "lab") == ["train.gmm"]
    assert "already there" in merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    with pytest.raises(SoftHubertError, match="no such soft labels"):
        merge_labels(tmp_path / "lab", "train", 4)


class _Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("step", range(14))
def test_a_join_that_is_killed_anywhere_goes_on_to_the_same_bytes(
    step: int, tmp_path: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "lab")
    left = [step]

    def fatal(whole: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise _Killed
            return whole(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(joining, "write_json", fatal(joining.write_json))
        patched.setattr(joining.os, "fsync", fatal(os.fsync))
        patched.setattr(Path, "unlink", fatal(Path.unlink))
        patched.setattr(joining.os, "replace", fatal(os.replace))
        with pytest.raises(_Killed):
            merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert (tmp_path / "lab" / "train.gmm").read_bytes() == expected
    assert [name for name in _names(tmp_path / "lab") if not name.endswith(".partial")] == ["train.gmm"]


def test_shards_that_were_made_anew_are_not_mixed_with_an_old_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "lab")
    whole = joining.ShardJoin._copy

    def stop_at_third(self: Any, labels: Any, journal: Any, number: int) -> None:
        if number == 2:
            raise _Killed
        whole(self, labels, journal, number)

    with monkeypatch.context() as patched:
        patched.setattr(joining.ShardJoin, "_copy", stop_at_third)
        with pytest.raises(_Killed):
            merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert [name for name in _names(tmp_path / "lab") if name[0] != "."] == ["train_2_4.gmm", "train_3_4.gmm"]
    for folder in ("lab", "kept"):
        _write(tmp_path / folder, seed=1)
        merge_labels(tmp_path / folder, "train", 4, remove_shards=folder == "lab")
    assert (tmp_path / "lab" / "train.gmm").read_bytes() == (tmp_path / "kept" / "train.gmm").read_bytes()


def test_a_journal_that_was_altered_is_not_trusted(tmp_path: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "lab")

    def stop(*_: Any) -> None:
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(joining.ShardJoin, "_copy", stop)
        with pytest.raises(_Killed):
            merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    journal = tmp_path / "lab" / ".train.gmm.joining.json"
    assert journal.read_text().count('"done": 0') == 1
    journal.write_text(journal.read_text().replace('"done": 0', '"done": 3'))
    merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert (tmp_path / "lab" / "train.gmm").read_bytes() == expected


def _interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Kill a join once so many of the four shards are joined; four: before the file has its name."""
    whole = joining.ShardJoin._copy

    def copy(self: Any, labels: Any, journal: Any, number: int) -> None:
        if number == after:
            raise _Killed
        whole(self, labels, journal, number)

    def replace(*_: Any) -> None:
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(joining.ShardJoin, "_copy", copy)
        if after == 4:
            patched.setattr(joining.os, "replace", lambda old, new: replace() if str(new).endswith("train.gmm") else None)
            patched.setattr(joining, "write_json", lambda path, value: path.write_text(json.dumps(value)))
        with pytest.raises(_Killed):
            merge_labels(folder, "train", 4, remove_shards=True)


def _manifest(path: Path, utterances: int) -> Path:
    write_manifest(path, path.parent, [(f"{path.stem}-{number}.flac", 16_000) for number in range(utterances)])
    return path


@pytest.mark.parametrize("after", [2, 4])
def test_an_interrupted_join_names_the_option_that_goes_on_and_checks_the_manifest(
    after: int, tmp_path: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "lab")
    (tmp_path / "lab" / "train.gmm").write_bytes(b"older")
    _interrupt(tmp_path / "lab", monkeypatch, after=after)
    with pytest.raises(SoftHubertError, match=r"train\.gmm: joining its shards was interrupted.*give --remove-shards to go on"):
        merge_labels(tmp_path / "lab", "train", 4)
    with pytest.raises(SoftHubertError, match="7 utterances, expected 9 of the 9"):
        merge_labels(tmp_path / "lab", "train", 4, remove_shards=True, manifest=_manifest(tmp_path / "nine.tsv", 9))
    assert "7 utterances" in merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert (tmp_path / "lab" / "train.gmm").read_bytes() == expected
    with pytest.raises(SoftHubertError, match=r"train\.gmm: 7 utterances, expected 9 of the 9"):
        merge_labels(tmp_path / "lab", "train", 4, remove_shards=True, manifest=_manifest(tmp_path / "nine.tsv", 9))


def test_shards_of_another_number_are_not_taken_for_joined(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "train.gmm").write_bytes(b"older")
    for remove_shards in (True, False):
        with pytest.raises(SoftHubertError, match=r"train_0_2\.gmm: no such label shard, but shards of 4: give that NSHARD"):
            merge_labels(tmp_path, "train", 2, remove_shards=remove_shards)
    assert len(_names(tmp_path)) == 5
    merge_labels(tmp_path, "train", 4, remove_shards=True)
    assert "already there" in merge_labels(tmp_path, "train", 2, remove_shards=True)


def test_copied_shards_and_shards_of_other_utterances_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for rank, count in enumerate((3, 5)):
        write(tmp_path / f"train_{rank}_2.gmm", [random_targets(rng, 9, INFO.n_components) for _ in range(count)])
    manifest = _manifest(tmp_path / "train.tsv", 8)
    assert "8 utterances" in merge_labels(tmp_path, "train", 2)
    with pytest.raises(SoftHubertError, match=r"train_0_2\.gmm: 3 utterances, expected 4 of the 8 that .*train\.tsv lists"):
        merge_labels(tmp_path, "train", 2, manifest=manifest)
    for rank in range(2):
        pack_labels(tmp_path / "train_0_2.gmm", tmp_path / f"packed_{rank}_2.gmm")
    (tmp_path / "train_1_2.gmm").write_bytes((tmp_path / "train_0_2.gmm").read_bytes())
    for split in ("train", "packed"):
        with pytest.raises(SoftHubertError, match=rf"{split}_1_2\.gmm: the same as .*{split}_0_2\.gmm, so one of them is a copy"):
            merge_labels(tmp_path, split, 2)


def test_a_damaged_shard_is_refused_and_those_that_are_not_joined_stay(tmp_path: Path, expected: bytes) -> None:
    _write(tmp_path / "lab")
    shard = tmp_path / "lab" / "train_2_4.gmm"
    sound = shard.read_bytes()
    shard.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(SoftHubertError, match=r"train_2_4\.gmm: the labels of utterance 2 are damaged"):
        merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert "train.gmm" not in _names(tmp_path / "lab") and {"train_2_4.gmm", "train_3_4.gmm"} <= set(_names(tmp_path / "lab"))
    shard.write_bytes(sound)
    merge_labels(tmp_path / "lab", "train", 4, remove_shards=True)
    assert (tmp_path / "lab" / "train.gmm").read_bytes() == expected


def test_one_shard_becomes_the_file_and_packed_ones_are_joined_as_ever(tmp_path: Path, expected: bytes) -> None:
    write(tmp_path / "one" / "train_0_1.gmm", [one for shard in _targets(0) for one in shard])
    sound = (tmp_path / "one" / "train_0_1.gmm").read_bytes()
    inode = (tmp_path / "one" / "train_0_1.gmm").stat().st_ino
    merge_labels(tmp_path / "one", "train", 1, remove_shards=True)
    assert _names(tmp_path / "one") == ["train.gmm"] and (tmp_path / "one" / "train.gmm").read_bytes() == sound
    assert (tmp_path / "one" / "train.gmm").stat().st_ino == inode
    _write(tmp_path / "plain")
    for rank in range(4):
        pack_labels(tmp_path / "plain" / f"train_{rank}_4.gmm", tmp_path / "packed" / f"train_{rank}_4.gmm")
    merge_labels(tmp_path / "packed", "train", 4, remove_shards=True)
    assert _names(tmp_path / "packed") == ["train.gmm"]


def test_hard_shards_are_removed_with_their_records(labelled_corpus: Path) -> None:
    mixture, labels = str(labelled_corpus / "gmm.safetensors"), str(labelled_corpus / "km")
    for rank in "01":
        assert main(["gmm", "dump", str(labelled_corpus), "train", mixture, "2", rank, labels, "--audio", "mfcc", "--hard"]) == 0
    for _ in range(2):
        assert main(["labels", "merge", labels, "train", "2", "--remove-shards"]) == 0
        assert _names(labelled_corpus / "km") == ["dict.km.txt", "train.km", "train.km.json"]
