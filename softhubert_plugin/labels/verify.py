"""Read a whole label file against its manifest before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels import open_labels, verify_labels
from softhubert_plugin.labels.soft import SoftLabels
from softhubert_plugin.manifests import read_manifest


def verify_file(path: PathLike, manifest_path: PathLike, *, label_rate: Optional[float] = None) -> str:
    """Check count, source, rate and lengths, then read every utterance's labels.

    Args:
        label_rate: frames a second; hard labels do not tell it themselves.

    Raises:
        SoftHubertError: anything does not fit or is damaged.
    """
    path = Path(path)
    labels = open_labels(path.parent, path.stem, path.suffix[1:])
    if label_rate is None:
        if not isinstance(labels, SoftLabels):
            raise SoftHubertError(f"{path}: hard labels do not say their rate; give --label-rate (MFCC: 100, HuBERT: 50)")
        label_rate = labels.info.label_rate
    verify_labels(labels, read_manifest(manifest_path), label_rate)
    frames = 0
    for index in tqdm(range(len(labels)), desc=path.name, unit="utt", disable=None):
        targets = labels.utterance(index)
        frames += len(targets)
        keys = targets.frame_of_entry * labels.n_components + targets.components
        if len(np.unique(keys)) != len(keys):
            raise SoftHubertError(f"{path}: utterance {index} names a component twice in one frame; make the labels again")
    return f"{path}: {len(labels)} utterances, {frames} frames of {labels.n_components} components fit {manifest_path}"
