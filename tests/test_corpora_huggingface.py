"""Data sets that Hugging Face's ``datasets`` saved become audio, manifests and transcripts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import pytest
import soundfile
from small_corpora import TEXTS, ManifestCommand, read_corpus, sound

from softhubert_plugin.manifests import read_manifest

datasets = pytest.importorskip("datasets")


@pytest.fixture()
def manifest(capsys: pytest.CaptureFixture[str]) -> ManifestCommand:
    """The command ``softhubert manifest``."""
    return ManifestCommand(capsys)


def _table(folder: Path, tag: str, utterances: int = 3, **columns: Any) -> Any:
    """A table of sounds at 44.1 kHz with two channels, with texts and speakers."""
    audio = []
    for number in range(utterances):
        path = sound(folder / f"{tag}{number}.wav", 0.5 + 0.1 * number, rate=44_100, channels=2)
        audio.append({"bytes": path.read_bytes(), "path": path.name})
        path.unlink()
    content: Dict[str, Any] = {"audio": audio, "sentence": list(TEXTS[:utterances]), "speaker": [f"{tag}-{n}" for n in range(utterances)]}
    table = datasets.Dataset.from_dict({**content, **columns})
    # datasets itself does not save audio whose file is missing; a table that only says where its audio is can be.
    missing = any(each["bytes"] is None for each in table["audio"])
    return table if missing else table.cast_column("audio", datasets.Audio(sampling_rate=44_100))


def test_each_split_becomes_one_with_its_audio_unpacked_once(tmp_path: Path, manifest: ManifestCommand) -> None:
    datasets.DatasetDict({"train": _table(tmp_path, "a"), "test": _table(tmp_path, "b", 2)}).save_to_disk(tmp_path / "saved")
    arguments = ["huggingface", tmp_path / "saved", "--dest", tmp_path / "out", "--text", "sentence"]
    said = manifest(*arguments)
    found = read_corpus(tmp_path / "out", "train", "test")
    assert found["test"] == [f"audio/test/test-000000{n}.flac|{TEXTS[n]}|b-{n}" for n in range(2)]
    assert read_manifest(tmp_path / "out" / "train.tsv").sizes.tolist() == [8_000, 9_600, 11_200]
    assert "train 3 utterances of 3 speakers" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.flac")}
    assert len(before) == 5
    manifest(*arguments)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_one_table_is_divided_by_speaker(tmp_path: Path, manifest: ManifestCommand) -> None:
    _table(tmp_path, "a", 5, speaker=[7, 7, 8, 8, 9]).save_to_disk(tmp_path / "saved")
    manifest("huggingface", tmp_path / "saved", "--dest", tmp_path / "out", "--text", "sentence")
    found = read_corpus(tmp_path / "out", "train", "valid", "test")
    assert sorted({line.rsplit("|", 1)[1] for lines in found.values() for line in lines}) == ["7", "8", "9"]


def _bytes(samples: Optional[np.ndarray]) -> bytes:
    stream = io.BytesIO()
    if samples is not None:
        soundfile.write(stream, samples, 16_000, format="WAV", subtype="FLOAT")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"bytes": b"not audio", "path": None}, "not readable as audio"),
        ({"bytes": _bytes(np.zeros(0, dtype=np.float32)), "path": None}, "audio without samples"),
        ({"bytes": _bytes(np.full(800, np.nan, dtype=np.float32)), "path": None}, "sample 0 is nan"),
        ({"bytes": None, "path": "/no/such.wav"}, "found only its path ('/no/such.wav'), and no such file"),
    ],
)
def test_a_row_without_usable_audio_is_named_or_left_out(
    audio: Dict[str, Any], message: str, tmp_path: Path, manifest: ManifestCommand
) -> None:
    good = {"bytes": _bytes(np.full(8_000, 0.1, dtype=np.float32)), "path": "good.wav"}
    _table(tmp_path, "a", 2, audio=[audio, good]).save_to_disk(tmp_path / "saved")
    options = ["--valid-percent", 0, "--test-percent", 0, "--text", "sentence"]
    said = manifest.refused("huggingface", tmp_path / "saved", "--dest", tmp_path / "out", *options)
    assert f"{tmp_path / 'saved'}, row 0: " in said and message in said
    said = manifest("huggingface", tmp_path / "saved", "--dest", tmp_path / "out", *options, "--skip-unreadable")
    assert "train 1 utterances" in said and "1 skipped" in said


def test_samples_that_are_in_the_table_as_numbers_are_read_at_their_own_rates(tmp_path: Path, manifest: ManifestCommand) -> None:
    tone = np.sin(np.arange(8_000) / 5).astype(np.float32) / 2
    audio = [{"array": tone[: rate // 2].tolist(), "sampling_rate": rate} for rate in (8_000, 16_000)]
    datasets.Dataset.from_dict({"audio": audio}).save_to_disk(tmp_path / "saved")
    options = ["--dest", tmp_path / "out", "--valid-percent", 0, "--test-percent", 0]
    manifest("huggingface", tmp_path / "saved", *options)
    found = read_manifest(tmp_path / "out" / "train.tsv")
    assert found.sizes.tolist() == [8_000, 8_000]
    np.testing.assert_allclose(soundfile.read(found.audio_path(1))[0], tone, atol=1e-4)
    audio = [{"array": [[0.5] * 800, [0.1] * 800], "sampling_rate": 16_000}, {"array": [[0.1] * 800], "sampling_rate": 0}]
    datasets.Dataset.from_dict({"audio": audio}).save_to_disk(tmp_path / "odd")
    said = manifest("huggingface", tmp_path / "odd", *options, "--skip-unreadable", "--dest", tmp_path / "odd_out")
    assert f"skipped {tmp_path / 'odd'}, row 1: expected samples at a sampling rate" in said
    samples = soundfile.read(read_manifest(tmp_path / "odd_out" / "train.tsv").audio_path(0))[0]
    np.testing.assert_allclose(samples, np.full(800, 0.3), atol=1e-4)


def test_what_is_no_saved_data_set_is_refused(tmp_path: Path, manifest: ManifestCommand) -> None:
    _table(tmp_path, "a").save_to_disk(tmp_path / "saved")
    for options, message in (
        (["--text", "words"], "no column 'words'; its columns are audio, sentence, speaker"),
        (["--audio", "sound"], "no column 'sound'"),
        (["--audio", "sentence"], ""),
    ):
        assert message in manifest.refused("huggingface", tmp_path / "saved", "--dest", tmp_path / "out", *options)
    for name in ("none", "hf://someone/something"):
        assert "no such folder" in manifest.refused("huggingface", name, "--dest", tmp_path / "out")
    assert "not a data set that" in manifest.refused("huggingface", tmp_path, "--dest", tmp_path / "out")
    for name, content in (("state.json", b"{"), ("dataset_info.json", json.dumps([1]).encode()), ("data-00000-of-00001.arrow", b"x" * 40)):
        before = (tmp_path / "saved" / name).read_bytes()
        (tmp_path / "saved" / name).write_bytes(content)
        assert str(tmp_path / "saved") in manifest.refused("huggingface", tmp_path / "saved", "--dest", tmp_path / "out"), name
        (tmp_path / "saved" / name).write_bytes(before)
