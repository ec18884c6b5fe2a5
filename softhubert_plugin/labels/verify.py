"""Check that labels belong to a manifest, and that a label file is whole, before anything is trained on it."""

from __future__ import annotations

from typing import Optional

import numpy as np
from tqdm import tqdm

from softhubert_plugin.audio.check import check_audio
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.opening import open_label_file
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest, read_manifest

# fairseq's own tolerance (verify_label_lengths); beyond it, fairseq only warns.
TOLERANCE_SECONDS = 0.1


def verify_labels(labels: FrameLabels, manifest: Manifest, label_rate: float, *, sample_rate: int = SAMPLE_RATE) -> None:
    """Check that labels belong to a manifest: the number of utterances, the manifest's fingerprint, the rate, and every utterance's length.

    Args:
        label_rate: frames per second.
        sample_rate: samples per second.

    Raises:
        SoftHubertError: they do not; the message names both sides.
    """
    if len(labels) != len(manifest):
        raise SoftHubertError(
            f"{labels.path}: labels of {len(labels)} utterances, but {manifest.path} lists {len(manifest)}; "
            "both must come from the same manifest (was a shard not merged?)"
        )
    if labels.manifest_sha256 not in ("", manifest.fingerprint):
        raise SoftHubertError(
            f"{labels.path}: made for another manifest (fingerprint {labels.manifest_sha256[:12]}) than {manifest.path} "
            f"({manifest.fingerprint[:12]}); dump features and labels again from this manifest"
        )
    if labels.label_rate not in (None, label_rate):
        raise SoftHubertError(
            f"{labels.path}: labels at {labels.label_rate:g} Hz, but task.label_rate is {label_rate:g}; "
            f"set task.label_rate={labels.label_rate:g}"
        )
    audio_seconds = manifest.sizes / sample_rate
    label_seconds = labels.lengths / label_rate
    wrong = np.flatnonzero(np.abs(audio_seconds - label_seconds) > TOLERANCE_SECONDS)
    if len(wrong):
        first = int(wrong[0])
        raise SoftHubertError(
            f"{labels.path}: utterance {first} ({manifest.names[first]}) has {labels.lengths[first]} labels, "
            f"{label_seconds[first]:.2f} s at {label_rate:g} Hz, but {audio_seconds[first]:.2f} s of audio "
            f"({len(wrong)} such utterances of {len(manifest)}); "
            "check task.label_rate, and that labels and manifest come from one run"
        )


def verify_file(path: PathLike, manifest_path: PathLike, *, label_rate: Optional[float] = None, audio: bool = False) -> str:
    """Check labels as :func:`verify_labels` does, then read every utterance's labels.

    Args:
        label_rate: frames per second, needed for hard labels, which do not record it.
        audio: also check the audio files of the manifest.

    Returns:
        A line on what was checked.

    Raises:
        SoftHubertError: the labels do not fit the manifest or are damaged, or an audio file is not usable.
    """
    labels, manifest = open_label_file(path), read_manifest(manifest_path)
    verify_labels(labels, manifest, labels.rate(label_rate))
    if audio:
        check_audio(manifest, every_sample=True)
    frames = 0
    for index in tqdm(range(len(labels)), desc=labels.path.name, unit="utt", disable=None):
        targets = labels.entries(index)
        frames += len(targets)
        keys = targets.frame_of_entry * labels.n_components + targets.components
        if len(np.unique(keys)) != len(keys):
            raise SoftHubertError(f"{path}: utterance {index} names a component twice in one frame; make the labels again")
    fitted = f"{manifest_path} and its audio" if audio else f"{manifest_path}"
    return f"{path}: {len(labels)} utterances, {frames} frames of {labels.n_components} components fit {fitted}"
