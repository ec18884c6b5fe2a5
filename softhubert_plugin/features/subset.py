"""Draw a share of a manifest's utterances, always the same ones.

The share gets a manifest of its own, with which its features and labels stay aligned, and the speakers' file of its utterances.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest, read_manifest
from softhubert_plugin.subsets import write_part


def subset_manifest(manifest: Manifest, percent: float, directory: PathLike) -> Manifest:
    """Draw a share of the utterances, write them as ``{directory}/{split}.tsv`` in the manifest's order, and return that manifest.

    ``{split}.spk`` is written beside it, if the manifest has one.

    Args:
        percent: share of the utterances, in (0, 1], as in fairseq's ``learn_kmeans.py``.
        directory: folder for the new manifest.

    Raises:
        SoftHubertError: ``percent`` is out of range, the new manifest would overwrite the one drawn from, or the
            ``.spk`` has another length.
    """
    if not 0 < percent <= 1:
        raise SoftHubertError(f"--percent {percent:g}: expected a share of the utterances, above 0 and up to 1 (0.1 is a tenth)")
    path = Path(directory) / manifest.path.name
    if path.resolve() == manifest.path.resolve():
        raise SoftHubertError(f"{path}: the subset's manifest would overwrite the whole one; write the features to another folder")
    count = int(np.ceil(percent * len(manifest)))
    write_part(manifest, path, count, beside=("spk",))
    return read_manifest(path)
