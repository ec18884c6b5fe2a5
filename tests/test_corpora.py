"""Corpora: generated speech, spoken digits, LibriSpeech and audio folders become manifests and transcripts that fit the audio."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import fairseq
import numpy as np
import pytest
import soundfile
from refusals import refusal

from softhubert_plugin.audio.check import check_audio
from softhubert_plugin.cli import main
from softhubert_plugin.corpora.digits import make_digits_corpus
from softhubert_plugin.corpora.folder import write_folder_manifest
from softhubert_plugin.corpora.librispeech import write_librispeech_manifests, write_speaker_splits
from softhubert_plugin.corpora.spoken import make_spoken_corpus
from softhubert_plugin.corpora.spoken.corpus import phone_intervals
from softhubert_plugin.corpora.subset import write_subset
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import letters, read_dictionary, read_manifest, write_manifest


def _digest(folder: Path) -> Dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes().replace(str(folder).encode(), b"")).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _check_splits(folder: Path) -> Dict[str, List[str]]:
    """Check that manifests fit the audio, that transcripts fit, and that no speaker is in two splits. Return each split's transcripts."""
    speakers, texts = {}, {}
    symbols = set(read_dictionary(folder / "dict.ltr.txt"))
    for split in ("train", "valid", "test"):
        manifest = read_manifest(folder / f"{split}.tsv")
        check_audio(manifest)
        texts[split] = (folder / f"{split}.wrd").read_text().splitlines()
        spelt = (folder / f"{split}.ltr").read_text().splitlines()
        assert len(manifest) == len(texts[split]) > 0
        assert [letters(text) for text in texts[split]] == spelt
        assert all(set(line.split()) <= symbols for line in spelt)
        speakers[split] = {manifest.utterance_id(index).partition("-")[0] for index in range(len(manifest))}
    assert not speakers["train"] & speakers["valid"] and not (speakers["train"] | speakers["valid"]) & speakers["test"]
    return texts


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated corpus of 30 utterances by six speakers."""
    folder = tmp_path_factory.mktemp("spoken")
    make_spoken_corpus(folder, utterances=30, speakers=6, seed=3)
    return folder


def test_spoken_splits_share_no_speaker_and_fit_their_transcripts(spoken: Path) -> None:
    texts = _check_splits(spoken)
    assert sum(map(len, texts.values())) == 30


def test_the_same_seed_gives_the_same_corpus_and_another_seed_gives_another(spoken: Path, tmp_path: Path) -> None:
    make_spoken_corpus(tmp_path / "again", utterances=30, speakers=6, seed=3)
    assert _digest(tmp_path / "again") == _digest(spoken)
    make_spoken_corpus(tmp_path / "other", utterances=30, speakers=6, seed=4)
    assert (tmp_path / "other" / "train.wrd").read_text() != (spoken / "train.wrd").read_text()


def test_alignments_cover_every_utterance_and_tell_speech_from_silence(spoken: Path) -> None:
    loud, quiet = [], []
    for split in ("train", "valid", "test"):
        manifest = read_manifest(spoken / f"{split}.tsv")
        for index in range(len(manifest)):
            samples, _ = soundfile.read(manifest.audio_path(index))
            lines = (spoken / "alignments" / f"{manifest.utterance_id(index)}.lab").read_text().splitlines()
            intervals: List[Tuple[float, float, str]] = [(float(a), float(b), phone) for a, b, phone in map(str.split, lines)]
            assert intervals[0][0] == 0 and intervals[-1][1] == pytest.approx(len(samples) / 16_000, abs=1e-3)
            assert all(before[1] == after[0] for before, after in zip(intervals, intervals[1:]))
            for start, end, phone in intervals:
                energy = np.mean(samples[int(16_000 * start) : int(16_000 * end)] ** 2)
                (quiet if phone == "sil" else loud).append(10 * np.log10(energy + 1e-12))
    assert np.median(loud) > np.median(quiet) + 25


def test_a_finished_corpus_is_kept_and_not_overwritten_with_other_settings(spoken: Path) -> None:
    assert "already there" in make_spoken_corpus(spoken, utterances=30, speakers=6, seed=3)
    with pytest.raises(SoftHubertError, match="seed"):
        make_spoken_corpus(spoken, utterances=30, speakers=6, seed=4)


def test_too_few_speakers_or_utterances_are_refused(tmp_path: Path) -> None:
    for options in ({"speakers": 2}, {"speakers": 6, "utterances": 3}, {"speakers": 10_000, "utterances": 20_000}):
        with pytest.raises(SoftHubertError):
            make_spoken_corpus(tmp_path / "corpus", **options)
        assert not (tmp_path / "corpus").exists()


def test_events_become_contiguous_intervals_without_stress_marks() -> None:
    found = phone_intervals([(0.1, "'w"), (0.2, "V2"), (0.2, "_"), (0.3, "n"), (0.5, "_:"), (0.6, "_")], 0.7)
    assert found == [(0, 0.1, "sil"), (0.1, 0.2, "w"), (0.2, 0.3, "sil"), (0.3, 0.5, "n"), (0.5, 0.7, "sil")]


def test_digit_strings_are_real_speech_of_disjoint_speakers(speech: Path, tmp_path: Path) -> None:
    make_digits_corpus(speech / "fsdd" / "recordings", tmp_path / "digits", utterances=4, seed=1)
    texts = _check_splits(tmp_path / "digits")
    assert {split: len(lines) for split, lines in texts.items()} == {"train": 12, "valid": 4, "test": 4}
    assert all(3 <= len(line.split()) <= 7 for lines in texts.values() for line in lines)
    make_digits_corpus(speech / "fsdd" / "recordings", tmp_path / "again", utterances=4, seed=1)
    assert _digest(tmp_path / "again") == _digest(tmp_path / "digits")


def _recordings(folder: Path, *, samples: int = 800) -> Path:
    folder.mkdir()
    for each in ("anna", "bob", "cleo"):
        for digit in range(10):
            soundfile.write(folder / f"{digit}_{each}_0.wav", np.full(samples, 0.1), 8_000)
    return folder


@pytest.mark.parametrize(("speaker", "valid"), [("cleo", "bob"), ("anna", "cleo"), ("bob", "anna")])
def test_any_speaker_of_digits_can_be_the_one_to_test_on(speaker: str, valid: str, tmp_path: Path) -> None:
    recordings = _recordings(tmp_path / "recordings")
    make_digits_corpus(recordings, tmp_path / "digits", utterances=2, test_speaker=speaker)
    found = json.loads((tmp_path / "digits" / "corpus.json").read_text())["speakers"]
    assert {name for name, split in found.items() if split == "test"} == {speaker}
    assert {name for name, split in found.items() if split == "valid"} == {valid}
    with pytest.raises(SoftHubertError):  # another corpus is there
        make_digits_corpus(recordings, tmp_path / "digits", utterances=2, test_speaker="bob" if speaker != "bob" else "anna")
    with pytest.raises(SoftHubertError, match="no recordings of speaker 'dora', only of anna, bob, cleo"):
        make_digits_corpus(recordings, tmp_path / "others", test_speaker="dora")


def test_a_corpus_of_other_recordings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    one, other, dest = _recordings(tmp_path / "one"), _recordings(tmp_path / "other", samples=900), tmp_path / "digits"
    make_digits_corpus(one, dest, utterances=2)
    moved = one.rename(tmp_path / "moved")
    assert make_digits_corpus(moved, dest, utterances=2).endswith("already there")
    for recordings, complaint in ((other, "made with .* asked for"), (one, "no such folder")):
        with pytest.raises(SoftHubertError, match=complaint):
            make_digits_corpus(recordings, dest, utterances=2)
    made = json.loads((dest / "corpus.json").read_text())
    del made["parameters"]["recordings"]  # as older versions wrote it
    (dest / "corpus.json").write_text(json.dumps(made))
    assert make_digits_corpus(other, dest, utterances=2).endswith("already there")
    for number in (0, -4):
        with pytest.raises(SoftHubertError, match="expected at least 1"):
            make_digits_corpus(other, tmp_path / "none", utterances=number)


@pytest.mark.parametrize("name", ["X\udcff", "X ", "X\n", "X\u3000"])
def test_a_root_that_no_manifest_can_hold_is_refused_before_audio_is_made(name: str, tmp_path: Path) -> None:
    dest = tmp_path / name
    recordings = _recordings(tmp_path / "recordings")
    for make in (functools.partial(make_digits_corpus, recordings), make_spoken_corpus):
        with pytest.raises(SoftHubertError, match="which a manifest cannot hold; rename the folder") as raised:
            make(dest)
        assert len(str(raised.value).splitlines()) == 1 and str(raised.value).isprintable()
    assert not os.path.exists(dest)


def test_digit_recordings_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="no such folder"):
        make_digits_corpus(tmp_path / "none", tmp_path / "digits")
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    soundfile.write(recordings / "3_anna_0.wav", np.zeros(800), 8_000)
    with pytest.raises(SoftHubertError, match="anna has no recording of 0, 1, 2, 4"):
        make_digits_corpus(recordings, tmp_path / "digits")
    soundfile.write(recordings / "three.wav", np.zeros(800), 8_000)
    with pytest.raises(SoftHubertError, match=r"three\.wav: expected a name such as"):
        make_digits_corpus(recordings, tmp_path / "digits")


def test_librispeech_manifests_equal_the_files_and_their_transcripts(speech: Path, tmp_path: Path) -> None:
    write_librispeech_manifests(speech, tmp_path, subsets=["train-clean-100"])
    manifest = read_manifest(tmp_path / "train-clean-100.tsv")
    words = (tmp_path / "train-clean-100.wrd").read_text().splitlines()
    found = {manifest.utterance_id(index): words[index] for index in range(len(manifest))}
    expected = {}
    for transcript in (speech / "LibriSpeech" / "train-clean-100").rglob("*.trans.txt"):
        for line in transcript.read_text().splitlines():
            name, _, text = line.partition(" ")
            expected[name] = text
    assert found == expected
    check_audio(manifest)


def test_librispeech_speakers_are_split_without_overlap(speech: Path, tmp_path: Path) -> None:
    write_speaker_splits(speech, tmp_path, subset="train-clean-100")
    _check_splits(tmp_path)


def _tiny_librispeech(root: Path, speakers: Dict[int, str], minutes: float, chapters: int = 2) -> Path:
    """Write two-minute utterances of silence in LibriSpeech's layout.

    Args:
        speakers: F or M for each speaker. Odd numbers belong to train-clean-100, even numbers to train-other-500.
        minutes: speech per speaker.
        chapters: chapters per speaker.
    """
    lines = [";ID | SEX | SUBSET | MINUTES | NAME"]
    for speaker, sex in speakers.items():
        subset = "train-clean-100" if speaker % 2 else "train-other-500"
        lines.append(f"{speaker} | {sex} | {subset} | {minutes:.2f} | |A|bar of a name")
        each = max(1, round(minutes / 2 / chapters))
        for chapter in range(chapters):
            folder = root / "LibriSpeech" / subset / str(speaker) / str(chapter)
            folder.mkdir(parents=True)
            names = [f"{speaker}-{chapter}-{number:04d}" for number in range(each)]
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{name} GO ON\n" for name in names))
            for name in names:
                soundfile.write(folder / f"{name}.flac", np.zeros(120 * 16_000, dtype=np.int16), 16_000)
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")
    return root


def test_speaker_and_chapter_of_each_utterance_are_kept(speech: Path, tmp_path: Path) -> None:
    said = write_librispeech_manifests(speech, tmp_path, subsets=["train-clean-100"])
    assert "train-clean-100 367 utterances of 3 of its 251 speakers" in said
    manifest = read_manifest(tmp_path / "train-clean-100.tsv")
    kept = [line.split("\t") for line in (tmp_path / "train-clean-100.spk").read_text().splitlines()]
    assert kept == [manifest.utterance_id(index).split("-")[:2] for index in range(len(manifest))]


def test_limited_sets_are_balanced_nested_and_always_the_same(tmp_path: Path) -> None:
    root = _tiny_librispeech(tmp_path / "corpus", {number: "FM"[number // 2 % 2] for number in range(1, 13)}, minutes=8)
    subsets = ["train-clean-100", "train-other-500"]
    options = {"subsets": subsets, "limited": ["1h", "10min"], "combine": "train-all"}
    said = write_librispeech_manifests(root, tmp_path / "lists", **options)
    assert "train-10min 4 utterances of 4 speakers" in said and "train-all 48 utterances of 12 speakers" in said
    small, large = (set(read_manifest(tmp_path / "lists" / f"train-{name}.tsv").names) for name in ("10min", "1h"))
    assert small < large and len(large) == 36  # 5 minutes per speaker, rounded to utterances of two minutes
    chosen = {int(name.split("/")[1]) for name in small}
    assert sorted((speaker % 2, speaker // 2 % 2) for speaker in chosen) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    write_librispeech_manifests(root, tmp_path / "again", **{**options, "subsets": subsets[::-1]})
    assert (tmp_path / "again" / "train-1h.tsv").read_text() == (tmp_path / "lists" / "train-1h.tsv").read_text()
    with pytest.raises(SoftHubertError, match=r"--limited 10h: 1\.60 hours of training speech available"):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=subsets, limited=["10h"])


def test_options_for_librispeech_that_contradict_each_other_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _tiny_librispeech(tmp_path / "corpus", {1: "F", 3: "M", 5: "F"}, minutes=2)
    command = ["manifest", "librispeech", str(root), "--dest", str(tmp_path / "lists"), "--subsets", "train-clean-100"]
    for options in (["--combine", "all"], ["--limited", "1h"], ["--combine", "all", "--limited", "1h"]):
        assert "--by-speaker: writes train, valid and test only" in refusal([*command, "--by-speaker", *options], capsys)
    for name in ("train-clean-100", "dev-clean", "../all", "a b"):
        assert f"--combine {name}: expected the name of a new split" in refusal([*command, "--combine", name], capsys)
    assert "--combine train-1h" in refusal([*command, "--combine", "train-1h", "--limited", "1h"], capsys)
    assert not (tmp_path / "lists").exists()
    assert main([*command, "train-clean-100", "--combine", "all"]) == 0
    assert len(read_manifest(tmp_path / "lists" / "all.tsv")) == len(read_manifest(tmp_path / "lists" / "train-clean-100.tsv")) == 6


def test_a_part_never_replaces_another_split(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("valid", 4), ("train-clean", 3)):
        write_manifest(tmp_path / f"{split}.tsv", tmp_path, [(f"{split[:5]}-{number}.flac", 800) for number in range(count)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for part in ("valid", "train-clean"):
        with pytest.raises(SoftHubertError, match=rf"{part}\.tsv: is not such a part of train, so it is not replaced"):
            write_subset(tmp_path, "train", part, utterances=3)
    for part in ("./train", "../valid", "a/b", ""):
        with pytest.raises(SoftHubertError, match="expected the name of the part"):
            write_subset(tmp_path, "train", part, utterances=3)
    for split in ("train", "./train"):
        with pytest.raises(SoftHubertError, match="would overwrite the split"):
            write_subset(tmp_path, split, "train", utterances=3)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for count in (3, 3, 5, 99, 2):  # the same again, and other sizes
        write_subset(tmp_path, "train", "small", utterances=count)
        assert len(read_manifest(tmp_path / "small.tsv")) == min(count, 9)
    write_subset(tmp_path, "valid", "valid-2", utterances=2)
    write_manifest(tmp_path / "valid.tsv", tmp_path, [("new-1.flac", 800), ("new-2.flac", 800)])
    write_subset(tmp_path, "valid", "valid-2", utterances=2)  # a recipe after a change of its data
    assert read_manifest(tmp_path / "valid-2.tsv").names == ["new-1.flac", "new-2.flac"]


def test_a_corpus_that_disagrees_with_its_list_of_speakers_is_refused(tmp_path: Path) -> None:
    root = _tiny_librispeech(tmp_path, {1: "F", 3: "M", 5: "F"}, minutes=4)
    (root / "LibriSpeech" / "train-clean-100" / "3" / "1" / "3-1-0000.flac").unlink()
    with pytest.raises(SoftHubertError, match=r"train-clean-100/3: 2\.00 minutes of speech, SPEAKERS\.TXT says 4\.00; delete"):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=["train-clean-100"])
    assert "all 3 speakers" in write_librispeech_manifests(root, tmp_path / "lists", subsets=["train-clean-100"], partial=True)
    listed = root / "LibriSpeech" / "SPEAKERS.TXT"
    listed.write_text(listed.read_text().replace("5 | F | train-clean-100", "5 | F | dev-clean"))
    with pytest.raises(SoftHubertError, match=r"train-clean-100/5: a speaker that SPEAKERS\.TXT lists in dev-clean"):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=["train-clean-100"], partial=True)
    listed.write_text("5 | F\n")
    with pytest.raises(SoftHubertError, match="line 1: expected 'ID"):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=["train-clean-100"])
    (root / "LibriSpeech" / "train-clean-100" / "1" / "0" / "1-0.trans.txt").unlink()
    with pytest.raises(SoftHubertError, match="a transcript is missing"):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=["train-clean-100"])


def test_a_damaged_archive_is_named_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "dev-clean.tar.gz").write_bytes(b"half an archive")
    with pytest.raises(SoftHubertError, match=r"dev-clean\.tar\.gz: damaged or incomplete .*delete this file and run again"):
        write_librispeech_manifests(tmp_path, tmp_path / "lists", subsets=["dev-clean"], download=True)


def _published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, checksum: str) -> Path:
    """Make the download of dev-clean fetch ``content`` from this machine and expect ``checksum``. Return the folder to download to."""
    from torchaudio.datasets import librispeech

    download = librispeech.download_url_to_file
    (tmp_path / "published.tar.gz").write_bytes(content)
    published = (tmp_path / "published.tar.gz").as_uri()
    monkeypatch.setattr(librispeech, "download_url_to_file", lambda _, *rest, **more: download(published, *rest, **more))
    monkeypatch.setitem(librispeech._CHECKSUMS, "http://www.openslr.org/resources/12/dev-clean.tar.gz", checksum)
    return tmp_path / "here"


def _archive_of_dev_clean(tmp_path: Path) -> bytes:
    """An archive of noise, because noise makes it larger than the buffers that it is read through."""
    folder = tmp_path / "made" / "LibriSpeech"
    (folder / "dev-clean" / "84" / "1").mkdir(parents=True)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    for number in range(8):
        soundfile.write(folder / "dev-clean" / "84" / "1" / f"84-1-{number:04d}.flac", noise, 16_000)
    (folder / "dev-clean" / "84" / "1" / "84-1.trans.txt").write_text("".join(f"84-1-{number:04d} GO ON\n" for number in range(8)))
    (folder / "SPEAKERS.TXT").write_text("84 | F | dev-clean | 0.27 | Nobody\n")
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as archive:
        archive.add(folder, "LibriSpeech")
    return (tmp_path / "made.tar.gz").read_bytes()


def test_a_download_is_checked_unpacked_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _archive_of_dev_clean(tmp_path)
    root = _published(tmp_path, monkeypatch, content, hashlib.sha256(content).hexdigest())
    said = write_librispeech_manifests(root, tmp_path / "lists", subsets=["dev-clean"], download=True)
    assert said.endswith("dev-clean 8 utterances of all 1 speakers")


def test_a_download_whose_checksum_is_wrong_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _published(tmp_path, monkeypatch, _archive_of_dev_clean(tmp_path), "0" * 64)
    with pytest.raises(SoftHubertError, match=r"dev-clean\.tar\.gz: could not be fetched .*invalid hash.*nothing was unpacked; run again"):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=["dev-clean"], download=True)
    assert not list(root.iterdir())


def test_a_download_that_keeps_a_damaged_archive_names_the_file_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchaudio.datasets import librispeech

    content = _archive_of_dev_clean(tmp_path)
    root = _published(tmp_path, monkeypatch, content, hashlib.sha256(content).hexdigest())

    def cut_short(_url: str, path: str, **_more: Any) -> None:
        Path(path).write_bytes(content[: len(content) // 2])
        raise ConnectionResetError("connection reset")

    monkeypatch.setattr(librispeech, "download_url_to_file", cut_short)
    for _ in range(2):  # the second time, the damaged archive is already there
        with pytest.raises(SoftHubertError) as refused:
            write_librispeech_manifests(root, tmp_path / "lists", subsets=["dev-clean"], download=True)
        assert str(refused.value).startswith(f"{root}/dev-clean.tar.gz: damaged") and "delete this file and run again" in str(refused.value)


def test_an_archive_that_does_not_unpack_names_the_folder_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _archive_of_dev_clean(tmp_path)
    content = content[: len(content) // 2]  # it was published damaged, so the checksum fits
    root = _published(tmp_path, monkeypatch, content, hashlib.sha256(content).hexdigest())
    with pytest.raises(
        SoftHubertError, match=r"could not be fetched and unpacked .*; delete .*/LibriSpeech/dev-clean, which is incomplete"
    ):
        write_librispeech_manifests(root, tmp_path / "lists", subsets=["dev-clean"], download=True)


def test_an_unknown_or_absent_librispeech_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="no such subset"):
        write_librispeech_manifests(tmp_path, tmp_path, subsets=["train-clean"])
    with pytest.raises(SoftHubertError, match="dev-clean: not there"):
        write_librispeech_manifests(tmp_path, tmp_path, subsets=["dev-clean"])


def test_a_folder_is_listed_as_by_fairseqs_script(corpus: Path, tmp_path: Path) -> None:
    script = Path(fairseq.__file__).parent / "examples" / "wav2vec" / "wav2vec_manifest.py"
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    command = [sys.executable, str(script), str(corpus / "audio"), "--dest", str(theirs), "--ext", "flac", "--valid-percent", "0"]
    subprocess.run(command, check=True, capture_output=True)
    write_folder_manifest(corpus / "audio", ours, valid_percent=0)
    expected, found = read_manifest(theirs / "train.tsv"), read_manifest(ours / "train.tsv")
    assert found.root == expected.root
    assert set(zip(found.names, found.sizes)) == set(zip(expected.names, expected.sizes))
    write_folder_manifest(corpus / "audio", ours, valid_percent=0.25)
    assert [len(read_manifest(ours / f"{split}.tsv")) for split in ("train", "valid")] == [6, 2]


def test_a_folder_with_audio_of_another_rate_is_refused_with_both_rates(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "audio", tmp_path / "mixed")
    soundfile.write(tmp_path / "mixed" / "slow.flac", np.zeros(8_000), 8_000)
    with pytest.raises(SoftHubertError, match=r"slow\.flac.*8000.*16000"):
        write_folder_manifest(tmp_path / "mixed", tmp_path / "lists")
    with pytest.raises(SoftHubertError, match=r"no \.wav files"):
        write_folder_manifest(corpus / "audio", tmp_path / "lists", extension="wav")
