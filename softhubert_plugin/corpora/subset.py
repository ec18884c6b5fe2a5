"""Draw a part of a split, always the same one, with everything that lies beside its manifest."""

from __future__ import annotations

from pathlib import Path

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.subsets import write_part


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
    write_part(manifest, folder / f"{part}.tsv", count, beside=("wrd", "ltr", "spk"))
    return f"{folder / part}.tsv: {count} of {len(manifest)} utterances"
