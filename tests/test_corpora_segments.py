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
    samples = np.zeros(16_000, dtype=np.float32)
    samples[9_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    whole = sound(tmp_path / "cut.flac", 4.0).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    segments = [Segment(tmp_path / "nan.wav", 0, 8_000, None, tmp_path / "0.flac")]
    segments += [Segment(tmp_path / "nan.wav", 8_000, 16_000, None, tmp_path / "1.flac")]
    segments += [Segment(tmp_path / "cut.flac", 0, 16_000, None, tmp_path / "2.flac")]
    segments += [Segment(tmp_path / "cut.flac", 48_000, 64_000, None, tmp_path / "3.flac")]
    problems: Dict[int, str] = {}
    outcomes = cut_segments(segments, problems.__setitem__)
    assert sorted(problems) == [1, 3] and [outcome.samples for outcome in outcomes] == [8_000, 0, 16_000, 0]
    assert "nan.wav, 0.50 to 1.00 s: has samples that are not numbers" in problems[1] and "cut.flac, 3.00 to 4.00 s: " in problems[3]
    assert not (tmp_path / "1.flac").exists() and not (tmp_path / "3.flac").exists()


def test_headers_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    sound(tmp_path / "prime.wav", rate=15_991)
    endless = bytearray(sound(tmp_path / "endless.flac").read_bytes())
    endless[21] &= 0xF0  # the length, in the header's bytes 21 to 25
    endless[22:26] = bytes(4)
    (tmp_path / "endless.flac").write_bytes(bytes(endless))
    for name, message in {
        "none.wav": "no such audio file",
        "empty.wav": "audio without samples",
        "prime.wav": "sampled at 15991 Hz, an uncommon rate",
        "endless.flac": "does not say how long it is",
    }.items():
        assert message in str(read_header(tmp_path / name))


def test_names_of_any_kind_stay_inside_the_folder(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/abs/olute", ".hidden", "a/../b", "x" * 500, "ü" * 150, "a b", "..", "a\\b"]
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
