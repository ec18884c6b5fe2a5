"""Letter alignments are made again where checkpoint, transcript or recording has changed, and never in place of another tool's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import pytest
import soundfile
from shapes import TINY

from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.asr import letter_alignment
from softhubert_plugin.asr.letter_alignment import align_split
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import read_manifest, write_manifest, write_transcripts
from tests.benchmarks.finetuned import write_finetuned_checkpoint

NAMES = ["7-0.flac", "7-1.flac", "8-0.flac"]


def _record(folder: Path, name: str, seed: int, samples: int = 12_000) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, 0.1 * np.random.default_rng(seed).standard_normal(samples), 16_000)


def _corpus(folder: Path, names: List[str], split: str = "test", texts: Optional[List[str]] = None) -> None:
    for seed, name in enumerate(names):
        _record(folder, name, seed)
    write_manifest(folder / f"{split}.tsv", folder, [(name, 12_000) for name in names])
    write_transcripts(folder, split, texts or ["CAT"] * len(names))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> List[Path]:
    """Two fine-tuned checkpoints that differ."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for number in (0, 1):
        (folder / str(number)).mkdir()
        write_finetuned_checkpoint(folder / str(number) / "checkpoint.pt", seed=number, **TINY)
    found = [folder / str(number) / "checkpoint.pt" for number in (0, 1)]
    assert found[0].read_bytes() != found[1].read_bytes()
    return found


def _files(folder: Path) -> Dict[str, int]:
    """The alignments, and when each was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.lab")}


def _renewed(before: Dict[str, int], folder: Path) -> List[str]:
    return sorted(name for name, written in _files(folder).items() if before.get(name) != written)


def test_only_what_has_changed_is_aligned_again(tmp_path: Path, checkpoints: List[Path]) -> None:
    _corpus(tmp_path, NAMES)
    dest = tmp_path / "letters"
    said = align_split(tmp_path, "test", checkpoints[0], dest, device="cpu")
    assert said.endswith("letter alignments of 3 utterances of test (3 made now)")
    first = _files(dest)
    assert sorted(first) == ["7-0.lab", "7-1.lab", "8-0.lab"]

    assert align_split(tmp_path, "test", checkpoints[0], dest, device="cpu").endswith("(0 made now)")
    assert _renewed(first, dest) == []

    write_transcripts(tmp_path, "test", ["CAT", "ACT", "CAT"])
    said = align_split(tmp_path, "test", checkpoints[0], dest, device="cpu")
    assert "(1 made now, 1 of them again, because the checkpoint, the transcript or the recording has changed)" in said
    assert _renewed(first, dest) == ["7-1.lab"]
    assert [line.split()[2] for line in (dest / "7-1.lab").read_text().splitlines() if "sil" not in line] == ["A", "C", "T"]

    second = _files(dest)
    _record(tmp_path, "8-0.flac", 99)  # corrected, and as long as before
    assert "(1 made now, 1 of them again" in align_split(tmp_path, "test", checkpoints[0], dest, device="cpu")
    assert _renewed(second, dest) == ["8-0.lab"]

    third = _files(dest)
    assert "(3 made now, 3 of them again" in align_split(tmp_path, "test", checkpoints[1], dest, device="cpu")
    assert _renewed(third, dest) == ["7-0.lab", "7-1.lab", "8-0.lab"]


def test_a_run_that_was_stopped_goes_on_and_leaves_no_alignment_of_the_old_checkpoint(
    tmp_path: Path, checkpoints: List[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _corpus(tmp_path, NAMES)
    dest = tmp_path / "letters"
    align_split(tmp_path, "test", checkpoints[0], dest, device="cpu")
    written: List[Path] = []

    def stop_after_one(path: Path, rows: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        original(path, rows)  # type: ignore[arg-type]

    original = letter_alignment.write_lab
    monkeypatch.setattr(letter_alignment, "write_lab", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        align_split(tmp_path, "test", checkpoints[1], dest, device="cpu")
    monkeypatch.undo()
    assert list(_files(dest)) == [written[0].name]
    assert "(2 made now)" in align_split(tmp_path, "test", checkpoints[1], dest, device="cpu")
    align_split(tmp_path, "test", checkpoints[1], tmp_path / "anew", device="cpu")
    for name in _files(dest):
        assert (dest / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()
    assert (dest / "test.align.json").read_bytes() == (tmp_path / "anew" / "test.align.json").read_bytes()


def test_other_tools_alignments_are_never_overwritten(tmp_path: Path, checkpoints: List[Path]) -> None:
    _corpus(tmp_path, NAMES)
    for name, complaint in (
        ("7-1.lab", "an alignment that no record here names"),
        ("7-1.LAB", "an alignment of another tool"),
        ("7-1.phn", "an alignment of another tool"),
        ("elsewhere/x.TextGrid", "an alignment of another tool"),
    ):
        dest = tmp_path / name.replace("/", "-")
        (dest / name).parent.mkdir(parents=True)
        (dest / name).write_text("0 1 B\n")
        with pytest.raises(SoftHubertError, match=rf"{name.replace('.', '[.]')}: {complaint}.*; choose another folder"):
            align_split(tmp_path, "test", checkpoints[0], dest, device="cpu")
        assert [str(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file()] == [name]
        assert (dest / name).read_text() == "0 1 B\n"


def test_splits_share_a_folder_and_their_alignments_but_only_of_one_checkpoint(tmp_path: Path, checkpoints: List[Path]) -> None:
    _corpus(tmp_path, NAMES[:2])
    _corpus(tmp_path, NAMES, "all")
    dest = tmp_path / "letters"
    align_split(tmp_path, "test", checkpoints[0], dest, device="cpu")
    assert "(1 made now)" in align_split(tmp_path, "all", checkpoints[0], dest, device="cpu")
    assert set(json.loads((dest / "all.align.json").read_text())["utterances"]) == {"7-0", "7-1", "8-0"}
    with pytest.raises(SoftHubertError, match=r"test\.align\.json: has '7-0' too, aligned with another checkpoint or transcript"):
        align_split(tmp_path, "all", checkpoints[1], dest, device="cpu")
    assert len(_files(dest)) == 3


@pytest.mark.parametrize("record", ["{", "[]", '{"utterances": [1]}', '{"utterances": {"7-0": 1}}'])
def test_a_damaged_record_is_refused(record: str, tmp_path: Path, checkpoints: List[Path]) -> None:
    _corpus(tmp_path, NAMES)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "test.align.json").write_text(record)
    with pytest.raises(SoftHubertError, match=r"test\.align\.json: not .*; remove it and the alignments beside it, and align again"):
        align_split(tmp_path, "test", checkpoints[0], tmp_path / "letters", device="cpu")


def test_utterances_of_one_name_are_aligned_at_their_relative_paths(tmp_path: Path, checkpoints: List[Path]) -> None:
    _corpus(tmp_path, ["spk1/001.flac", "spk2/001.flac"], texts=["CAT", "TEN"])
    align_split(tmp_path, "test", checkpoints[0], tmp_path / "letters", device="cpu")
    assert sorted(_files(tmp_path / "letters")) == ["spk1/001.lab", "spk2/001.lab"]
    alignments = Alignments(tmp_path / "letters", read_manifest(tmp_path / "test.tsv"))
    frames = alignments.frames(1, 37, 50.0)
    assert {"T", "E", "N"} <= {alignments.phones[phone] for phone in frames if phone >= 0} <= {"T", "E", "N", "sil"}
    _corpus(tmp_path, ["spk1/001.flac", "spk1/001.wav"])
    with pytest.raises(SoftHubertError, match=r"two recordings 'spk1/001' that differ in their extension only"):
        align_split(tmp_path, "test", checkpoints[0], tmp_path / "others", device="cpu")
