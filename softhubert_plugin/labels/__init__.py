"""Frame labels: soft (``{split}.gmm``) and hard (``{split}.km``), through one interface."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.soft import SoftLabels, is_soft_label_file
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

FrameLabels = Union[SoftLabels, HardLabels]

# fairseq's own tolerance (verify_label_lengths), which it only warns about.
TOLERANCE_SECONDS = 0.1


def open_labels(label_dir: PathLike, split: str, label: str) -> FrameLabels:
    """Open ``{label_dir}/{split}.{label}``, soft or hard by its content."""
    path = Path(label_dir) / f"{split}.{label}"
    if is_soft_label_file(path):
        return SoftLabels(path)
    return HardLabels(path, Path(label_dir) / f"dict.{label}.txt")


def verify_labels(labels: FrameLabels, manifest: Manifest, label_rate: float, *, sample_rate: int = SAMPLE_RATE) -> None:
    """Check that labels belong to a manifest: count, source, rate and every utterance's length.

    Raises:
        SoftHubertError: they do not; the message names both sides.
    """
    if len(labels) != len(manifest):
        raise SoftHubertError(
            f"{labels.path}: labels of {len(labels)} utterances, but {manifest.path} lists {len(manifest)}; "
            "both must come from the same manifest (was a shard not merged?)"
        )
    if isinstance(labels, SoftLabels):
        if labels.info.manifest_sha256 not in ("", manifest.fingerprint):
            raise SoftHubertError(
                f"{labels.path}: made for another manifest (fingerprint {labels.info.manifest_sha256[:12]}) than {manifest.path} "
                f"({manifest.fingerprint[:12]}); dump features and labels again from this manifest"
            )
        if labels.info.label_rate != label_rate:
            raise SoftHubertError(
                f"{labels.path}: labels at {labels.info.label_rate:g} Hz, but task.label_rate is {label_rate:g}; "
                f"set task.label_rate={labels.info.label_rate:g}"
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
