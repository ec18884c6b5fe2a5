"""Read whole utterances in the form that a model expects."""

from __future__ import annotations

import soundfile
import torch
import torch.nn.functional as F

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest


def read_waveform(manifest: Manifest, index: int, *, normalize: bool) -> torch.Tensor:
    """Read the ``(samples,)`` float32 audio of an utterance.

    Args:
        index: position in the manifest.
        normalize: scale the audio to zero mean and unit variance, as models with ``task.normalize`` expect.

    Raises:
        SoftHubertError: the audio has another length than in the manifest, or several channels.
    """
    path = manifest.audio_path(index)
    samples, _ = soundfile.read(str(path), dtype="float32")
    if samples.shape != (manifest.sizes[index],):
        raise SoftHubertError(
            f"{path}: {' × '.join(map(str, samples.shape))} samples, but {manifest.path}, line {index + 2} says {manifest.sizes[index]}; "
            "the audio changed or has several channels: write the manifest again, from one-channel audio"
        )
    waveform = torch.from_numpy(samples)
    return F.layer_norm(waveform, waveform.shape) if normalize else waveform
