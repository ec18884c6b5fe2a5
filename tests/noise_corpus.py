"""A tiny corpus of noise, with transcripts and labels, for tests that look at how things are done and not at what is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from softhubert_plugin.manifests import write_letter_dictionary, write_manifest, write_transcripts

SPLITS = ("train", "valid")
TEXTS = ("ONE TWO", "THREE", "FOUR FIVE SIX", "SEVEN")


def write_corpus(folder: Path) -> Path:
    """Write ``train.tsv`` and ``valid.tsv``, four utterances of noise each (0.5 to 1.4 seconds), and their transcripts."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        entries = []
        for number in range(len(TEXTS)):
            samples = 8_000 + 4_800 * number + 37 * number
            name = f"audio/{split}-{number}.flac"
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(samples), 16_000)
            entries.append((name, samples))
        write_manifest(folder / f"{split}.tsv", folder, entries)
        write_transcripts(folder, split, TEXTS)
    write_letter_dictionary(folder, TEXTS)
    return folder


def label_corpus(folder: Path) -> Path:
    """Add MFCCs (``mfcc/``), a mixture of eight components (``gmm.safetensors``) and ``labels/`` of both splits."""
    from softhubert_plugin.cli import main

    mfcc, mixture, labels = (str(folder / name) for name in ("mfcc", "gmm.safetensors", "labels"))
    for split in SPLITS:
        assert main(["features", "mfcc", str(folder), split, "1", "0", mfcc]) == 0
    assert main(["gmm", "learn", mfcc, "train", "1", mixture, "8", "--perplexity", "3", "--iterations", "2"]) == 0
    for split in SPLITS:
        assert main(["gmm", "dump", mfcc, split, mixture, "1", "0", labels]) == 0
        assert main(["labels", "merge", labels, split, "1"]) == 0
    return folder
