"""Damaged and empty audio among good files: it is named before work starts, and left out only on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refusal

from softhubert_plugin.cli import main
from softhubert_plugin.manifests import read_manifest

BAD = {
    "nothing.wav": b"",
    "text.wav": b"this is no audio\n" * 100,
    "truncated.wav": b"RIFF",
}


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Five good files and four bad ones."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(5):
        soundfile.write(folder / f"good-{number}.wav", 0.1 * np.random.default_rng(number).standard_normal(8_000), 16_000)
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    soundfile.write(folder / "silent.wav", np.zeros(0), 16_000)
    return folder


@pytest.mark.parametrize("bad", [*BAD, "silent.wav"])
def test_a_manifest_is_not_written_and_the_file_is_named(bad: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for other in {*BAD, "silent.wav"} - {bad}:
        (folder / other).unlink()
    line = refusal(["manifest", "folder", str(folder), "--dest", str(folder / "lists"), "--ext", "wav"], capsys)
    assert str(folder / bad) in line and "replace or remove" in line
    assert not (folder / "lists").exists()


def test_bad_files_are_left_out_and_named_on_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["manifest", "folder", str(folder), "--dest", str(folder / "lists"), "--ext", "wav", "--valid-percent", "0"]
    assert main([*command, "--skip-unreadable"]) == 0
    *skipped, summary = capsys.readouterr().out.splitlines()
    assert sorted(line.split(": ")[0] for line in skipped) == sorted(f"skipped {folder / bad}" for bad in {*BAD, "silent.wav"})
    assert summary == f"{folder / 'lists'}: 5 files in train.tsv, 4 skipped"
    assert read_manifest(folder / "lists" / "train.tsv").names == [f"good-{number}.wav" for number in range(5)]


def test_a_folder_of_only_bad_files_is_refused_even_then(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.glob("good-*.wav"):
        path.unlink()
    line = refusal(["manifest", "folder", str(folder), "--dest", str(folder / "lists"), "--ext", "wav", "--skip-unreadable"], capsys)
    assert "none of 4 files can be read" in line


def test_another_rate_is_refused_even_if_unreadable_files_are_skipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(folder / "phone.wav", np.zeros(8_000), 8_000)
    line = refusal(["manifest", "folder", str(folder), "--dest", str(folder / "lists"), "--ext", "wav", "--skip-unreadable"], capsys)
    assert "phone.wav: sampled at 8000 Hz" in line


def test_a_file_that_broke_after_the_manifest_stops_the_dump_and_leaves_no_shard(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "audio" / "train-2.flac").write_bytes(b"")
    line = refusal(["features", "mfcc", str(corpus), "train", "1", "0", str(corpus / "mfcc")], capsys)
    assert "train-2.flac" in line
    assert not list((corpus / "mfcc").glob("train*"))
