from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Tuple

import fairseq
import numpy as np
import pytest
import soundfile

from softhubert_plugin.corpora.digits import make_digits_corpus
from softhubert_plugin.corpora.folder import write_folder_manifest
from softhubert_plugin.corpora.librispeech import write_librispeech_manifests, write_speaker_splits
from softhubert_plugin.corpora.spoken import make_spoken_corpus
from softhubert_plugin.corpora.spoken.corpus import phone_intervals
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import check_audio, letters, read_dictionary, read_manifest


def _digest(folder: Path) -> Dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes().replace(str(folder).encode(), b"")).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _check_splits(folder: Path) -> Dict[str, List[str]]:
    """Manifests and audio agree, transcripts fit, no speaker is in two splits. Returns each split's transcripts."""
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
    folder = tmp_path_factory.mktemp("spoken")
    make_spoken_corpus(folder, utterances=30, speakers=6, seed=3)
    return folder


def test_spoken_splits_share_no_speaker_and_fit_their_transcripts(spoken: Path) -> None:
    texts = _check_splits(spoken)
    assert sum(map(len, texts.values())) == 30


def test_the_same_seed_speaks_the_same_corpus_and_another_seed_another(spoken: Path, tmp_path: Path) -> None:
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


def test_a_finished_corpus_is_kept_and_one_of_other_settings_is_not_overwritten(spoken: Path) -> None:
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


def test_an_unknown_or_absent_librispeech_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="no such subset"):
        write_librispeech_manifests(tmp_path, tmp_path, subsets=["train-clean"])
    with pytest.raises(SoftHubertError, match="dev-clean: not there"):
        write_librispeech_manifests(tmp_path, tmp_path, subsets=["dev-clean"])


def test_a_folder_is_listed_as_fairseqs_script_lists_it(corpus: Path, tmp_path: Path) -> None:
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
