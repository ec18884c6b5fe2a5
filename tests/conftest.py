"""Fixtures shared by the tests: a tiny corpus of noise with transcripts, and the real speech where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from softhubert_plugin.manifests import write_letter_dictionary, write_manifest, write_transcripts

TEXTS = ("ONE TWO", "THREE", "FOUR FIVE SIX", "SEVEN")


@pytest.fixture()
def corpus(tmp_path: Path) -> Path:
    """A folder with ``train.tsv`` and ``valid.tsv`` of four utterances each, of 0.5 to 1.4 seconds."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        entries = []
        for number in range(len(TEXTS)):
            samples = 8_000 + 4_800 * number + 37 * number
            name = f"audio/{split}-{number}.flac"
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(samples), 16_000)
            entries.append((name, samples))
        write_manifest(tmp_path / f"{split}.tsv", tmp_path, entries)
        write_transcripts(tmp_path, split, TEXTS)
    write_letter_dictionary(tmp_path, TEXTS)
    return tmp_path


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SOFTHUBERT_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}; set SOFTHUBERT_SPEECH")
    return folder
