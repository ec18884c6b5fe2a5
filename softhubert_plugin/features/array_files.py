"""Open the two files of a dense array of utterances: ``.npy`` with its rows, and ``.len`` with the rows of each utterance.

Feature shards have this form, and so have dense posteriors of other clusterers.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import List, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError, blaming
from softhubert_plugin.files import PathLike
from softhubert_plugin.text_files import read_lines_of


def open_rows(path: PathLike, *, what: str, remedy: str) -> Tuple[np.ndarray, np.ndarray]:
    """Memory-map ``.npy`` and read ``.len``.

    Args:
        path: the ``.npy`` file; the ``.len`` file is beside it.
        what: what the rows are, such as "feature shard".
        remedy: what to do if a file is missing or damaged.

    Returns:
        ``(rows, columns)`` float16, float32 or float64, read from disk only when used; and ``(utterances,)`` int64, rows of each.

    Raises:
        SoftHubertError: a file is missing or damaged, the array has another shape or type, or the two files disagree.
    """
    path = Path(path)
    lengths_path = path.with_suffix(".len")
    for part in (path, lengths_path):
        if not part.exists():
            raise SoftHubertError(f"{part}: no such file; a {what} has a .npy and a .len; {remedy}")
    with blaming(path, f"truncated or not a {what}", remedy), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old or absurd headers; what cannot be read is refused
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(rows, np.memmap):
            raise ValueError("an archive of arrays")
    if rows.ndim != 2 or rows.dtype.kind != "f" or rows.dtype.itemsize > 8 or rows.shape[1] < 1:
        raise SoftHubertError(f"{path}: expected (frames, dimension) floats, found {rows.dtype} {rows.shape}; {remedy}")
    lengths = _read_lengths(lengths_path, remedy)
    if sum(lengths) != len(rows):
        raise SoftHubertError(f"{path}: {len(rows)} frames, but {lengths_path.name} counts {sum(lengths)}; {remedy}")
    return rows, np.asarray(lengths, dtype=np.int64)


def _read_lengths(path: Path, remedy: str) -> List[int]:
    lengths = []
    for number, line in enumerate(read_lines_of(path), start=1):
        for length in line.split():
            if not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) < 1:
                raise SoftHubertError(f"{path}, line {number}: expected a number of frames, at least 1, found {length[:40]!r}; {remedy}")
            lengths.append(int(length))
    if not lengths:
        raise SoftHubertError(f"{path}: no utterances; {remedy}")
    return lengths
