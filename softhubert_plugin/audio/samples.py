"""Samples that no computation survives: not a number, infinite, or far beyond full scale. Only files of floats can hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np
import soundfile

from softhubert_plugin.audio.opening import REPLACE, UnreadableAudio

# Full scale is 1. Loud recordings of floats exceed it a little. Integers that were saved as floats, up to 32768, exceed it by far.
LARGEST_SAMPLE = 10.0
_FLOATS = ("FLOAT", "DOUBLE")
_BLOCK_SECONDS = 60


def refuse_odd_samples(path: Union[Path, str], samples: np.ndarray, start: int = 0) -> None:
    """Refuse samples that are not numbers between ``-LARGEST_SAMPLE`` and ``LARGEST_SAMPLE``.

    Args:
        path: the file, for the message.
        samples: ``(samples,)`` or ``(samples, channels)``.
        start: position of the first of them in the file, for the message.

    Raises:
        UnreadableAudio: there is such a sample.
    """
    if not samples.size or max(samples.max(), -samples.min()) <= LARGEST_SAMPLE:  # NaN fails this comparison
        return
    flat = samples.reshape(-1)
    first = int(np.argmax(~(np.abs(flat) <= LARGEST_SAMPLE)))
    position = start + first // (samples.size // len(samples))
    raise UnreadableAudio(f"{path}: sample {position} is {flat[first]:g}, expected numbers from -1 to 1; {REPLACE}")


def refuse_odd_file(path: Path, sound: soundfile.SoundFile) -> None:
    """Read all samples of an open file of floats, block by block; do nothing for other files, which cannot hold such samples.

    Raises:
        UnreadableAudio: as :func:`refuse_odd_samples`.
    """
    if sound.subtype not in _FLOATS:
        return
    sound.seek(0)
    done = 0
    while done < sound.frames:
        block = sound.read(_BLOCK_SECONDS * sound.samplerate, dtype="float32")
        if not len(block):
            return
        refuse_odd_samples(path, block, done)
        done += len(block)
