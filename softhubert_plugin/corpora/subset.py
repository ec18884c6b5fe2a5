"""Draw a part of a split, always the same one, with everything that lies beside its manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_text
from softhubert_plugin.manifests import read_lines, read_manifest, write_manifest

_BESIDE = ("wrd", "ltr", "spk")
_SEED = 0


def write_subset(data: PathLike, split: str, part: str, *, utterances: int) -> str:
    """Write the manifest of a part of a split, in the split's order, and the lines of its transcripts and speakers.

    Args:
        data: folder of the manifests.
        split: name of the split.
        part: name of the part.
        utterances: size of the part; a split that is not larger is taken whole.

    Returns:
        A line that says what was written.

    Raises:
        SoftHubertError: the size is not above 0, the part would overwrite the split, or a file beside the manifest has another length.
    """
    if utterances < 1:
        raise SoftHubertError(f"--utterances {utterances}: expected 1 or more")
    if part == split:
        raise SoftHubertError(f"{split}: the part would overwrite the split; give it another name")
    folder = Path(data)
    manifest = read_manifest(folder / f"{split}.tsv")
    count = min(utterances, len(manifest))
    drawn = np.sort(np.random.default_rng(_SEED).permutation(len(manifest))[:count]).tolist()
    for suffix in _BESIDE:
        path = folder / f"{split}.{suffix}"
        if path.exists():
            lines = read_lines(path, expected=len(manifest), of=manifest.path)
            write_text(folder / f"{part}.{suffix}", "".join(f"{lines[index]}\n" for index in drawn))
    write_manifest(folder / f"{part}.tsv", manifest.root, ((manifest.names[index], int(manifest.sizes[index])) for index in drawn))
    return f"{folder / part}.tsv: {count} of {len(manifest)} utterances"
