"""Open a file of frame labels, soft or hard."""

from __future__ import annotations

from pathlib import Path

from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.soft import is_soft_label_file, open_soft_labels


def open_labels(label_dir: PathLike, split: str, label: str) -> FrameLabels:
    """Open ``{label_dir}/{split}.{label}``.

    The file's content decides whether the labels are soft or hard. Hard labels need ``dict.{label}.txt`` beside them.

    Raises:
        SoftHubertError: a file is missing or damaged.
    """
    path = Path(label_dir) / f"{split}.{label}"
    if is_soft_label_file(path):
        return open_soft_labels(path)
    return HardLabels(path, path.parent / f"dict.{label}.txt")


def open_label_file(path: PathLike) -> FrameLabels:
    """Open a label file given by its path; otherwise the same as :func:`open_labels`."""
    path = Path(path)
    return open_labels(path.parent, path.stem, path.suffix[1:])
