"""fairseq's hard labels ``{split}.km``: one line per utterance, one cluster id per frame, with ``dict.km.txt`` beside them.

They are read through the same interface as soft labels, so that a k-means baseline differs from a soft run in its targets only.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Dict, List

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import read_dictionary

LARGEST_CLUSTER = 1_000_000  # cluster numbers are looked up in a table of this size


class HardLabels(FrameLabels):
    """A text label file, read one line at a time; opening it checks every label.

    Args:
        path: ``{split}.{label}``.
        dictionary: ``dict.{label}.txt``, whose order defines the component ids, as in fairseq.

    Raises:
        SoftHubertError: a file is missing or empty, or a label is not in the dictionary.
    """

    def __init__(self, path: PathLike, dictionary: PathLike) -> None:
        self.path = Path(path)
        symbols = read_dictionary(dictionary)
        self.n_components = len(symbols)
        self.source = sha256_of(dictionary)
        clusters = _cluster_numbers(symbols, dictionary)
        self._component_of = np.full(max(clusters) + 1, -1, dtype=np.int64)
        self._component_of[clusters] = np.arange(len(clusters))
        try:
            with open(self.path, "rb") as stream:
                sizes, lengths = zip(*((len(line), len(self._parse(line, index))) for index, line in enumerate(stream)))
        except FileNotFoundError:
            raise SoftHubertError(
                f"{path}: no such labels; make them with fairseq's dump_km_label.py or 'softhubert gmm dump --hard'"
            ) from None
        except ValueError:
            raise SoftHubertError(f"{path}: the label file is empty; make it again") from None
        self._offsets = np.cumsum([0, *sizes])
        self.lengths = np.asarray(lengths, dtype=np.int64)

    def utterance(self, index: int) -> FrameTargets:
        """The targets of one utterance: one component per frame, with probability one."""
        with open(self.path, "rb") as stream:
            stream.seek(int(self._offsets[index]))
            components = self._parse(stream.readline(), index)
        ones = np.ones(len(components), dtype=np.int64)
        return FrameTargets(ones, components, ones.astype(np.float32))

    def _parse(self, line: bytes, index: int) -> np.ndarray:
        """The component ids ``(frames,)`` in the line of utterance ``index``."""
        if not line.strip():
            raise SoftHubertError(f"{self.path}, line {index + 1}: no labels; make the file again from the same features")
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # NumPy's warning about text that is not numbers
            try:
                clusters = np.fromstring(line, dtype=np.int64, sep=" ")
                if not len(clusters):
                    raise ValueError("no number")
            except (DeprecationWarning, ValueError):
                raise SoftHubertError(
                    f"{self.path}, line {index + 1}: expected cluster numbers, found {line[:40]!r}; make the file again"
                ) from None
        if clusters.min() < 0 or clusters.max() >= len(self._component_of) or (self._component_of[clusters] < 0).any():
            raise SoftHubertError(
                f"{self.path}, line {index + 1}: labels from {clusters.min()} to {clusters.max()}, but the dictionary beside it lists "
                f"{self.n_components} clusters; labels and dictionary must come from one clustering"
            )
        return self._component_of[clusters]


def _cluster_numbers(symbols: List[str], dictionary: PathLike) -> List[int]:
    """The cluster number of each symbol of a dictionary; no two are equal."""
    seen: Dict[int, int] = {}
    for line, symbol in enumerate(symbols, start=1):
        if not (symbol.isascii() and symbol.isdigit()) or int(symbol[:10]) > LARGEST_CLUSTER:
            raise SoftHubertError(
                f"{dictionary}: expected cluster numbers up to {LARGEST_CLUSTER}, found {symbol[:40]!r} in line {line}; "
                "give the dictionary that was made with these labels"
            )
        if int(symbol) in seen:
            raise SoftHubertError(
                f"{dictionary}: cluster {symbol} is in line {seen[int(symbol)]} and in line {line}; "
                "give the dictionary that was made with these labels"
            )
        seen[int(symbol)] = line
    return list(seen)
