"""Little corpora in the forms in which people have speech, made of noise, for tests of the manifest commands."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
import pytest
import soundfile

from softhubert_plugin.audio.check import check_audio
from softhubert_plugin.cli import main
from softhubert_plugin.manifests import letters, read_manifest

TEXTS = ("HELLO WORLD", "GO ON", "IT'S LATE", "COME IN NOW", "SIT DOWN", "THE END")


def sound(path: Path, seconds: float = 0.6, *, rate: int = 16_000, channels: int = 1) -> Path:
    """Write noise whose loudness rises from nothing, so that a part of it is known by its loudness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = round(seconds * rate)
    noise = np.random.default_rng(frames).uniform(-0.5, 0.5, (frames, channels)) * np.linspace(0, 1, frames)[:, None]
    soundfile.write(path, noise if channels > 1 else noise[:, 0], rate)
    return path


def ljspeech(folder: Path, *, utterances: int = 6) -> Path:
    """Write LJSpeech's layout, at its 22 050 Hz. Return ``metadata.csv``."""
    lines = []
    for number in range(utterances):
        sound(folder / "wavs" / f"LJ001-{number:04d}.wav", 0.5 + 0.1 * number, rate=22_050)
        lines.append(f'LJ001-{number:04d}|No. {number} "raw|{TEXTS[number % len(TEXTS)].capitalize()}.')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder / "metadata.csv"


def common_voice(folder: Path) -> List[Path]:
    """Write Common Voice's layout: MP3 at 48 kHz. Return ``train.tsv``, ``dev.tsv`` and ``test.tsv``."""
    tables = []
    for split in ("train", "dev", "test"):
        rows = ["client_id\tpath\tsentence\tup_votes\tage"]
        for number in range(3):
            sound(folder / "clips" / f"common_voice_en_{split}{number}.mp3", 0.6 + 0.1 * number, rate=48_000)
            rows.append(f'{split}-person{number % 2}\tcommon_voice_en_{split}{number}.mp3\t"{TEXTS[number].capitalize()}!" he said.\t2\t')
        table = folder / f"{split}.tsv"
        table.write_text("\n".join(rows) + "\n")
        tables.append(table)
    return tables


def kaldi(folder: Path, *, speakers: int = 4, each: int = 2, rate: int = 8_000) -> Path:
    """Write a data directory of Kaldi's with segments of two recordings, one with two channels. Return it."""
    sound(folder / "wav" / "call1.wav", 8.0, rate=rate, channels=2)
    sound(folder / "wav" / "call2.flac", 8.0, rate=44_100)
    files: Dict[str, List[str]] = {"segments": [], "text": [], "utt2spk": []}
    for number in range(speakers * each):
        speaker = f"spk{number % speakers}"
        name = f"{speaker}-{number:03d}"
        files["segments"].append(f"{name} call{number % 2 + 1} {0.5 * number:.2f} {0.5 * number + 0.7:.2f}")
        files["text"].append(f"{name} {TEXTS[number % len(TEXTS)]}")
        files["utt2spk"].append(f"{name} {speaker}")
    files["wav.scp"] = [f"call1 {folder}/wav/call1.wav", f"call2 {folder}/wav/call2.flac"]
    (folder / "data").mkdir(exist_ok=True)
    for name, lines in files.items():
        (folder / "data" / name).write_text("\n".join(lines) + "\n")
    return folder / "data"


def table(path: Path, rows: Sequence[Sequence[object]], *, delimiter: str = ",", header: Optional[str] = "path,text,speaker") -> Path:
    """Write a table, and a sound for each row whose first column is a path without one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header.replace(",", delimiter)] if header else []
    for row in rows:
        if row[0] and not (path.parent / str(row[0])).exists():
            sound(path.parent / str(row[0]))
        lines.append(delimiter.join(map(str, row)))
    path.write_text("\n".join(lines) + "\n")
    return path


class ManifestCommand:
    """``softhubert manifest``, run in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> str:
        """Run it. Return what it printed."""
        assert main(["manifest", *map(str, arguments)]) == 0
        return self.capsys.readouterr().out

    def refused(self, *arguments: object) -> str:
        """Run it with bad input. Return the one line that it printed."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["manifest", *map(str, arguments)])
        said = self.capsys.readouterr().err
        assert stopped.value.code == 2 and said.startswith("softhubert: error: ") and said.count("\n") == 1
        return said


def read_corpus(folder: Path, *splits: str) -> Dict[str, List[str]]:
    """Check that the files of each split fit together. Return its utterances as ``name|words|speaker``."""
    found = {}
    for split in splits:
        manifest = read_manifest(folder / f"{split}.tsv")
        check_audio(manifest)
        words = (folder / f"{split}.wrd").read_text("utf-8").splitlines()
        assert [letters(text) for text in words] == (folder / f"{split}.ltr").read_text("utf-8").splitlines()
        speakers = folder / f"{split}.spk"
        said = [line.split("\t")[0] for line in speakers.read_text("utf-8").splitlines()] if speakers.exists() else ["?"] * len(words)
        assert len(manifest) == len(words) == len(said)
        found[split] = [f"{name}|{text}|{speaker}" for name, text, speaker in zip(manifest.names, words, said)]
    return found
