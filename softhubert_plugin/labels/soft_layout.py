"""The layout of a soft-label file ``{split}.gmm``: a safetensors container with its tensors in a fixed order, so that it can be streamed.

A plain file of N utterances, F frames and E entries holds:

* ``utterance_frames`` and ``utterance_entries``: ``(N + 1,)`` int64 offsets;
* ``utterance_crc``: ``(N,)`` uint32, the CRC-32 of each utterance's labels;
* ``frame_counts``: ``(F,)`` uint8, the number of entries of each frame;
* ``components``: ``(E,)`` uint16;
* ``probabilities``: ``(E,)`` uint16 in units of 1/65535 (renormalised when read).

The header's metadata says what the labels were made from, so that a reader can refuse labels that do not fit. It also holds a CRC-32 of
that description and of the offsets.

Instead of entries, a packed file holds ``packed``, the bytes of :mod:`softhubert_plugin.labels.soft_codec`, ``utterance_bytes``,
``(N + 1,)`` int64 offsets into them, and ``neighbours``, ``(K²,)`` uint16. Its ``utterance_crc`` is of the packed bytes.

The description of a control (:mod:`softhubert_plugin.labels.controls`) has fields that others lack. One of them, ``uniform``, is a share
of the probability that readers spread evenly over all K components: a frame has room for 255 entries, and K of them would fill a disk.
"""

from __future__ import annotations

import json
import mmap
import zlib
from dataclasses import asdict, dataclass
from typing import Dict, List, Mapping, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.targets import FrameTargets

LABEL_FORMAT = "softhubert-labels"
INDEX_CRC = "softhubert-labels-crc32"
PROBABILITY_UNIT = 65_535
MOST_CLUSTERS = 65_536  # component ids are stored as uint16
NUMPY = {"I64": "<i8", "U32": "<u4", "U16": "<u2", "U8": "u1"}
ENTROPY_BINS = 60
# Fields that are written only where they say something, so that versions without them can read all other labels.
_OPTIONAL_FIELDS = ("control", "control_seed", "uniform", "frame_wise")


@dataclass(frozen=True)
class Layout:
    """The tensors of a kind of file in their order, each with its safetensors type. Wide types come first, so that all stay aligned.

    Attributes:
        index: the offsets and the other tensors that are written before the labels.
        content: the tensors that grow with the number of frames.
    """

    index: Dict[str, str]
    content: Dict[str, str]

    @property
    def tensors(self) -> Dict[str, str]:
        """All tensors, in the order of the file."""
        return {**self.index, **self.content}


PLAIN = Layout(
    index={"utterance_frames": "I64", "utterance_entries": "I64", "utterance_crc": "U32"},
    content={"components": "U16", "probabilities": "U16", "frame_counts": "U8"},
)
PACKED = Layout(
    index={"utterance_frames": "I64", "utterance_bytes": "I64", "utterance_crc": "U32", "neighbours": "U16"},
    content={"packed": "U8"},
)

# The labels of one utterance: (frames,) uint8 counts, (entries,) uint16 components, (entries,) uint16 probabilities.
StoredTargets = Tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SoftLabelInfo:
    """The description in a soft-label file.

    Attributes:
        n_components: K.
        label_rate: frames per second.
        split: the split's name.
        mass, max_components: how the posteriors were truncated.
        temperature: of the posteriors.
        mixture_sha256: SHA-256 of the mixture file.
        manifest_sha256: :attr:`Manifest.fingerprint` of the manifest; empty if the features did not record it.
        frames: the number of frames.
        perplexity_before, perplexity: mean ``exp(H)`` before and after truncation.
        entropy_before, entropy: mean H in nats before and after truncation.
        entropy_histogram: counts of frames by entropy after truncation, in equal bins from 0 to ln K.
        step: the step of the square roots of probabilities in a packed file; 0 in a plain file.
        control: the kind of control that these labels are, or empty: they are a mixture's posteriors.
        control_seed: the seed of a control that is drawn at random.
        uniform: the share of the probability that is spread evenly over all K components; the entries have the rest.
        frame_wise: whether frames were taken one by one although the mixture has transitions.
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
    step: float = 0.0
    control: str = ""
    control_seed: int = 0
    uniform: float = 0.0
    frame_wise: bool = False

    def as_text(self) -> str:
        """The description as JSON."""
        fields = asdict(self)
        return json.dumps({name: value for name, value in fields.items() if value or name not in _OPTIONAL_FIELDS}, sort_keys=True)


def check_clusters(n_components: int, source: object) -> None:
    """Check that labels can store the ids of all components.

    Args:
        source: the file of the components, for the error message.

    Raises:
        SoftHubertError: there are more than :data:`MOST_CLUSTERS`.
    """
    if n_components > MOST_CLUSTERS:
        raise SoftHubertError(
            f"{source}: {n_components} components, but soft labels take at most {MOST_CLUSTERS}, because they store component ids in "
            "16 bits; use fewer, or hard labels"
        )


def quantised(targets: FrameTargets) -> StoredTargets:
    """Targets in the form in which a plain file stores them; no entry is rounded down to zero."""
    probabilities = np.maximum(np.rint(targets.probabilities * PROBABILITY_UNIT), 1)
    return targets.counts.astype(np.uint8), targets.components.astype(np.uint16), probabilities.astype(np.uint16)


def utterance_crc(stored: StoredTargets) -> int:
    """The CRC-32 of an utterance's labels."""
    value = 0
    for part, kind in zip(stored, ("U8", "U16", "U16")):
        value = zlib.crc32(np.ascontiguousarray(part, dtype=NUMPY[kind]).data, value)
    return value


def index_crc(layout: Layout, info_text: str, index: Mapping[str, np.ndarray]) -> str:
    """The CRC-32 of the description and the index, as eight hexadecimal digits."""
    value = zlib.crc32(info_text.encode())
    for name, kind in layout.index.items():
        value = zlib.crc32(np.ascontiguousarray(index[name], dtype=NUMPY[kind]).data, value)
    return f"{value:08x}"


def container_header(layout: Layout, info: SoftLabelInfo, index: Mapping[str, np.ndarray], content: Mapping[str, int]) -> bytes:
    """Build a safetensors header (https://huggingface.co/docs/safetensors, "Format").

    It is the length of its JSON as eight bytes, little-endian, then the JSON, padded to a multiple of eight bytes.

    Args:
        info: the description.
        index: the tensors of the index.
        content: the length of each tensor after the index.
    """
    text = info.as_text()
    tensors: Dict[str, object] = {"__metadata__": {LABEL_FORMAT: text, INDEX_CRC: index_crc(layout, text, index)}}
    shapes = {**{name: len(array) for name, array in index.items()}, **content}
    position = 0
    for name, kind in layout.tensors.items():
        size = shapes[name] * np.dtype(NUMPY[kind]).itemsize
        tensors[name] = {"dtype": kind, "shape": [shapes[name]], "data_offsets": [position, position + size]}
        position += size
    encoded = json.dumps(tensors).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


def read_container(content: mmap.mmap) -> Tuple[Layout, SoftLabelInfo, Dict[str, np.ndarray]]:
    """The parts of a file, as views of its bytes; the labels themselves are not read.

    Raises:
        KeyError: :data:`LABEL_FORMAT`, if the file is a safetensors file of another kind.
        ValueError, TypeError, …: the file is damaged.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    if start > len(content):
        raise ValueError(f"a header of {start - 8} bytes in a file of {len(content)}")
    tensors = json.loads(content[8:start].decode())
    metadata = tensors.pop("__metadata__", {})
    text = metadata[LABEL_FORMAT]
    layout = PACKED if "packed" in tensors else PLAIN
    position = start
    arrays = {}
    for name, kind in layout.tensors.items():
        dtype, (length,) = np.dtype(NUMPY[kind]), tensors[name]["shape"]
        if type(length) is not int or not 0 <= length <= len(content):
            raise ValueError(f"{name} of shape [{length}]")
        size = length * dtype.itemsize
        if tensors[name]["dtype"] != kind or tensors[name]["data_offsets"] != [position - start, position - start + size]:
            raise ValueError(f"{name} is not at its place")
        arrays[name] = (dtype, length, position)
        position += size
    if tensors.keys() != layout.tensors.keys() or position != len(content):
        raise ValueError(f"{len(content)} bytes instead of {position}")
    views = {name: np.frombuffer(content, *where) for name, where in arrays.items()}
    if index_crc(layout, text, views) != metadata[INDEX_CRC]:
        raise ValueError("the index fails its checksum")
    return layout, SoftLabelInfo(**json.loads(text)), views
