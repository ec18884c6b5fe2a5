"""Read a soft-label file ``{split}.gmm``: memory-mapped, by utterance, and nothing that was altered since it was written.

:mod:`softhubert_plugin.labels.layout` describes the file, :mod:`softhubert_plugin.labels.writing` writes it.
"""

from __future__ import annotations

import json
import math
import mmap
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.frames import FrameTargets
from softhubert_plugin.labels.layout import (
    ENTROPY_BINS,
    FORMAT,
    INDEX_CRC,
    NUMPY,
    PACKED_TENSORS,
    PROBABILITY_UNIT,
    TENSORS,
    SoftLabelInfo,
    StoredTargets,
    index_crc,
    quantised,
    utterance_crc,
)
from softhubert_plugin.labels.packing import probabilities_of, unpack
from softhubert_plugin.labels.writing import write_soft_labels

__all__ = [
    "ENTROPY_BINS",
    "PROBABILITY_UNIT",
    "SoftLabelInfo",
    "SoftLabels",
    "StoredTargets",
    "is_soft_label_file",
    "quantised",
    "write_soft_labels",
]

AGAIN = "make the labels again with 'softhubert gmm dump' and 'softhubert labels merge'"


class SoftLabels:
    """A soft-label file, open for random access; only what is asked for is read from disk.

    Raises:
        SoftHubertError: the file is missing, truncated, damaged, or not a soft-label file.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        try:
            self._open()
        except FileNotFoundError:
            raise SoftHubertError(
                f"{self.path}: no such soft labels; make them with 'softhubert gmm dump' and 'softhubert labels merge'"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise SoftHubertError(f"{self.path}: truncated or damaged soft labels ({_short(error)}); {AGAIN}") from None

    def _open(self) -> None:
        """Map the file and check all that is not an utterance's own; ``ValueError`` where something does not add up."""
        with open(self.path, "rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        start = 8 + int.from_bytes(content[:8], "little")
        if start > len(content):
            raise ValueError(f"a header of {start - 8} bytes in a file of {len(content)}")
        tensors = json.loads(content[8:start].decode())
        metadata = tensors.pop("__metadata__", {})
        if FORMAT not in metadata:
            raise SoftHubertError(f"{self.path}: not a soft-label file; make one with 'softhubert gmm dump'")
        position = start
        arrays = {}
        layout = PACKED_TENSORS if "packed" in tensors else TENSORS
        for name, kind in layout.items():
            dtype, (length,) = np.dtype(NUMPY[kind]), tensors[name]["shape"]
            if type(length) is not int or not 0 <= length <= len(content):
                raise ValueError(f"{name} of shape [{length}]")
            size = length * dtype.itemsize
            if tensors[name]["dtype"] != kind or tensors[name]["data_offsets"] != [position - start, position - start + size]:
                raise ValueError(f"{name} does not lie where it should")
            arrays[name] = (dtype, length, position)
            position += size
        if tensors.keys() != layout.keys() or position != len(content):
            raise ValueError(f"{len(content)} bytes instead of {position}")
        self._arrays = {name: np.frombuffer(content, *where) for name, where in arrays.items()}
        if index_crc(metadata[FORMAT], self._arrays) != metadata[INDEX_CRC]:
            raise ValueError("the index fails its checksum")
        self.info = SoftLabelInfo(**json.loads(metadata[FORMAT]))
        self._check_offsets()

    def _check_offsets(self) -> None:
        """A file with a fitting checksum may still come from a faulty writer."""
        info, arrays = self.info, self._arrays
        frames, packed = arrays["utterance_frames"], "packed" in arrays
        ends, content = ("utterance_bytes", "packed") if packed else ("utterance_entries", "components")
        for offsets, last in ((frames, info.frames if packed else len(arrays["frame_counts"])), (arrays[ends], len(arrays[content]))):
            if len(offsets) != len(self) + 1 or offsets[0] != 0 or offsets[-1] != last or (np.diff(offsets) <= 0).any():
                raise ValueError("the offsets of the utterances are not those of the labels")
        sizes_fit = (
            arrays["neighbours"].size == info.n_components**2 if packed else len(arrays["probabilities"]) == len(arrays["components"])
        )
        if len(self) == 0 or not sizes_fit or info.frames != frames[-1] or (info.step > 0) != packed:
            raise ValueError("the sizes of its parts disagree")
        if packed and arrays["neighbours"].max() >= info.n_components:
            raise ValueError("neighbours beyond the last component")
        numbers = (info.label_rate, info.temperature, info.mass, info.perplexity)
        if not 0 < info.n_components <= 65_536 or not all(math.isfinite(number) and number > 0 for number in numbers):
            raise ValueError("its description makes no sense")

    def __len__(self) -> int:
        return len(self._arrays["utterance_crc"])

    @property
    def n_components(self) -> int:
        """K."""
        return self.info.n_components

    @property
    def source(self) -> str:
        """What the component ids mean: the mixture they come from. Labels of two splits must agree in it."""
        return self.info.mixture_sha256

    @property
    def lengths(self) -> np.ndarray:
        """``(utterances,)`` label frames of each utterance."""
        return np.diff(self._arrays["utterance_frames"])

    @property
    def bytes_per_frame(self) -> float:
        """File size over frames."""
        return self.path.stat().st_size / self.info.frames

    def stored(self, index: int) -> StoredTargets:
        """One utterance as it lies in the file (of a packed one: as it would lie in one that is not).

        Raises:
            SoftHubertError: its bytes were altered since they were written, or are no labels.
        """
        if self.info.step:
            return quantised(self._unpacked(index))
        first, last = self._arrays["utterance_frames"][index : index + 2]
        counts = self._arrays["frame_counts"][first:last]
        first, last = self._arrays["utterance_entries"][index : index + 2]
        components, probabilities = self._arrays["components"][first:last], self._arrays["probabilities"][first:last]
        stored = (counts, components, probabilities)
        sound = utterance_crc(stored) == self._arrays["utterance_crc"][index]
        if not sound or not counts.all() or counts.sum(dtype=np.int64) != len(components):
            raise SoftHubertError(f"{self.path}: the labels of utterance {index} are damaged; {AGAIN}")
        if components.max() >= self.n_components or not probabilities.all():
            raise SoftHubertError(f"{self.path}: utterance {index} names a component beyond its {self.n_components}, or none; {AGAIN}")
        return stored

    def utterance(self, index: int) -> FrameTargets:
        """The targets of one utterance, each frame summing to one; raises as :meth:`stored`."""
        if self.info.step:
            return self._unpacked(index)
        counts, components, probabilities = self.stored(index)
        wide = counts.astype(np.int64)
        values = probabilities.astype(np.float32)
        totals = np.add.reduceat(values, np.cumsum(wide) - wide)
        return FrameTargets(wide, components.astype(np.int64), values / np.repeat(totals, wide))

    def _unpacked(self, index: int) -> FrameTargets:
        first, last = self._arrays["utterance_bytes"][index : index + 2]
        packed = self._arrays["packed"][first:last].tobytes()
        try:
            if zlib.crc32(packed) != self._arrays["utterance_crc"][index]:
                raise ValueError("its checksum is another")
            neighbours = self._arrays["neighbours"].reshape(self.n_components, self.n_components)
            counts, components, levels = unpack(packed, int(np.diff(self._arrays["utterance_frames"][index : index + 2])[0]), neighbours)
        except ValueError as error:
            raise SoftHubertError(f"{self.path}: the labels of utterance {index} are damaged ({error}); {AGAIN}") from None
        return FrameTargets(counts.astype(np.int64), components.astype(np.int64), probabilities_of(counts, levels))

    def __reduce__(self) -> Any:
        # A data-loading worker maps the file itself: only the path travels to it.
        return SoftLabels, (self.path,)


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__


def is_soft_label_file(path: PathLike) -> bool:
    """Whether a file looks like safetensors rather than fairseq's text labels."""
    try:
        with open(path, "rb") as stream:
            return stream.read(9)[8:] == b"{"
    except FileNotFoundError:
        return str(path).endswith(".gmm")
