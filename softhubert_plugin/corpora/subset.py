"""Draw a part of a split, always the same one, with everything that lies beside its manifest."""

from __future__ import annotations

import re
from pathlib import Path

from softhubert_plugin.corpora.listed import SPLIT_NAME
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest, read_manifest
from softhubert_plugin.subsets import drawn_from, write_part


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
        SoftHubertError: the size is not above 0, the part has no name of a split or would overwrite another one, or a file beside the
            manifest has another length.
    """
    if utterances < 1:
        raise SoftHubertError(f"--utterances {utterances}: expected 1 or more")
    folder = Path(data)
    path = folder / f"{part}.tsv"
    if not SPLIT_NAME.fullmatch(part):
        raise SoftHubertError(f"{part}: expected the name of the part, of letters, digits, '-', '_' and '.'")
    if path.resolve() == (folder / f"{split}.tsv").resolve():
        raise SoftHubertError(f"{split}: the part would overwrite the split; give it another name")
    manifest = read_manifest(folder / f"{split}.tsv")
    if path.exists() and not _is_part(path, manifest):
        raise SoftHubertError(f"{path}: is not such a part of {split}, so it is not replaced; give another name, or remove it")
    count = min(utterances, len(manifest))
    write_part(manifest, path, count, beside=("wrd", "ltr", "spk"))
    return f"{path}: {count} of {len(manifest)} utterances"


def _is_part(path: Path, manifest: Manifest) -> bool:
    """Return whether a manifest is a part of any size that was drawn from ``manifest``, or has the name that recipes give to such parts,
    which they draw again after a change of the split."""
    if re.fullmatch(rf"{re.escape(manifest.path.stem)}-([0-9]+|all)", path.stem):
        return True
    names = read_manifest(path).names
    return names == [manifest.names[index] for index in drawn_from(manifest, len(names))]
