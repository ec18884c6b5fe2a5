"""Draw a part of a manifest's utterances, always the same ones, with the files that lie beside the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

import numpy as np

from softhubert_plugin.files import PathLike, write_text
from softhubert_plugin.manifests import Manifest, read_lines, write_manifest

_SEED = 0


def drawn_from(manifest: Manifest, count: int) -> List[int]:
    """Return the positions of the ``count`` utterances that are drawn, sorted."""
    found: List[int] = np.sort(np.random.default_rng(_SEED).permutation(len(manifest))[:count]).tolist()
    return found


def write_part(manifest: Manifest, path: PathLike, count: int, *, beside: Sequence[str]) -> None:
    """Write the manifest of ``count`` utterances, in the manifest's order, and before it their lines of the files beside the manifest.

    Args:
        path: the new manifest.
        beside: suffixes of those files, such as ``spk``. Where the manifest has none, the part is left with none.

    Raises:
        SoftHubertError: a file beside the manifest has another number of lines.
    """
    drawn = drawn_from(manifest, count)
    for suffix in beside:
        source, target = manifest.path.with_suffix(f".{suffix}"), Path(path).with_suffix(f".{suffix}")
        if source.exists():
            lines = read_lines(source, expected=len(manifest), of=manifest.path)
            write_text(target, "".join(f"{lines[index]}\n" for index in drawn))
        else:
            target.unlink(missing_ok=True)
    write_manifest(path, manifest.root, ((manifest.names[index], int(manifest.sizes[index])) for index in drawn))
