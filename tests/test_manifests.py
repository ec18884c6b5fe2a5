"""Manifests, transcripts and dictionaries: they read back, and files or audio that do not fit are refused by name."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import soundfile

from softhubert_plugin.audio.check import check_audio
from softhubert_plugin.audio.threads import prepare_soundfile
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import letters, read_dictionary, read_lines, read_manifest, write_manifest, write_transcripts


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a b.flac", 16_000), ("ü/c.flac", 3)])
    manifest = read_manifest(tmp_path / "train.tsv")
    assert manifest.root == tmp_path
    assert manifest.names == ["a b.flac", "ü/c.flac"]
    assert manifest.sizes.tolist() == [16_000, 3]


@pytest.mark.parametrize("content", ["", "/root\n", "/root\na.flac\n", "/root\na.flac\t0\n", "/root\na.flac\tmany\n", "/root\n\t5\n"])
def test_an_empty_or_malformed_manifest_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.tsv").write_text(content)
    with pytest.raises(SoftHubertError, match="train.tsv"):
        read_manifest(tmp_path / "train.tsv")


def test_a_missing_manifest_is_refused_with_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="softhubert manifest folder"):
        read_manifest(tmp_path / "train.tsv")


def test_the_fingerprint_survives_a_move_and_reveals_a_change(tmp_path: Path) -> None:
    write_manifest(tmp_path / "a.tsv", "/here", [("x.flac", 1), ("y.flac", 2)])
    write_manifest(tmp_path / "b.tsv", "/there", [("x.flac", 1), ("y.flac", 2)])
    write_manifest(tmp_path / "c.tsv", "/here", [("y.flac", 2), ("x.flac", 1)])
    prints = [read_manifest(tmp_path / f"{name}.tsv").fingerprint for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_audio_at_another_rate_is_refused_with_both_rates(corpus: Path) -> None:
    soundfile.write(corpus / "audio/train-2.flac", [0.0] * 8_000, 8_000)
    with pytest.raises(SoftHubertError, match=r"train-2.flac: sampled at 8000 Hz, expected 16000 Hz; .*line 4"):
        check_audio(read_manifest(corpus / "train.tsv"))


def test_audio_that_is_missing_damaged_or_of_another_length_is_refused(corpus: Path) -> None:
    manifest = read_manifest(corpus / "train.tsv")
    check_audio(manifest)
    victim = corpus / "audio/train-1.flac"
    soundfile.write(victim, [0.0] * 500, 16_000)
    with pytest.raises(SoftHubertError, match="500 samples"):
        check_audio(manifest)
    victim.write_bytes(b"not audio")
    with pytest.raises(SoftHubertError, match="not readable as audio"):
        check_audio(manifest)
    victim.unlink()
    with pytest.raises(SoftHubertError, match="no such audio file"):
        check_audio(manifest)


def test_letters_equal_fairseqs() -> None:
    assert letters("GO  ON") == "G O | O N |"


def test_an_empty_transcript_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="utterance 2"):
        write_transcripts(tmp_path, "train", ["ONE", " "])


@pytest.mark.parametrize("content", ["", "A\n", "A x\n", "A 2\nB 1\nA 1\n"])
def test_an_empty_or_malformed_dictionary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "dict.ltr.txt").write_text(content)
    with pytest.raises(SoftHubertError, match=r"dict.ltr.txt"):
        read_dictionary(tmp_path / "dict.ltr.txt")


def test_a_label_file_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.ltr").write_text("A |\nB |\n")
    with pytest.raises(SoftHubertError, match="2 lines for the 3 utterances"):
        read_lines(tmp_path / "train.ltr", expected=3, of="train.tsv")


def test_one_thread_uses_soundfile_before_several_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", [0.0] * 160, 16_000)
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", 160)] * 8)
    users = []
    opened = soundfile.SoundFile.__init__

    def noted(*arguments: Any, **settings: Any) -> None:
        users.append(threading.current_thread())
        opened(*arguments, **settings)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", noted)
    prepare_soundfile.cache_clear()
    check_audio(read_manifest(tmp_path / "train.tsv"))
    ours = [thread is threading.current_thread() for thread in users]
    assert ours == [True] * 3 + [False] * 8  # first this thread writes, inspects and reads; then the pool's threads start
