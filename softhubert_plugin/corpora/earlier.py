"""What an earlier run left in the folder that manifests are written to: splits that share utterances with the new ones, transcripts whose
letters the dictionary must keep, and files that belong to a manifest which is about to be replaced. Nothing is removed here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Collection, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.text_files import read_lines_of


def shared_utterances(dest: PathLike, root: PathLike, splits: Mapping[str, Iterable[str]]) -> List[str]:
    """Find splits of earlier runs that share utterances with those that were written.

    Names that begin with the same word (``train-960`` and ``train-clean-100``, ``dev`` and ``dev-200``) are for splits that share
    utterances on purpose.

    Args:
        dest: folder of the manifests.
        root: folder that the names start from.
        splits: the names of each split that was written.

    Returns:
        A warning for each split of an earlier run and each new one that it shares utterances with.
    """
    others = [split for split in _splits_in(dest) if split not in splits]
    if not others:
        return []
    written = {split: _paths(os.path.abspath(root), names) for split, names in splits.items()}
    warnings = []
    for other in others:
        try:
            manifest = read_manifest(Path(dest) / f"{other}.tsv")
        except SoftHubertError:  # another kind of table
            continue
        paths = _paths(str(manifest.root), manifest.names)
        for split, found in written.items():
            shared = len(paths & found)
            if shared and _first_word(split) != _first_word(other):
                said = f"{manifest.path} of an earlier run shares {shared} utterances with {split}"
                warnings.append(f"warning: {said}; remove {other}.* unless it is meant to")
    return warnings


def texts_of_others(dest: PathLike, splits: Collection[str]) -> Dict[str, List[str]]:
    """Read the transcripts of the splits in ``dest`` other than ``splits``.

    Raises:
        SoftHubertError: a file of transcripts cannot be read.
    """
    paths = {split: Path(dest) / f"{split}.wrd" for split in _splits_in(dest) if split not in splits}
    return {split: read_lines_of(path) for split, path in paths.items() if path.exists()}


def refuse_strangers(manifest: Path, entries: Sequence[Tuple[str, int]]) -> None:
    """Refuse to replace a manifest by one of other utterances, if transcripts or speakers lie beside it.

    Raises:
        SoftHubertError: there is such a file.
    """
    beside = [path for path in (manifest.with_suffix(f".{kind}") for kind in ("wrd", "ltr", "spk")) if path.exists()]
    if beside and manifest.exists() and read_lines_of(manifest)[1:] != [f"{name}\t{samples}" for name, samples in entries]:
        raise SoftHubertError(
            f"{beside[0]}: belongs to the {manifest.name} that is there, which lists other utterances than the new one would; "
            "remove it, or give another --dest"
        )


def _splits_in(dest: PathLike) -> List[str]:
    return sorted(path.stem for path in Path(dest).glob("*.tsv"))


def _paths(root: str, names: Iterable[str]) -> Set[str]:
    return {os.path.join(root, name) for name in names}


def _first_word(split: str) -> str:
    return re.split("[-_.]", split)[0]
