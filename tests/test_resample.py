"""Conversion to 16 kHz FLAC: the same samples as torchaudio's from any file, resumed, never half-written, never over another file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from odd_audio import FORMATS, SAMPLES, waveform, without_length, write_audio

import softhubert_plugin
from softhubert_plugin.audio import resample
from softhubert_plugin.audio.opening import UnreadableAudio
from softhubert_plugin.audio.resample import convert_files, describe, flac_names
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import read_manifest

STEP = 2**-15  # one step of 16 bits


def convert(path: Path, dest: Path) -> np.ndarray:
    """Convert one file and return its samples."""
    converted, problems = convert_files({path.name: path}, dest)
    samples, rate = soundfile.read(str(dest / converted[path.name].name), dtype="float32")
    assert rate == 16_000 and samples.shape == (converted[path.name].samples,) and not problems
    return samples


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 12_345])
def test_the_samples_are_torchaudios_although_they_come_block_by_block(rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_BLOCK_SECONDS", 1)
    samples = waveform(samples=int(3.37 * rate))
    soundfile.write(tmp_path / "any.wav", samples, rate, subtype="FLOAT")
    kernel = {"rolloff": 0.9475937167399596, "resampling_method": "sinc_interp_kaiser", "beta": 14.769656459379492}
    expected = torchaudio.functional.resample(torch.from_numpy(samples), rate, 16_000, lowpass_filter_width=64, **kernel).numpy()
    np.testing.assert_allclose(convert(tmp_path / "any.wav", tmp_path / "out"), np.clip(expected, -1, 1 - STEP), atol=3 * STEP)


def test_what_already_fits_keeps_its_samples_and_channels_are_averaged(tmp_path: Path) -> None:
    for name in ("pcm.flac", "pcm.wav", "apple.aiff"):
        path = write_audio(tmp_path, name)
        np.testing.assert_array_equal(convert(path, tmp_path / "out" / name), soundfile.read(str(path), dtype="float32")[0])
    both = np.stack([waveform(1), waveform(2)], axis=1) / 2
    soundfile.write(tmp_path / "both.wav", both, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(convert(tmp_path / "both.wav", tmp_path / "out"), both.mean(axis=1), atol=STEP)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_converted_from_8_khz_stereo_or_refused_if_cut(name: str, tmp_path: Path) -> None:
    path = write_audio(tmp_path, name, rate=8_000, channels=2)
    assert len(convert(path, tmp_path / "out")) == 2 * SAMPLES
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableAudio, match=name):
        convert(path, tmp_path / "other")
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


def test_flac_without_a_length_gets_one(tmp_path: Path) -> None:
    path = write_audio(tmp_path, "pcm.flac")
    expected, content = soundfile.read(str(path), dtype="float32")[0], without_length(path.read_bytes())
    path.write_bytes(content)
    np.testing.assert_array_equal(convert(path, tmp_path / "out"), expected)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableAudio, match=r"pcm\.flac: not readable as audio"):
        convert(path, tmp_path / "out")


def test_two_files_never_share_a_copy() -> None:
    names = ["a/x.wav", "a/x.mp3", "b/x.wav", "y.wav", "z.wav", "z.flac", "z.wav.flac", "no-extension"]
    assert flac_names(names) == {
        "a/x.wav": "a/x.wav.flac",
        "a/x.mp3": "a/x.mp3.flac",
        "b/x.wav": "b/x.flac",
        "y.wav": "y.flac",
        "z.wav": "z.wav.flac",
        "z.flac": "z.flac.flac",
        "z.wav.flac": "z.wav.flac.flac",
        "no-extension": "no-extension.flac",
    }


@pytest.fixture()
def audio(tmp_path: Path) -> Path:
    """Three files of different kinds in folders."""
    soundfile.write(write_audio(tmp_path / "audio" / "a", "pcm.wav", rate=44_100), waveform(1), 44_100)
    write_audio(tmp_path / "audio" / "b", "pcm.wav", rate=8_000, channels=2)
    write_audio(tmp_path / "audio", "constant.mp3", rate=16_000)
    return tmp_path / "audio"


def _command(audio: Path, *more: str) -> List[str]:
    dest = audio.parent / "lists"
    command = ["manifest", "folder", str(audio), "--dest", str(dest), "--ext", "wav,mp3", "--valid-percent", "0"]
    return [*command, "--resample-to", str(audio.parent / "copies"), *more]


def _state(folder: Path) -> Dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_manifest_of_any_audio_lists_the_copies_and_a_second_run_keeps_them(audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _state(audio)
    assert main(_command(audio)) == 0
    first, copies = capsys.readouterr().out, _state(audio.parent / "copies")
    for part in ("1 file of 44100 Hz and 1 channel", "1 file of 8000 Hz and 2 channels", "1 file of 16000 Hz and 1 channel"):
        assert part in first
    manifest = read_manifest(audio.parent / "lists" / "train.tsv")
    assert manifest.root == audio.parent / "copies" and manifest.names == ["a/pcm.flac", "b/pcm.flac", "constant.flac"] == sorted(copies)
    assert manifest.sizes.tolist() == [int(np.ceil(SAMPLES * 16_000 / 44_100)), 2 * SAMPLES, SAMPLES]
    assert main(_command(audio)) == 0
    assert capsys.readouterr().out == first
    assert _state(audio.parent / "copies") == copies and _state(audio) == before


def test_only_what_changed_or_was_damaged_is_made_again(audio: Path) -> None:
    copies = audio.parent / "copies"
    main(_command(audio))
    before = _state(copies)
    changed = audio / "a" / "pcm.wav"
    soundfile.write(changed, waveform(5), 44_100)  # as many bytes as before
    os.utime(changed, ns=(0, before["a/pcm.flac"] + 1))
    (copies / "b" / "pcm.flac").write_bytes((copies / "b" / "pcm.flac").read_bytes()[:-50])
    main(_command(audio))
    after = _state(copies)
    assert {name for name in before if before[name] != after[name]} == {"a/pcm.flac", "b/pcm.flac"}
    expected = convert(changed, audio.parent / "anew")
    np.testing.assert_array_equal(soundfile.read(str(copies / "a" / "pcm.flac"), dtype="float32")[0], expected)
    (copies / "constant.flac").write_bytes(b"")  # as a failing disk may leave it
    main(_command(audio))
    assert soundfile.info(str(copies / "constant.flac")).frames == SAMPLES


def test_audio_of_another_origin_is_never_replaced(audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = audio.parent / "copies"
    foreign = write_audio(copies / "a", "pcm.flac")
    content = foreign.read_bytes()
    with pytest.raises(SystemExit):
        main(_command(audio))
    assert "a/pcm.flac: this audio was not made by --resample-to" in capsys.readouterr().err
    assert foreign.read_bytes() == content
    foreign.unlink()
    main(_command(audio))
    write_audio(audio.parent / "others" / "b", "pcm.wav", rate=8_000)
    with pytest.raises(SoftHubertError, match=r"b/pcm\.flac: this audio was made from .*audio/b/pcm\.wav, not from .*others/b/pcm\.wav"):
        convert_files({"b/pcm.wav": audio.parent / "others" / "b" / "pcm.wav"}, copies)


def test_originals_and_copies_must_be_apart(audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _state(audio.parent)
    (audio.parent / "link").symlink_to(audio)
    for copies in (audio, audio / "16k", audio.parent, audio.parent / "link", audio / ".." / "audio"):
        with pytest.raises(SystemExit):
            main([*_command(audio)[:-1], str(copies)])
        assert "overlaps with" in capsys.readouterr().err
    assert _state(audio.parent) == before


def test_bad_files_among_good_ones_are_named_and_leave_nothing(audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut, odd = audio / "cut.mp3", audio / "odd.wav"
    cut.write_bytes((audio / "constant.mp3").read_bytes()[:-1000])
    soundfile.write(odd, np.append(waveform(), np.nan), 44_100, subtype="FLOAT")
    with pytest.raises(SystemExit):
        main(_command(audio))
    assert "cut.mp3: cut short" in capsys.readouterr().err
    assert main(_command(audio, "--skip-unreadable")) == 0
    *_, first, second, _, summary = capsys.readouterr().out.splitlines()
    assert (
        "cut.mp3: cut short" in first and "odd.wav: sample 24000 is nan" in second and summary.endswith("3 files in train.tsv, 2 skipped")
    )
    assert sorted(_state(audio.parent / "copies")) == ["a/pcm.flac", "b/pcm.flac", "constant.flac"]


def test_rates_that_no_speech_has_are_refused(tmp_path: Path) -> None:
    for rate in (44_099, 1_000, 1_000_000):
        soundfile.write(tmp_path / "odd.wav", waveform(samples=2_000), rate)
        with pytest.raises(SoftHubertError, match=rf"odd\.wav: sampled at {rate} Hz, which cannot be converted"):
            convert_files({"odd.wav": tmp_path / "odd.wav"}, tmp_path / "out", skip_unreadable=True)


def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path: Path) -> None:
    samples = np.clip(waveform(), -0.9, 0.9)
    samples[[5, 600]] = [1.5, -2.0]
    soundfile.write(tmp_path / "loud.wav", samples, 16_000, subtype="FLOAT")
    converted, _ = convert_files({"loud.wav": tmp_path / "loud.wav"}, tmp_path / "out")
    assert "; 2 samples beyond full scale were clipped, in 1 of the files" in describe(converted.values())
    found = soundfile.read(str(tmp_path / "out" / "loud.flac"))[0]
    assert found[5] == 1 - STEP and found[600] == -1


def test_a_disk_that_cannot_take_the_copy_is_named_and_no_half_file_is_left(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "audio", "pcm.wav")
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 160_000), 16_000)
    command = [sys.executable, "-m", "softhubert_plugin", "manifest", "folder", str(path.parent), "--dest", str(tmp_path / "lists")]
    command += ["--ext", "wav", "--valid-percent", "0", "--resample-to", str(tmp_path / "copies"), "--skip-unreadable"]
    environment = {**os.environ, "PYTHONPATH": str(Path(softhubert_plugin.__file__).parents[1])}

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(command, env=environment, preexec_fn=small_files, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"{tmp_path / 'copies' / 'pcm.flac'}: " in line
    assert list((tmp_path / "copies").iterdir()) == []
    assert subprocess.run(command, env=environment, capture_output=True, check=True).returncode == 0
