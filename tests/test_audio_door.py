"""The door for audio: in every format, whole files come in, and a damaged, cut or odd file is named in one line, at every stage."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable, Dict

import numpy as np
import pytest
import soundfile
from odd_audio import FORMATS, SAMPLES, waveform, with_data_size, without_first_frame, without_length, write_audio
from refusals import refusal
from shapes import TINY_HUBERT, save_pretrained

from softhubert_plugin.audio.check import audio_length, check_audio, readable_lengths
from softhubert_plugin.audio.opening import UnreadableAudio
from softhubert_plugin.audio.random_access import AudioFiles
from softhubert_plugin.audio.read import read_samples, read_waveform
from softhubert_plugin.audio.resample import convert_file
from softhubert_plugin.audio.threads import in_threads
from softhubert_plugin.cli import main
from softhubert_plugin.corpora.digits import make_digits_corpus
from softhubert_plugin.corpora.librispeech import write_librispeech_manifests
from softhubert_plugin.corpora.segments import Header, convert_bytes, read_header
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.hubert import dump_hubert
from softhubert_plugin.features.mfcc import dump_mfcc
from softhubert_plugin.manifests import read_manifest, write_manifest


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_of_every_format_has_the_length_that_is_read(name: str, tmp_path: Path) -> None:
    path = write_audio(tmp_path, name)
    assert audio_length(path, every_sample=True) == len(read_samples(path)) == SAMPLES


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("left", [0.5, 0.97, -2], ids=["half", "all but 3 %", "all but two bytes"])
def test_a_file_of_every_format_that_was_cut_short_is_refused(name: str, left: float, tmp_path: Path) -> None:
    path = write_audio(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left) if left > 0 else int(left)])
    with pytest.raises(UnreadableAudio, match=f"{name}: "):
        audio_length(path)


@pytest.mark.parametrize("name", ["voice.voc", "sound.ircam"])
def test_a_format_that_does_not_tell_whether_it_is_complete_is_refused_with_its_name(name: str, tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / name), waveform(), 16_000, format=name.split(".")[1].upper())
    with pytest.raises(UnreadableAudio, match=r"in the format (VOC|IRCAM), which does not tell .*convert it"):
        audio_length(tmp_path / name)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_file_that_was_written_to_a_pipe_is_as_long_as_its_samples(size: int, tmp_path: Path) -> None:
    path = write_audio(tmp_path, "pcm.wav")
    path.write_bytes(with_data_size(path.read_bytes(), size))
    assert audio_length(path) == len(read_samples(path)) == SAMPLES


def test_headers_without_a_length_are_refused_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_audio(tmp_path / "audio", "pcm.flac")
    path.write_bytes(without_length(path.read_bytes()))
    command = ["manifest", "folder", str(tmp_path / "audio"), "--dest", str(tmp_path / "lists"), "--valid-percent", "0"]
    assert "pcm.flac: its header does not tell how many samples" in refusal(command, capsys)
    write_audio(tmp_path / "audio", "24bit.flac")
    assert main([*command, "--skip-unreadable"]) == 0
    assert read_manifest(tmp_path / "lists" / "train.tsv").names == ["24bit.flac"]
    wav = write_audio(tmp_path / "audio", "pcm.wav")
    wav.write_bytes(with_data_size(wav.read_bytes(), 0))
    assert "pcm.wav: audio without samples" in refusal([*command, "--ext", "wav"], capsys)
    assert main([*command, "--resample-to", str(tmp_path / "copies"), "--valid-percent", "0.5"]) == 0
    sizes = [int(size) for split in ("train", "valid") for size in read_manifest(tmp_path / "lists" / f"{split}.tsv").sizes]
    assert sizes == [SAMPLES, SAMPLES]


def test_an_mp3_file_is_as_long_as_its_frames_or_refused(tmp_path: Path) -> None:
    constant, variable = (write_audio(tmp_path, f"{kind}.mp3") for kind in ("constant", "variable"))
    whole = variable.read_bytes()
    constant.write_bytes(without_first_frame(constant.read_bytes()))
    assert audio_length(constant) == len(read_samples(constant)) >= SAMPLES
    variable.write_bytes(without_first_frame(whole))
    with pytest.raises(UnreadableAudio, match="without a length in its header, whose bitrate varies"):
        audio_length(variable)
    variable.write_bytes(whole + whole)
    with pytest.raises(UnreadableAudio, match="cut short or joined"):
        audio_length(variable)
    variable.write_bytes(b"ID3\x03\0\0\0\0\0\x10" + bytes(16) + whole + b"TAG" + bytes(125))
    assert audio_length(variable) == SAMPLES


@pytest.mark.parametrize("front", [b"ID3\x03\0\0\0\0\0\x10" + bytes(16), b"ID3\x03\0\0\0\x02\0\0" + bytes(2 << 14)], ids=["small", "large"])
def test_an_mp3_file_without_a_length_behind_a_tag_is_never_as_long_as_it_is_guessed(front: bytes, tmp_path: Path) -> None:
    path = write_audio(tmp_path, "constant.mp3")
    path.write_bytes(front + without_first_frame(path.read_bytes()))
    with pytest.raises(UnreadableAudio, match=r"how many samples it has \(an MP3 file without Xing or Info\); .*--resample-to"):
        audio_length(path)
    converted = convert_file(path, tmp_path / "copy.flac")
    assert converted.samples == audio_length(tmp_path / "copy.flac") == len(read_samples(path))
    header = read_header(path)
    assert isinstance(header, Header) and header.frames == converted.samples and not header.fits
    copied = convert_bytes(path.read_bytes(), "a row", tmp_path / "bytes.flac")
    assert copied.samples == converted.samples
    whole = path.read_bytes()
    path.write_bytes(whole[:-3_000] + bytes(1_000) + whole[-2_000:])
    with pytest.raises(UnreadableAudio):
        convert_file(path, tmp_path / "damaged.flac")


def test_an_mp3_file_without_a_length_is_converted_whatever_libsndfile_guesses(tmp_path: Path) -> None:
    path = tmp_path / "long.mp3"  # at 44.1 kHz some frames are a byte longer than the first, from which libsndfile guesses
    soundfile.write(path, np.tile(waveform(samples=44_100), 20), 44_100, format="MP3", bitrate_mode="CONSTANT", compression_level=0.9)
    path.write_bytes(without_first_frame(path.read_bytes()))
    samples = convert_file(path, tmp_path / "copy.flac").samples
    assert 20 * 16_000 <= samples < (soundfile.info(str(path)).frames - 2_304) * 16_000 / 44_100


def test_an_ogg_file_ends_with_its_last_page_and_has_one_stream(tmp_path: Path) -> None:
    path = write_audio(tmp_path, "vorbis.ogg")
    whole = path.read_bytes()
    other = write_audio(tmp_path, "opus.ogg").read_bytes()
    path.write_bytes(whole + other)
    with pytest.raises(UnreadableAudio, match="several Ogg streams"):
        audio_length(path)
    path.write_bytes(whole[: whole.rindex(b"OggS")])
    with pytest.raises(UnreadableAudio, match="not marked as the last"):
        audio_length(path)


def test_a_tag_after_flac_does_no_harm_and_one_before_it_needs_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_audio(tmp_path / "audio", "pcm.flac")
    expected, whole = read_samples(path), path.read_bytes()
    path.write_bytes(whole + b"TAG" + bytes(125))
    assert audio_length(path) == SAMPLES
    np.testing.assert_array_equal(read_samples(path), expected)
    path.write_bytes(b"ID3\x03\0\0\0\0\0\x10" + bytes(16) + whole)
    command = ["manifest", "folder", str(tmp_path / "audio"), "--dest", str(tmp_path / "lists"), "--valid-percent", "0"]
    assert "has an ID3 tag in front" in refusal(command, capsys)
    assert main([*command, "--resample-to", str(tmp_path / "copies")]) == 0
    np.testing.assert_array_equal(read_waveform(read_manifest(tmp_path / "lists" / "train.tsv"), 0, normalize=False).numpy(), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 12_345.0])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_not_numbers_are_named_with_their_position(value: float, subtype: str, tmp_path: Path) -> None:
    samples = np.clip(waveform(), -1, 1)
    soundfile.write(tmp_path / "good.wav", 1.5 * samples, 16_000, subtype=subtype)  # a little beyond full scale
    assert audio_length(tmp_path / "good.wav", every_sample=True) == SAMPLES
    samples[23_999] = value
    soundfile.write(tmp_path / "odd.wav", samples, 16_000, subtype=subtype)
    with pytest.raises(UnreadableAudio, match=r"odd\.wav: sample 23999 is -?(nan|inf|1e\+30|12345), expected numbers from -1 to 1"):
        audio_length(tmp_path / "odd.wav", every_sample=True)
    with pytest.raises(UnreadableAudio, match="sample 23999"):
        read_samples(tmp_path / "odd.wav", start=20_000)
    lengths, problems = readable_lengths([tmp_path / "good.wav", tmp_path / "odd.wav"])
    assert lengths == {tmp_path / "good.wav": SAMPLES} and len(problems) == 1


def test_what_is_not_a_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    os.symlink("gone.wav", tmp_path / "broken.wav")
    os.symlink("itself.wav", tmp_path / "itself.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "nothing.wav").write_bytes(b"")
    complaints = {
        "broken.wav": r"broken\.wav: a link to gone\.wav, which does not exist",
        "itself.wav": r"itself\.wav: cannot be opened",
        "pipe.wav": r"pipe\.wav: not a regular file",
        "folder.wav": r"folder\.wav: cannot be opened",
        "nothing.wav": r"nothing\.wav: an empty file",
        "missing.wav": r"missing\.wav: no such audio file",
    }
    for name, complaint in complaints.items():
        with pytest.raises(UnreadableAudio, match=complaint):
            audio_length(tmp_path / name)


@pytest.fixture()
def corpus_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Write ``train.tsv`` of one file as if it were usable."""

    def write(path: Path, samples: int = SAMPLES) -> Path:
        write_manifest(tmp_path / "train.tsv", path.parent, [(path.name, samples)])
        return tmp_path

    return write


def _stereo(folder: Path) -> Path:
    return write_audio(folder, "pcm.flac", channels=2)


def _from_the_beginning(folder: Path) -> Path:
    soundfile.write(folder / "gsm.wav", waveform(), 16_000, subtype="GSM610")
    return folder / "gsm.wav"


def _cut(folder: Path) -> Path:
    path = write_audio(folder, "pcm.flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _damaged_in_the_middle(folder: Path) -> Path:
    path = write_audio(folder, "pcm.flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    path.write_bytes(content)
    return path


def _not_numbers(folder: Path) -> Path:
    samples = waveform()
    samples[100] = np.nan
    soundfile.write(folder / "nan.wav", samples, 16_000, subtype="FLOAT")
    return folder / "nan.wav"


ODD: Dict[Callable[[Path], Path], str] = {
    _stereo: "2 channels, expected 1; convert the files with '--resample-to DIR'",
    _from_the_beginning: "encoded as GSM610, which can only be read from the beginning",
    _cut: "cut short or damaged",
    _damaged_in_the_middle: "not readable as audio",
    _not_numbers: "sample 100 is nan",
}


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_features_of_an_odd_file_are_refused_in_one_line_and_leave_no_shard(
    make: Callable[[Path], Path], tmp_path: Path, corpus_of: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    folder = str(corpus_of(path))
    checkpoint = save_pretrained(tmp_path / "checkpoint.pt", TINY_HUBERT)
    for command in (["mfcc", folder, "train"], ["hubert", folder, "train", str(checkpoint), "1"]):
        line = refusal(["features", *command, "1", "0", str(tmp_path / "features")], capsys)
        assert f"{path}: " in line and ODD[make] in line and "train.tsv, line 2" in line
    assert not list((tmp_path / "features").glob("train*"))


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_training_reads_no_odd_file(make: Callable[[Path], Path], tmp_path: Path, corpus_of: Callable[[Path], Path]) -> None:
    audio = AudioFiles(read_manifest(corpus_of(make(tmp_path)) / "train.tsv"))
    with pytest.raises(SoftHubertError, match=r"train\.tsv"):
        audio.read(0, 0, SAMPLES)


@pytest.mark.parametrize("make", [_stereo, _from_the_beginning, _cut], ids=lambda make: make.__name__)
def test_training_and_verification_refuse_what_the_manifest_commands_refuse(
    make: Callable[[Path], Path], tmp_path: Path, corpus_of: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    with pytest.raises(SoftHubertError, match=ODD[make]):
        check_audio(read_manifest(corpus_of(path) / "train.tsv"))
    assert ODD[make] in refusal(["manifest", "folder", str(tmp_path), "--dest", str(tmp_path / "lists"), "--ext", "flac,wav"], capsys)
    good = write_audio(tmp_path / "good", "pcm.wav")
    corpus = corpus_of(good)
    dump_mfcc(corpus, "train", 1, 0, corpus / "mfcc")
    (corpus / "train.km").write_text(" ".join(["0"] * 148) + "\n")
    (corpus / "dict.km.txt").write_text("0 1\n")
    verify = ["labels", "verify", str(corpus / "train.km"), "--manifest", str(corpus / "train.tsv"), "--label-rate", "100"]
    assert main(verify) == 0
    good.write_bytes(path.read_bytes())
    assert ODD[make] in refusal(verify, capsys)
    good.unlink()
    assert main([*verify, "--no-audio"]) == 0


def test_a_file_that_grew_or_shrank_since_the_manifest_is_named(tmp_path: Path, corpus_of: Callable[[Path, int], Path]) -> None:
    path = write_audio(tmp_path, "pcm.wav")
    for samples in (SAMPLES - 1, SAMPLES + 1):
        manifest = read_manifest(corpus_of(path, samples) / "train.tsv")
        with pytest.raises(SoftHubertError, match=f"{SAMPLES} samples, but .*line 2 says {samples}"):
            read_waveform(manifest, 0, normalize=False)
    with pytest.raises(SoftHubertError, match="expected 24001"):
        AudioFiles(manifest).read(0, 0, SAMPLES + 1)


def test_reading_in_parts_gives_the_parts_of_the_whole(tmp_path: Path, corpus_of: Callable[[Path], Path]) -> None:
    path = write_audio(tmp_path, "pcm.flac")
    audio = AudioFiles(read_manifest(corpus_of(path) / "train.tsv"))
    whole = soundfile.read(str(path), dtype="float32")[0]
    np.testing.assert_array_equal(audio.read(0), whole)
    np.testing.assert_array_equal(audio.read(0, 5_000, 7_000), whole[5_000:12_000])
    normalized = read_waveform(read_manifest(tmp_path / "train.tsv"), 0, normalize=True).numpy()
    np.testing.assert_allclose(normalized, (whole - whole.mean()) / np.sqrt(whole.var() + 1e-5), atol=1e-5)


def test_after_an_error_the_files_that_wait_are_not_opened() -> None:
    opened = []

    def work(number: int) -> int:
        opened.append(number)
        time.sleep(1e-3)
        if number == 3:
            raise SoftHubertError("3")
        return number

    with pytest.raises(SoftHubertError):
        list(in_threads(work, range(5_000), workers=2, what="test"))
    assert len(opened) < 5_000


def test_librispeech_ignores_the_files_of_macos_and_refuses_cut_audio(tmp_path: Path) -> None:
    folder = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "121123"
    for number in range(2):
        soundfile.write(write_audio(folder, "pcm.flac").rename(folder / f"84-121123-{number:04d}.flac"), waveform(), 16_000)
    (folder / "84-121123.trans.txt").write_text("84-121123-0000 GO ON\n84-121123-0001 STOP\n")
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text("84 | F | dev-clean | 0.05 | Nobody\n")
    for name in ("._84-121123-0000.flac", "._84-121123.trans.txt", ".DS_Store", "../._121123", "../../.DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    write_librispeech_manifests(tmp_path, tmp_path / "lists", subsets=["dev-clean"])
    names = read_manifest(tmp_path / "lists" / "dev-clean.tsv").names
    assert names == [f"dev-clean/84/121123/84-121123-{number:04d}.flac" for number in range(2)]
    assert (tmp_path / "lists" / "dev-clean.wrd").read_text() == "GO ON\nSTOP\n"
    path = folder / "84-121123-0001.flac"
    whole = path.read_bytes()
    for content, complaint in ((whole[: len(whole) // 2], "cut short"), (without_length(whole), "does not tell how many samples")):
        path.write_bytes(content)
        with pytest.raises(SoftHubertError, match=rf"84-121123-0001\.flac: .*{complaint}"):
            write_librispeech_manifests(tmp_path, tmp_path / "lists", subsets=["dev-clean"])
    path.rename(folder / "stray.flac")
    with pytest.raises(SoftHubertError, match=r"stray\.flac: expected a name such as 84-121123-0000\.flac"):
        write_librispeech_manifests(tmp_path, tmp_path / "lists", subsets=["dev-clean"])
    (folder / "stray.flac").rename(folder / "84-121123-0002.flac")
    with pytest.raises(SoftHubertError, match=r"84-121123-0002\.flac: has no line in"):
        write_librispeech_manifests(tmp_path, tmp_path / "lists", subsets=["dev-clean"])


def test_cut_recordings_of_digits_are_refused(tmp_path: Path) -> None:
    for digit in range(10):
        soundfile.write(tmp_path / f"{digit}_anna_0.wav", waveform(samples=800), 8_000)
    path = tmp_path / "3_anna_0.wav"
    path.write_bytes(path.read_bytes()[:-100])
    for speaker in ("berta", "clara"):
        for digit in range(10):
            soundfile.write(tmp_path / f"{digit}_{speaker}_0.wav", waveform(samples=800), 8_000)
    with pytest.raises(UnreadableAudio, match=r"3_anna_0\.wav: cut short"):
        make_digits_corpus(tmp_path, tmp_path / "digits", utterances=1)
    (tmp_path / "._3_anna_0.wav").write_bytes(b"macOS")
    os.rename(path, os.fsencode(tmp_path) + b"/3_caf\xe9_0.wav")
    with pytest.raises(SoftHubertError, match=r"3_caf\\xe9_0\.wav: the name is not UTF-8"):
        make_digits_corpus(tmp_path, tmp_path / "digits", utterances=1)


def test_layers_of_a_readable_file_are_still_dumped(tmp_path: Path, corpus_of: Callable[[Path], Path]) -> None:
    corpus = corpus_of(write_audio(tmp_path, "24bit.wav"))
    checkpoint = save_pretrained(tmp_path / "checkpoint.pt", TINY_HUBERT)
    assert "1 utterances" in dump_hubert(corpus, "train", checkpoint, "1", 1, 0, tmp_path / "features")
