"""Read a soft-label file ``{split}.gmm``: memory-mapped, utterance by utterance. Bytes that were altered after writing are refused.

:mod:`softhubert_plugin.labels.soft_layout` describes the file, and :mod:`softhubert_plugin.labels.soft_writing` writes it. There are two
kinds of file, plain and packed; :func:`open_soft_labels` opens both.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import zlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, Dict

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.soft_codec import probabilities_of, unpack
from softhubert_plugin.labels.soft_layout import (
    LABEL_FORMAT,
    MOST_CLUSTERS,
    PACKED,
    SoftLabelInfo,
    StoredTargets,
    quantised,
    read_container,
    utterance_crc,
)
from softhubert_plugin.labels.targets import FrameTargets

AGAIN = "make the labels again with 'softhubert gmm dump' and 'softhubert labels merge'"


def open_soft_labels(path: PathLike) -> SoftLabels:
    """Open a soft-label file, plain or packed. Labels are read from disk only when they are asked for.

    Raises:
        SoftHubertError: the file is missing, truncated, damaged, or not a soft-label file.
    """
    path = Path(path)
    content: bytes | mmap.mmap = b""  # of an empty file
    try:
        with open(path, "rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        layout, info, arrays = read_container(content)
        kind = PackedSoftLabels if layout is PACKED else PlainSoftLabels
        return kind(path, info, arrays)
    except (FileNotFoundError, NotADirectoryError):
        raise SoftHubertError(f"{path}: no such soft labels; make them with 'softhubert gmm dump' and 'softhubert labels merge'") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        if isinstance(error, KeyError) and error.args == (LABEL_FORMAT,):
            raise SoftHubertError(f"{path}: not a soft-label file; make one with 'softhubert gmm dump'") from None
        if re.fullmatch(rb"[0-9\s]+", content[:64]):
            raise SoftHubertError(f"{path}: hard labels (text), expected soft ones; make them with 'softhubert gmm dump'") from None
        raise SoftHubertError(f"{path}: truncated or damaged soft labels ({_short(error)}); {AGAIN}") from None


class SoftLabels(FrameLabels):
    """Soft labels of a split, open for random access. Use :func:`open_soft_labels` to make one.

    Args:
        path: the file.
        info: the file's description.
        arrays: its tensors by name, as :func:`~softhubert_plugin.labels.soft_layout.read_container` gives them.

    Raises:
        ValueError: the parts do not fit each other. A file with correct checksums may still come from a faulty writer.
    """

    def __init__(self, path: Path, info: SoftLabelInfo, arrays: Dict[str, np.ndarray]) -> None:
        numbers = (info.label_rate, info.temperature, info.mass, info.perplexity)
        if not 0 < info.n_components <= MOST_CLUSTERS or not all(math.isfinite(number) and number > 0 for number in numbers):
            raise ValueError("its description has values out of range")
        if not 0 <= info.uniform <= 1 or not isinstance(info.control, str) or not isinstance(info.frame_wise, bool):
            raise ValueError("its description of a control or of its transitions is damaged")
        self.path = path
        self.info = info
        self.n_components = info.n_components
        self.source = _source_of(info)
        self.uniform = info.uniform
        self.label_rate = info.label_rate
        self.manifest_sha256 = info.manifest_sha256
        self.lengths = np.diff(arrays["utterance_frames"])
        self._arrays = arrays

    def _check_offsets(self, name: str, last: int) -> None:
        """Check that an array holds ``(utterances + 1,)`` rising offsets from 0 to ``last``."""
        offsets = self._arrays[name]
        utterances = len(self._arrays["utterance_crc"])
        if utterances == 0 or len(offsets) != utterances + 1 or offsets[0] != 0 or offsets[-1] != last or (np.diff(offsets) <= 0).any():
            raise ValueError("the offsets of the utterances do not fit the labels")

    @property
    def packed(self) -> bool:
        """Whether the file is packed."""
        return self.info.step != 0

    def tensor(self, name: str) -> np.ndarray:
        """A tensor of the file, as :mod:`softhubert_plugin.labels.soft_layout` describes it; its labels are not checked."""
        return self._arrays[name]

    @property
    def bytes_per_frame(self) -> float:
        """The size of the file divided by its number of frames."""
        return self.path.stat().st_size / self.info.frames

    @abstractmethod
    def stored(self, index: int) -> StoredTargets:
        """One utterance in the form in which a plain file stores it.

        Raises:
            SoftHubertError: its bytes were altered after writing, or are not valid labels.
        """

    def __reduce__(self) -> Any:
        # A data-loading worker maps the file itself: only the path is sent to it.
        return open_soft_labels, (self.path,)


class PlainSoftLabels(SoftLabels):
    """A plain file: component ids, and probabilities in units of 1/65535."""

    def __init__(self, path: Path, info: SoftLabelInfo, arrays: Dict[str, np.ndarray]) -> None:
        super().__init__(path, info, arrays)
        self._check_offsets("utterance_frames", len(arrays["frame_counts"]))
        self._check_offsets("utterance_entries", len(arrays["components"]))
        if len(arrays["probabilities"]) != len(arrays["components"]) or info.frames != len(arrays["frame_counts"]) or info.step != 0:
            raise ValueError("the sizes of its parts disagree")

    def stored(self, index: int) -> StoredTargets:
        first, last = self._arrays["utterance_frames"][index : index + 2]
        counts = self._arrays["frame_counts"][first:last]
        first, last = self._arrays["utterance_entries"][index : index + 2]
        components, probabilities = self._arrays["components"][first:last], self._arrays["probabilities"][first:last]
        stored = (counts, components, probabilities)
        sound = utterance_crc(stored) == self._arrays["utterance_crc"][index]
        if not sound or not counts.all() or counts.sum(dtype=np.int64) != len(components):
            raise SoftHubertError(f"{self.path}: the labels of utterance {index} are damaged; {AGAIN}")
        if components.max() >= self.n_components or not probabilities.all():
            raise SoftHubertError(
                f"{self.path}: utterance {index} has an id beyond {self.n_components} components, or a probability of 0; {AGAIN}"
            )
        return stored

    def entries(self, index: int) -> FrameTargets:
        counts, components, probabilities = self.stored(index)
        wide = counts.astype(np.int64)
        values = probabilities.astype(np.float32)
        totals = np.add.reduceat(values, np.cumsum(wide) - wide)
        return FrameTargets(wide, components.astype(np.int64), values / np.repeat(totals, wide))


class PackedSoftLabels(SoftLabels):
    """A packed file: entries in the code of :mod:`softhubert_plugin.labels.soft_codec`."""

    def __init__(self, path: Path, info: SoftLabelInfo, arrays: Dict[str, np.ndarray]) -> None:
        super().__init__(path, info, arrays)
        self._check_offsets("utterance_frames", info.frames)
        self._check_offsets("utterance_bytes", len(arrays["packed"]))
        if arrays["neighbours"].size != info.n_components**2 or not info.step > 0:
            raise ValueError("the sizes of its parts disagree")
        if arrays["neighbours"].max() >= info.n_components:
            raise ValueError("neighbours beyond the last component")
        self._neighbours = arrays["neighbours"].reshape(info.n_components, info.n_components)

    def stored(self, index: int) -> StoredTargets:
        return quantised(self.entries(index))

    def entries(self, index: int) -> FrameTargets:
        first, last = self._arrays["utterance_bytes"][index : index + 2]
        packed = self._arrays["packed"][first:last].tobytes()
        try:
            if zlib.crc32(packed) != self._arrays["utterance_crc"][index]:
                raise ValueError("its checksum does not match")
            counts, components, levels = unpack(packed, int(self.lengths[index]), self._neighbours)
        except ValueError as error:
            raise SoftHubertError(f"{self.path}: the labels of utterance {index} are damaged ({error}); {AGAIN}") from None
        return FrameTargets(counts.astype(np.int64), components.astype(np.int64), probabilities_of(counts, levels))


def _source_of(info: SoftLabelInfo) -> str:
    """A fingerprint of the mixture and its use, so that labels of one split never go with a control, or with another use, in another."""
    used = " ".join(filter(None, [info.control, "frame-wise" if info.frame_wise else ""]))
    return info.mixture_sha256 if not used else hashlib.sha256(f"{info.mixture_sha256} {used}".encode()).hexdigest()


def _short(error: Exception) -> str:
    """The first line of an error's text, at most 200 characters; its type if it has no text."""
    return str(error).partition("\n")[0][:200] or type(error).__name__


def is_soft_label_file(path: PathLike) -> bool:
    """Whether a file looks like safetensors rather than fairseq's text labels; a missing file is judged by its suffix."""
    try:
        with open(path, "rb") as stream:
            return stream.read(9)[8:] == b"{"
    except (FileNotFoundError, NotADirectoryError):
        return str(path).endswith(".gmm")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: PathLike, error: OSError) -> SoftHubertError:
    return SoftHubertError(f"{path}: cannot be read ({error.strerror}); give a label file, and check its permissions")
