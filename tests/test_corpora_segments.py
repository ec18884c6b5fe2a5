"""Segments are cut once out of recordings of any form, and only what changed is cut again; nothing else is ever written over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from odd_audio import with_data_size, without_length, write_audio
from small_corpora import ManifestCommand, kaldi, sound

from softhubert_plugin.corpora.segments import Segment, cut_segments, read_header, target_in
from softhubert_plugin.errors import SoftHubertError


@pytest.fixture()
def manifest(capsys: pytest.CaptureFixture[str]) -> ManifestCommand:
    """The command ``softhubert manifest``."""
    return ManifestCommand(capsys)


def _state(folder: Path) -> Dict[str, Tuple[int, int]]:
    """The inode and time of every file: a file that is written anew has others."""
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*.flac")}


def _changed(before: Dict[str, Tuple[int, int]], after: Dict[str, Tuple[int, int]]) -> List[str]:
    return sorted(name for name in after if before.get(name) != after[name])


def _never(number: int, problem: str) -> None:
    raise AssertionError(f"{number}: {problem}")


@pytest.mark.parametrize(("suffix", "rate", "channels"), [("wav", 44_100, 1), ("flac", 8_000, 2), ("ogg", 48_000, 1), ("mp3", 22_050, 2)])
def test_a_segment_equals_the_same_part_of_the_recording_resampled(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    source = sound(tmp_path / f"a.{suffix}", 3.0, rate=rate, channels=channels)
    first, last = round(0.75 * rate), round(2.0 * rate)
    outcomes = cut_segments([Segment(source, first, last, None, tmp_path / "out" / "a.flac")], _never)
    samples, _ = soundfile.read(source, dtype="float32", always_2d=True)
    best = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}  # "kaiser_best" of its documentation
    averaged = torch.from_numpy(samples[first:last].mean(1))
    expected = torchaudio.functional.resample(averaged, rate, 16_000, resampling_method="sinc_interp_kaiser", **best).numpy()
    found, found_rate = soundfile.read(tmp_path / "out" / "a.flac", dtype="float32")
    assert (found_rate, len(found), outcomes[0].samples) == (16_000, 20_000, 20_000)
    np.testing.assert_allclose(found, expected.clip(-1, 1), atol=1e-4)


def test_one_channel_is_taken_and_not_the_average(tmp_path: Path) -> None:
    loud, quiet = np.full(16_000, 0.5, dtype=np.float32), np.full(16_000, 0.1, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([loud, quiet], 1), 16_000)
    segments = [Segment(tmp_path / "a.wav", 0, 16_000, channel, tmp_path / f"{channel}.flac") for channel in (0, 1, None)]
    cut_segments(segments, _never)
    for segment, expected in zip(segments, (0.5, 0.1, 0.3)):
        assert soundfile.read(segment.target)[0] == pytest.approx(np.full(16_000, expected), abs=1e-4)


def test_another_run_cuts_nothing_and_a_changed_list_cuts_what_changed(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    arguments = ["kaldi", f"train={data}", "--dest", tmp_path / "out"]
    assert "8 segments cut" in manifest(*arguments)
    first = _state(tmp_path / "out")
    assert "8 of these files were there already" in manifest(*arguments)
    assert _state(tmp_path / "out") == first
    segments = (data / "segments").read_text().splitlines()
    segments[2] = segments[2].rsplit(" ", 1)[0] + " 1.50"
    (data / "segments").write_text("\n".join(segments) + "\n")
    manifest(*arguments)
    assert _changed(first, _state(tmp_path / "out")) == ["audio/call1/spk2-002.flac"]
    assert soundfile.info(tmp_path / "out" / "audio" / "call1" / "spk2-002.flac").frames == 8_000
    second = _state(tmp_path / "out")
    (tmp_path / "out" / "audio" / "call2" / "spk1-001.flac").unlink()  # as after an interruption
    manifest(*arguments)
    assert _changed(second, _state(tmp_path / "out")) == ["audio/call2/spk1-001.flac"]
    third = _state(tmp_path / "out")
    os.utime(tmp_path / "k" / "wav" / "call2.flac", (0, 0))  # another recording
    manifest(*arguments)
    assert _changed(third, _state(tmp_path / "out")) == [f"audio/call2/spk{number % 4}-{number:03d}.flac" for number in (1, 5, 3, 7)]
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_damaged_segment_is_cut_again(tmp_path: Path) -> None:
    segment = Segment(sound(tmp_path / "a.wav", 2.0), 0, 16_000, None, tmp_path / "out.flac")
    cut_segments([segment], _never)
    whole = segment.target.read_bytes()
    segment.target.write_bytes(whole[:60])
    with pytest.raises(SoftHubertError, match=r"out\.flac: exists, and was not cut by this command"):
        cut_segments([segment], _never)
    segment.target.unlink()
    assert not cut_segments([segment], _never)[0].kept and segment.target.read_bytes() == whole


def test_a_file_of_the_users_is_never_written_over(tmp_path: Path, manifest: ManifestCommand) -> None:
    data = kaldi(tmp_path / "k")
    own = sound(tmp_path / "out" / "audio" / "call1" / "spk0-000.flac")
    content = own.read_bytes()
    said = manifest.refused("kaldi", f"train={data}", "--dest", tmp_path / "out")
    assert f"{own}: exists, and was not cut by this command" in said and own.read_bytes() == content


def test_a_recording_is_never_written_over(tmp_path: Path, manifest: ManifestCommand) -> None:
    path = sound(tmp_path / "audio" / "a.flac", rate=8_000)
    content = path.read_bytes()
    (tmp_path / "t.csv").write_text("path,text\na.flac,GO\n")
    (tmp_path / "link").symlink_to(tmp_path / "audio")
    for folder in ("audio", "link"):
        options = ["--root", tmp_path / "audio", "--resample-to", tmp_path / folder]
        said = manifest.refused("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out", *options)
        assert "is one of the recordings and would be written over" in said and path.read_bytes() == content


def test_two_recordings_that_would_become_one_file_are_named(tmp_path: Path, manifest: ManifestCommand) -> None:
    for name in ("a.wav", "a.flac"):
        sound(tmp_path / name, rate=8_000)
    (tmp_path / "t.csv").write_text("path,text\na.wav,GO\na.flac,ON\n")
    said = manifest.refused("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out", "--resample-to", tmp_path / "16k")
    assert "t.csv, line 3: would be written to" in said and "t.csv, line 2 is; rename one" in said


def test_samples_that_are_not_numbers_and_recordings_that_end_early_are_named(tmp_path: Path) -> None:
    for name, odd in (("nan", np.nan), ("scaled", 20_000)):
        samples = np.zeros(16_000, dtype=np.float32)
        samples[9_000] = odd
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000, subtype="FLOAT")
    whole = sound(tmp_path / "cut.flac", 4.0).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    segments = [Segment(tmp_path / "nan.wav", 0, 8_000, None, tmp_path / "0.flac")]
    segments += [Segment(tmp_path / "nan.wav", 8_000, 16_000, None, tmp_path / "1.flac")]
    segments += [Segment(tmp_path / "cut.flac", 0, 16_000, None, tmp_path / "2.flac")]
    segments += [Segment(tmp_path / "cut.flac", 48_000, 64_000, None, tmp_path / "3.flac")]
    segments += [Segment(tmp_path / "scaled.wav", 8_000, 16_000, None, tmp_path / "4.flac")]
    problems: Dict[int, str] = {}
    outcomes = cut_segments(segments, problems.__setitem__)
    assert sorted(problems) == [1, 2, 3, 4] and [outcome.samples for outcome in outcomes] == [8_000, 0, 0, 0, 0]
    assert "nan.wav: sample 9000 is nan, expected numbers from -1 to 1" in problems[1] and "sample 9000 is 20000" in problems[4]
    assert "cut.flac: cut short or damaged" in problems[2] == problems[3]
    assert not any((tmp_path / f"{number}.flac").exists() for number in problems)


def test_headers_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    sound(tmp_path / "prime.wav", rate=15_991)
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "short.mp3").write_bytes(write_audio(tmp_path, "variable.mp3").read_bytes()[:2_000])
    soundfile.write(tmp_path / "old.voc", np.zeros(800), 16_000, format="VOC")
    for name, message in {
        "none.wav": "no such audio file",
        "empty.wav": "audio without samples",
        "prime.wav": "sampled at 15991 Hz, which cannot be converted",
        "pipe.wav": "not a regular file",
        "short.mp3": "cut short",
        "old.voc": "does not tell whether a file is complete",
    }.items():
        assert message in str(read_header(tmp_path / name))


def test_flac_without_a_length_is_cut_and_converted_as_if_it_had_one(tmp_path: Path, manifest: ManifestCommand) -> None:
    whole = sound(tmp_path / "whole.flac", 4.0, rate=8_000)
    (tmp_path / "piped.flac").write_bytes(without_length(whole.read_bytes()))
    assert read_header(tmp_path / "piped.flac") == read_header(whole) == (32_000, 8_000, 1, False)
    rows = "".join(f"{name}.flac,{times}\n" for name in ("whole", "piped") for times in ("1.0,2.0", "3.0,1.0", ","))
    (tmp_path / "t.csv").write_text("path,start,duration\n" + rows)
    manifest("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out", "--resample-to", tmp_path / "16k")
    files = [line.split("\t")[0] for line in (tmp_path / "out" / "train.tsv").read_text().splitlines()[1:]]
    samples = [soundfile.read(tmp_path / name)[0].tolist() for name in files]
    assert [len(each) for each in samples] == [32_000, 16_000, 64_000] * 2 and samples[:3] == samples[3:]


def test_an_encoding_that_can_only_be_read_from_the_beginning_is_converted_but_not_cut(tmp_path: Path, manifest: ManifestCommand) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000, subtype="GSM610")
    (tmp_path / "t.csv").write_text("path,start,duration\na.wav,0.25,0.5\n")
    options = [f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out", "--resample-to", tmp_path / "16k"]
    assert "a.wav: encoded as GSM610, which can only be read from the beginning; convert" in manifest.refused("table", *options)
    (tmp_path / "t.csv").write_text("path\na.wav\n")
    assert "1 recordings converted" in manifest("table", *options)
    piped = tmp_path / "piped.flac"
    piped.write_bytes(without_length(sound(tmp_path / "whole.flac").read_bytes()))
    (tmp_path / "t.csv").write_text("path\na.wav\npiped.flac\nwhole.flac\n")
    assert "2 recordings converted" in manifest("table", *options)


def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path: Path, manifest: ManifestCommand) -> None:
    samples = np.zeros(16_000, dtype=np.float32)
    samples[4_000:4_010] = 1.5
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    (tmp_path / "t.csv").write_text("path,start,duration\na.wav,0,0.5\na.wav,0.5,0.5\n")
    said = manifest("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out")
    assert "10 samples beyond full scale were clipped, in 1 of the files" in said


@pytest.mark.parametrize("times", ["", "0.1,0.5"])
@pytest.mark.parametrize("kind", ["nan", "scaled", "cut", "pipe"])
def test_odd_audio_is_refused_whether_it_is_used_cut_or_converted(kind: str, times: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    path = tmp_path / "a.wav"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        samples = np.full(16_000, 0.1, dtype=np.float32)
        samples[3_000] = {"nan": np.nan, "scaled": 3_000, "cut": 0}[kind]
        soundfile.write(path, samples, 16_000, subtype="FLOAT")
    if kind == "cut":
        path.write_bytes(with_data_size(path.read_bytes(), 70_000))
    (tmp_path / "t.csv").write_text(f"path,start,duration\na.wav,{times or ','}\n")
    for resampling in ([], ["--resample-to", tmp_path / "16k"]):
        said = manifest.refused("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out", *resampling)
        expected = {"nan": "sample 3000 is nan", "scaled": "sample 3000 is 3000", "cut": "cut short", "pipe": "not a regular file"}
        assert f"t.csv, line 2: {path}: {expected[kind]}" in said


def test_names_of_any_kind_stay_inside_the_folder(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/abs/olute", ".hidden", "a/../b", "x" * 500, "ü" * 150, "a b", "..", "a\\b", "/"]
    for name in names:
        target = target_in(tmp_path, name, name)
        assert tmp_path in target.parents and ".." not in target.parts and not any(part.startswith(".") for part in target.parts[1:])
        sound(target)
    assert len({target_in(tmp_path, name, name) for name in names}) == len(names)


def test_a_long_recording_is_cut_in_several_tasks_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sound(tmp_path / "a.flac", 10.0, rate=8_000)
    segments = [Segment(source, 400 * number, 400 * number + 800, None, tmp_path / "many" / f"{number}.flac") for number in range(190)]
    cut_segments(segments[::-1], _never)
    monkeypatch.setattr("softhubert_plugin.corpora.segments._SEGMENTS_PER_TASK", 1_000)
    cut_segments([segment._replace(target=tmp_path / "one" / segment.target.name) for segment in segments], _never)
    for segment in segments:
        assert segment.target.read_bytes() == (tmp_path / "one" / segment.target.name).read_bytes()
