"""Read the audio of utterances, whole or in part. Files were checked before; here only changes since then are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from softhubert_plugin.audio.opening import length_of, open_audio, refuse_form
from softhubert_plugin.audio.samples import refuse_odd_samples
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest


def read_samples(path: Path, start: int = 0, frames: int = -1) -> np.ndarray:
    """Read samples of a file with one channel.

    Args:
        path: the file.
        start: first sample.
        frames: number of samples; by default all from ``start`` on. Where the file ends earlier, there are fewer.

    Returns:
        ``(samples,)`` float32.

    Raises:
        UnreadableAudio: the file cannot be opened or decoded, or has samples that are not numbers.
        SoftHubertError: the file has several channels, or can only be read from the beginning.
    """
    with open_audio(path) as sound:
        refuse_form(path, sound)
        length = length_of(path, sound)
        if start:
            sound.seek(min(start, length))
        samples: np.ndarray = sound.read(frames, dtype="float32")
    refuse_odd_samples(path, samples, start)
    return samples


def read_waveform(manifest: Manifest, index: int, *, normalize: bool) -> torch.Tensor:
    """Read the ``(samples,)`` float32 audio of an utterance.

    Args:
        index: position in the manifest.
        normalize: scale the audio to zero mean and unit variance, as models with ``task.normalize`` expect.

    Raises:
        SoftHubertError: the audio cannot be read, has another length than in the manifest, or has several channels.
    """
    path, line = manifest.audio_path(index), f"{manifest.path}, line {index + 2}"
    try:
        samples = read_samples(path)
    except SoftHubertError as error:
        raise SoftHubertError(f"{error} (listed in {line})") from None
    if len(samples) != manifest.sizes[index]:
        raise SoftHubertError(
            f"{path}: {len(samples)} samples, but {line} says {manifest.sizes[index]}; "
            "the audio changed since the manifest was made: write the manifest again"
        )
    waveform = torch.from_numpy(samples)
    return F.layer_norm(waveform, waveform.shape) if normalize else waveform
