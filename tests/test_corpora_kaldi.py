"""Data directories of Kaldi become manifests in Kaldi's order; a command is never run, and files that disagree are named."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Dict, List

import pytest
import soundfile
from small_corpora import TEXTS, ManifestCommand, kaldi, read_corpus, sound

from softhubert_plugin.manifests import read_manifest


@pytest.fixture()
def manifest(capsys: pytest.CaptureFixture[str]) -> ManifestCommand:
    """The command ``softhubert manifest``."""
    return ManifestCommand(capsys)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_segments_texts_and_speakers_come_in_kaldis_order(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    said = manifest("kaldi", f"dev={data}", "--dest", tmp_path / "out")
    expected = [f"audio/call{n % 2 + 1}/spk{n % 4}-{n:03d}.flac|{TEXTS[n % 6]}|spk{n % 4}" for n in range(8)]
    assert read_corpus(tmp_path / "out", "dev")["dev"] == expected
    assert read_manifest(tmp_path / "out" / "dev.tsv").sizes.tolist() == [11_200] * 8
    assert (tmp_path / "out" / "dev.spk").read_text().splitlines()[5] == "spk1\tspk1-005"
    assert "8 segments cut out of their recordings" in said and "dev 8 utterances of 4 speakers" in said


def test_without_named_splits_the_speakers_are_divided(tmp_path: Path, manifest: ManifestCommand) -> None:
    manifest("kaldi", kaldi(tmp_path / "k"), "--dest", tmp_path / "out")
    found = read_corpus(tmp_path / "out", "train", "valid", "test")
    speakers = [{line.rsplit("|", 1)[1] for line in lines} for lines in found.values()]
    assert [len(each) for each in speakers] == [2, 1, 1] and len(set.union(*speakers)) == 4


def test_the_order_of_lines_and_the_kind_of_line_ends_do_not_matter(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    manifest("kaldi", f"all={data}", "--dest", tmp_path / "sorted")
    for name in ("text", "utt2spk", "wav.scp"):
        lines = (data / name).read_text().splitlines()
        random.Random(1).shuffle(lines)
        (data / name).write_bytes(b"\xef\xbb\xbf" + "".join(line.replace(" ", "\t", 1) + "\r\n" for line in lines).encode())
    manifest("kaldi", f"all={data}", "--dest", tmp_path / "shuffled")
    for kind in ("wrd", "spk"):
        assert (tmp_path / "sorted" / f"all.{kind}").read_text() == (tmp_path / "shuffled" / f"all.{kind}").read_text()


def test_recordings_without_segments_are_utterances_as_they_are(
    tmp_path: Path, manifest: ManifestCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        sound(tmp_path / "wav folder" / f"{name}.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text("utt-a wav folder/a.wav\nutt-b   ./wav folder/b.wav \n")
    said = manifest.refused("kaldi", f"test={tmp_path / 'data'}", "--dest", tmp_path / "out")
    assert "wav.scp, line 1: no such audio file: wav folder/a.wav" in said
    monkeypatch.chdir(tmp_path)  # Kaldi's relative paths start from the working directory
    said = manifest("kaldi", f"test={tmp_path / 'data'}", "--dest", tmp_path / "out")
    listed = read_manifest(tmp_path / "out" / "test.tsv")
    assert listed.names == ["a.wav", "b.wav"] and listed.root == tmp_path / "wav folder"
    assert "no transcripts" in said and not (tmp_path / "out" / "test.wrd").exists()
    monkeypatch.chdir("/")
    manifest("kaldi", f"test={tmp_path / 'data'}", "--dest", tmp_path / "root", "--root", tmp_path)
    assert read_manifest(tmp_path / "root" / "test.tsv").names == ["wav folder/a.wav", "wav folder/b.wav"]


@pytest.mark.parametrize(
    "place",
    [
        "touch {here}/ran |",
        "touch {here}/ran|",
        "sox a.wav -t wav - | touch {here}/ran |  ",
        "| touch {here}/ran",
        "-",
        "{here}/raw.ark:1234",
        "ark:{here}/raw.ark",
        "scp,p:{here}/raw.scp",
        "{here}/raw.ark:12[0:5]",
    ],
)
def test_what_is_not_a_file_is_refused_in_one_line_and_never_run(place: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    _edit(data / "wav.scp", f"{tmp_path}/k/wav/call1.wav", place.format(here=tmp_path))
    said = manifest.refused("kaldi", f"test={data}", "--dest", tmp_path / "out")
    assert f"{data}/wav.scp, line 1: expected an audio file, found " in said and "never run" in said
    said = manifest("kaldi", f"test={data}", "--dest", tmp_path / "out", "--skip-unreadable")
    assert said.count("never run") == 4 and "test 4 utterances" in said and "4 skipped" in said
    assert not (tmp_path / "ran").exists()


FAULTS = {
    "no text": ("text", "spk1-001 GO ON\n", "", "segments, line 2: the utterance spk1-001 is not in text"),
    "an empty text": ("text", "spk1-001 GO ON\n", "spk1-001\n", "segments, line 2: the transcript is empty"),
    "no speaker": ("utt2spk", "spk1-001 spk1\n", "", "segments, line 2: the utterance spk1-001 is not in utt2spk"),
    "no name of a speaker": ("utt2spk", "spk1-001 spk1\n", "spk1-001\n", "segments, line 2: expected a speaker, found none"),
    "two speakers": ("utt2spk", "spk1-001 spk1\n", "spk1-001 spk1 f\n", "expected one speaker of spk1-001 in utt2spk, found 'spk1 f'"),
    "no recording": ("segments", "spk1-001 call2", "spk1-001 call9", "segments, line 2: the recording call9 is not in wav.scp"),
    "three fields": ("segments", "spk1-001 call2 0.50", "spk1-001 call2", "expected 'utterance recording start end', found 3 fields"),
    "no time": ("segments", "spk1-001 call2 0.50", "spk1-001 call2 x", "segments, line 2: expected the start in seconds, found 'x'"),
    "backwards": ("segments", "spk1-001 call2 0.50", "spk1-001 call2 5.00", "which is 8.00 s long; found 5 to 1.2 s"),
    "after the end": ("segments", "0.50 1.20", "0.50 8.60", "which is 8.00 s long; found 0.5 to 8.6 s"),
    "no such channel": ("segments", "0.50 1.20", "0.50 1.20 1", "segments, line 2: expected one of the 1 channels of"),
    "a channel in letters": ("segments", "0.50 1.20", "0.50 1.20 A", "segments, line 2: expected a channel as the fifth field"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_files_that_disagree_are_named_or_left_out_and_counted(kind: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    name, old, new, message = FAULTS[kind]
    data = kaldi(tmp_path / "k")
    _edit(data / name, old, new)
    said = manifest.refused("kaldi", f"test={data}", "--dest", tmp_path / "out")
    assert message in said and str(data) in said
    said = manifest("kaldi", f"test={data}", "--dest", tmp_path / "out", "--skip-unreadable")
    assert message in said and "test 7 utterances" in said and "1 skipped" in said


def test_speakers_are_read_from_spk2utt_where_there_is_no_utt2spk(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    manifest("kaldi", f"test={data}", "--dest", tmp_path / "out")
    expected = (tmp_path / "out" / "test.spk").read_text()
    speakers: Dict[str, List[str]] = {}
    for utterance, speaker in (line.split() for line in (data / "utt2spk").read_text().splitlines()):
        speakers.setdefault(speaker, []).append(utterance)
    (data / "utt2spk").unlink()
    lines = [f"{speaker} {' '.join(utterances)}\n" for speaker, utterances in speakers.items()]
    (data / "spk2utt").write_text("".join(lines))
    manifest("kaldi", f"test={data}", "--dest", tmp_path / "out")
    assert (tmp_path / "out" / "test.spk").read_text() == expected
    (data / "spk2utt").write_text("".join([*lines, "spk9 spk0-000\n"]))
    said = manifest.refused("kaldi", f"test={data}", "--dest", tmp_path / "out")
    assert "spk2utt, line 5: spk0-000 is also of the speaker spk0" in said


def test_lines_of_unknown_utterances_and_repeated_lines_are_named(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    for name, line, message in (
        ("text", "other-1 GO\n", "text, line 9: the utterance other-1 is in text, but not in segments"),
        ("utt2spk", "other-1 other\n", "utt2spk, line 9: the utterance other-1 is in utt2spk, but not in segments"),
        ("text", "spk0-000 AGAIN\n", "text, line 9: spk0-000 is also in line 1"),
        ("segments", "spk0-000 call1 2 3\n", "segments, line 9: spk0-000 is also in line 1"),
        ("wav.scp", "call1 other.wav\n", "wav.scp, line 3: call1 is also in line 1"),
    ):
        before = (data / name).read_text()
        (data / name).write_text(before + line)
        assert message in manifest.refused("kaldi", f"test={data}", "--dest", tmp_path / "out")
        assert "test 8 utterances" in manifest("kaldi", f"test={data}", "--dest", tmp_path / "out", "--skip-unreadable")
        (data / name).write_text(before)
    said = manifest.refused("kaldi", f"train={data}", f"test={data}", "--dest", tmp_path / "out")
    assert "the utterance spk0-000 is also in" in said


def test_ends_a_little_after_the_recording_are_treated_as_in_kaldi_and_said(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    lines = (data / "segments").read_text().splitlines()
    lines[0], lines[1] = "spk0-000 call1 7.00 8.40", "spk1-001 call2 6.50 -1"
    (data / "segments").write_text("\n".join(lines) + "\n")
    said = manifest("kaldi", f"test={data}", "--dest", tmp_path / "out")
    assert read_manifest(tmp_path / "out" / "test.tsv").sizes.tolist()[:2] == [16_000, 24_000]
    assert "note: 1 segments end up to 0.5 s after their recordings" in said


def test_a_recording_and_an_utterance_named_slash_are_cut(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"/ {sound(tmp_path / 'a.wav', 2.0)}\n")
    (data / "segments").write_text("/ / 0.5 1.0\n")
    manifest("kaldi", f"train={data}", "--dest", tmp_path / "out")
    assert read_manifest(tmp_path / "out" / "train.tsv").sizes.tolist() == [8_000]


@pytest.mark.parametrize("folder", ["X\udcff", "X\n"])
def test_segments_are_not_cut_to_a_folder_that_no_manifest_can_hold(folder: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    data, dest = kaldi(tmp_path / "k"), tmp_path / folder
    assert "which a manifest cannot hold; rename the f" in manifest.refused("kaldi", f"train={data}", "--dest", dest)
    assert not os.path.exists(dest)


def test_a_fifth_field_of_segments_is_the_channel(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    (data / "segments").write_text("a call1 0 8 0\nb call1 0 8 1\n")
    (data / "text").write_text("a ONE\nb TWO\n")
    (data / "utt2spk").write_text("a anna\nb ben\n")
    manifest("kaldi", f"test={data}", "--dest", tmp_path / "out")
    first, second = (soundfile.read(tmp_path / "out" / "audio" / "call1" / f"{name}.flac")[0] for name in "ab")
    assert len(first) == len(second) == 128_000 and abs(first - second).max() > 0.1


def test_marks_in_the_texts_are_said_and_removed_when_asked(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    _edit(data / "text", "GO ON", "GO <UNK> ON [noise]")
    said = manifest("kaldi", f"test={data}", "--dest", tmp_path / "out")
    assert "note: marks are in the transcripts" in said and "<UNK> (2)" in said and "[noise] (2)" in said
    manifest("kaldi", f"test={data}", "--dest", tmp_path / "out", "--normalise", "marks")
    assert (tmp_path / "out" / "test.wrd").read_text().splitlines()[1] == "GO ON"


def test_speakers_that_are_the_utterances_are_said(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    names = [line.split()[0] for line in (data / "segments").read_text().splitlines()]
    (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    assert "every utterance has a speaker of its own" in manifest("kaldi", data, "--dest", tmp_path / "out")


def test_folders_that_are_no_data_directories_are_refused(tmp_path: Path, manifest: ManifestCommand) -> None:
    assert "no such folder" in manifest.refused("kaldi", tmp_path / "none", "--dest", tmp_path / "out")
    assert "has no wav.scp" in manifest.refused("kaldi", tmp_path, "--dest", tmp_path / "out")
    (tmp_path / "wav.scp").write_bytes(b"a caf\xe9.wav\n")
    assert f"{tmp_path}/wav.scp, line 1: not UTF-8" in manifest.refused("kaldi", tmp_path, "--dest", tmp_path / "out")
    (tmp_path / "wav.scp").write_bytes(b"")
    assert "no utterance can be used" in manifest.refused("kaldi", tmp_path, "--dest", tmp_path / "out")
