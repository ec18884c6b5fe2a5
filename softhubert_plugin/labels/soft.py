"""The soft-label file ``{split}.gmm``: sparse posteriors of a whole split, memory-mapped, read by utterance.

A safetensors container with, for N utterances, F frames and E entries in all: ``utterance_frames`` and ``utterance_entries``
``(N + 1)`` int64 offsets, ``frame_counts`` ``(F,)`` uint8, ``components`` ``(E,)`` uint16, ``probabilities`` ``(E,)`` uint16 in
units of 1/65535 (renormalised when read), and ``utterance_crc`` ``(N,)`` uint32, the CRC-32 of each utterance's part. The header
says what the labels were made from, so that a reader can refuse labels that do not fit.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path
from softhubert_plugin.labels.frames import FrameTargets

FORMAT = "softhubert-labels"
PROBABILITY_UNIT = 65_535
TENSORS = {
    "utterance_frames": "I64",
    "utterance_entries": "I64",
    "utterance_crc": "U32",
    "frame_counts": "U8",
    "components": "U16",
    "probabilities": "U16",
}
ENTROPY_BINS = 60

# Of one utterance: (frames,) uint8 counts, (entries,) uint16 components, (entries,) uint16 probabilities.
StoredTargets = Tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SoftLabelInfo:
    """What a soft-label file says of itself.

    Attributes:
        n_components: K.
        label_rate: frames a second.
        split: the split's name.
        mass, max_components: how the posteriors were truncated.
        temperature: at which they were taken.
        mixture_sha256: of the mixture file.
        manifest_sha256: :attr:`Manifest.fingerprint` of the manifest, empty where the features did not tell.
        frames: how many.
        perplexity_before, perplexity: mean ``exp(H)`` before and after truncation.
        entropy_before, entropy: mean H in nats before and after truncation.
        entropy_histogram: counts of frames by entropy after truncation, in equal bins from 0 to ln K.
    """

    n_components: int
    label_rate: float
    split: str
    mass: float
    max_components: int
    temperature: float
    mixture_sha256: str
    manifest_sha256: str
    frames: int
    perplexity_before: float
    perplexity: float
    entropy_before: float
    entropy: float
    entropy_histogram: List[int]


class SoftLabels:
    """A soft-label file, open for random access; only what is asked for is read from disk.

    Raises:
        SoftHubertError: the file is missing, truncated, damaged, or not a soft-label file.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._stored: Optional[Any] = None
        with self._reading():
            header = (self._file.metadata() or {}).get(FORMAT)
            if header is None:
                raise SoftHubertError(f"{path}: not a soft-label file; make one with 'softhubert gmm dump'")
            self.info = SoftLabelInfo(**json.loads(header))
            dtypes = {name: self._file.get_slice(name).get_dtype() for name in self._file.keys()}  # noqa: SIM118 (not a dict)
            if dtypes != TENSORS:
                raise SoftHubertError(f"{path}: expected the tensors {TENSORS}, found {dtypes}; make the labels again")
            self._frames = self._file.get_tensor("utterance_frames")
            self._entries = self._file.get_tensor("utterance_entries")
            self._crc = self._file.get_tensor("utterance_crc")
            sizes = {name: self._file.get_slice(name).get_shape() for name in TENSORS}
        utterances, frames, entries = len(self._crc), int(self._frames[-1]), int(self._entries[-1])
        expected = {
            "utterance_frames": [utterances + 1],
            "utterance_entries": [utterances + 1],
            "utterance_crc": [utterances],
            "frame_counts": [frames],
            "components": [entries],
            "probabilities": [entries],
        }
        increasing = self._frames[0] == self._entries[0] == 0 and (np.diff(self._frames) > 0).all() and (np.diff(self._entries) > 0).all()
        if sizes != expected or not increasing or frames != self.info.frames:
            raise SoftHubertError(f"{path}: damaged (offsets and sizes disagree); make the labels again with 'softhubert gmm dump'")

    def __len__(self) -> int:
        return len(self._crc)

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
        return np.diff(self._frames)

    @property
    def bytes_per_frame(self) -> float:
        """File size over frames."""
        return self.path.stat().st_size / self.info.frames

    def stored(self, index: int) -> StoredTargets:
        """One utterance as it lies in the file.

        Raises:
            SoftHubertError: its bytes were altered since they were written.
        """
        with self._reading():
            frames = slice(int(self._frames[index]), int(self._frames[index + 1]))
            entries = slice(int(self._entries[index]), int(self._entries[index + 1]))
            counts = self._file.get_slice("frame_counts")[frames]
            components = self._file.get_slice("components")[entries]
            probabilities = self._file.get_slice("probabilities")[entries]
        if _crc(counts, components, probabilities) != self._crc[index] or int(counts.sum()) != len(components):
            raise SoftHubertError(f"{self.path}: the labels of utterance {index} are damaged; make the file again ('softhubert gmm dump')")
        return counts, components, probabilities

    def utterance(self, index: int) -> FrameTargets:
        """The targets of one utterance, each frame summing to one; raises as :meth:`stored`."""
        counts, components, probabilities = self.stored(index)
        wide = counts.astype(np.int64)
        values = probabilities.astype(np.float32)
        totals = np.add.reduceat(values, np.cumsum(wide) - wide)
        return FrameTargets(wide, components.astype(np.int64), values / np.repeat(totals, wide))

    @property
    def _file(self) -> Any:
        if self._stored is None:
            self._stored = safe_open(str(self.path), framework="np")
        return self._stored

    def _reading(self) -> _NamedErrors:
        return _NamedErrors(self.path)

    def __getstate__(self) -> Dict[str, Any]:
        # A data-loading worker opens the file itself: only the path and the offsets travel to it.
        return {**self.__dict__, "_stored": None}


class _NamedErrors:
    """Turns what safetensors raises into an error that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise SoftHubertError(
                f"{self.path}: no such soft labels; make them with 'softhubert gmm dump' and 'softhubert labels merge'"
            ) from None
        if isinstance(error, (SafetensorError, KeyError, TypeError, ValueError, IndexError)):
            raise SoftHubertError(
                f"{self.path}: truncated or damaged soft labels ({error}); make them again with 'softhubert gmm dump'"
            ) from None


def _crc(counts: np.ndarray, components: np.ndarray, probabilities: np.ndarray) -> int:
    value = 0
    for part in (counts, components, probabilities):
        value = zlib.crc32(np.ascontiguousarray(part).tobytes(), value)
    return value


def quantised(targets: FrameTargets) -> StoredTargets:
    """Targets as they are stored; no entry is rounded down to nothing."""
    probabilities = np.maximum(np.rint(targets.probabilities * PROBABILITY_UNIT), 1)
    return targets.counts.astype(np.uint8), targets.components.astype(np.uint16), probabilities.astype(np.uint16)


def write_soft_labels(path: PathLike, utterances: Iterable[StoredTargets], info: SoftLabelInfo) -> None:
    """Write a soft-label file, atomically.

    Args:
        utterances: in manifest order; all are held in memory (some ten bytes a frame).
    """
    stored = list(utterances)
    tensors = {
        "utterance_frames": np.cumsum([0, *(len(counts) for counts, _, _ in stored)], dtype=np.int64),
        "utterance_entries": np.cumsum([0, *(len(components) for _, components, _ in stored)], dtype=np.int64),
        "utterance_crc": np.asarray([_crc(*parts) for parts in stored], dtype=np.uint32),
        "frame_counts": np.concatenate([parts[0] for parts in stored]),
        "components": np.concatenate([parts[1] for parts in stored]),
        "probabilities": np.concatenate([parts[2] for parts in stored]),
    }
    # One key: safetensors writes several in an order that changes from run to run.
    header = {FORMAT: json.dumps(info.__dict__, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=header)


def is_soft_label_file(path: PathLike) -> bool:
    """Whether a file looks like safetensors rather than fairseq's text labels."""
    try:
        with open(path, "rb") as stream:
            return stream.read(9)[8:] == b"{"
    except FileNotFoundError:
        return str(path).endswith(".gmm")
