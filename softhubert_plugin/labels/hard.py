"""fairseq's hard labels ``{split}.km``: one line per utterance, one cluster id per frame, with ``dict.km.txt`` beside them.

They are read through the same interface as soft labels, so that a k-means baseline differs from a soft run in its targets only.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Dict, List

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.hard_record import read_record
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import read_dictionary
from softhubert_plugin.text_files import unmarked_line

MOST_DIGITS = 9  # of a cluster number


class HardLabels(FrameLabels):
    """A text label file, read one line at a time; opening it checks every label.

    A record beside it (:mod:`softhubert_plugin.labels.hard_record`) tells mixture, manifest and rate, if it is of this very file.

    Args:
        path: ``{split}.{label}``.
        dictionary: ``dict.{label}.txt``, whose order defines the component ids, as in fairseq.

    Raises:
        SoftHubertError: a file is missing or empty, or a label is not in the dictionary.
    """

    def __init__(self, path: PathLike, dictionary: PathLike) -> None:
        self.path = Path(path)
        if not Path(dictionary).exists():
            raise SoftHubertError(f"{dictionary}: no such dictionary; 'softhubert labels merge' writes it when it joins the label shards")
        symbols = read_dictionary(dictionary)
        self.n_components = len(symbols)
        self.source = sha256_of(dictionary)
        clusters = np.asarray(cluster_numbers(dictionary, symbols), dtype=np.int64)
        self._components = np.argsort(clusters)
        self._clusters = clusters[self._components]
        record = read_record(self.path)
        digest = hashlib.sha256()
        sizes: List[int] = []
        lengths: List[int] = []
        try:
            with open(self.path, "rb") as stream:
                for index, line in enumerate(stream):
                    sizes.append(len(line))
                    lengths.append(len(self._parse(line, index)))
                    if record is not None:
                        digest.update(line)
        except FileNotFoundError:
            raise SoftHubertError(
                f"{path}: no such labels; make them with fairseq's dump_km_label.py or 'softhubert gmm dump --hard', and join the "
                "shards with 'softhubert labels merge'"
            ) from None
        if not sizes:
            raise SoftHubertError(f"{path}: the label file is empty; make it again")
        self._offsets = np.cumsum([0, *sizes])
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if record is not None and record.labels_sha256 == digest.hexdigest():
            self.made_with, self.manifest_sha256, self.label_rate = record.source_sha256, record.manifest_sha256, record.label_rate

    def entries(self, index: int) -> FrameTargets:
        """The targets of one utterance: one component per frame, with probability one."""
        with open(self.path, "rb") as stream:
            stream.seek(int(self._offsets[index]))
            components = self._parse(stream.readline(), index)
        ones = np.ones(len(components), dtype=np.int64)
        return FrameTargets(ones, components, ones.astype(np.float32))

    def _parse(self, line: bytes, index: int) -> np.ndarray:
        """The component ids ``(frames,)`` in the line of utterance ``index``."""
        line = unmarked_line(line)
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
        places = np.searchsorted(self._clusters, clusters).clip(max=len(self._clusters) - 1)
        if (self._clusters[places] != clusters).any():
            raise SoftHubertError(
                f"{self.path}, line {index + 1}: labels from {clusters.min()} to {clusters.max()}, but the dictionary beside it lists "
                f"{self.n_components} clusters; labels and dictionary must come from one clustering"
            )
        return self._components[places]


def cluster_numbers(dictionary: PathLike, symbols: List[str]) -> List[int]:
    """Convert the symbols of a dictionary of hard labels to numbers.

    Raises:
        SoftHubertError: a symbol is not a cluster number, or occurs twice.
    """
    remedy = "give the dictionary that was made with these labels"
    seen: Dict[int, int] = {}
    for line, symbol in enumerate(symbols, start=1):
        if not (symbol.isascii() and symbol.isdigit()) or len(symbol) > MOST_DIGITS:
            raise SoftHubertError(f"{dictionary}: expected cluster numbers, found {symbol[:40]!r} in line {line}; {remedy}")
        if int(symbol) in seen:
            raise SoftHubertError(f"{dictionary}: cluster {symbol} is in line {seen[int(symbol)]} and in line {line}; {remedy}")
        seen[int(symbol)] = line
    return list(seen)
