"""``softhubert manifest librispeech`` on a corpus of LibriSpeech's size: seconds and peak memory.

    python -m tests.benchmarks.librispeech_listing [--utterances 300000] [--folder /tmp]

All audio files are hard links to a few short ones, so that the corpus fits anywhere. The benchmark measures finding files, reading
transcripts and headers, and writing. Reading from a network or a spinning disk for the first time takes longer.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from softhubert_plugin.corpora.librispeech import write_librispeech_manifests

CHAPTER, CHAPTERS = 50, 6  # utterances per chapter, chapters per speaker: about as in LibriSpeech
LINKS = 30_000  # links to one file; ext4 allows 65,000


def make_corpus(root: Path, utterances: int) -> None:
    """Write a ``train-clean-100`` with this many utterances of 0.1 s."""
    folder = root / "LibriSpeech"
    folder.mkdir(parents=True)
    speakers, made = [], 0
    while made < utterances:
        speaker = 1 + len(speakers)
        speakers.append(f"{speaker} | F | train-clean-100 | 0.00 | Nobody\n")
        for chapter in range(CHAPTERS):
            where = folder / "train-clean-100" / str(speaker) / str(chapter)
            names = [f"{speaker}-{chapter}-{number:04d}" for number in range(min(CHAPTER, utterances - made))]
            if not names:
                break
            where.mkdir(parents=True)
            (where / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{name} {'SOME WORDS ' * 16}\n" for name in names))
            for name in names:
                source = root / f"source-{made // LINKS}.flac"
                if not source.exists():
                    soundfile.write(source, np.zeros(1600, dtype=np.int16), 16_000)
                os.link(source, where / f"{name}.flac")
                made += 1
    (folder / "SPEAKERS.TXT").write_text("".join(speakers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=300_000, help="size of the corpus (default: %(default)s)")
    parser.add_argument("--folder", help="where to make the corpus (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        make_corpus(Path(name), options.utterances)
        started, processor = time.perf_counter(), time.process_time()
        print(write_librispeech_manifests(name, Path(name) / "lists", subsets=["train-clean-100"], combine="train-960"))
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{options.utterances} utterances: {seconds:.1f} s, {processor:.1f} s of processor time, peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
