"""Write a soft-label file from a stream of utterances, in bounded memory.

The parts that grow with the frames first go to scratch files beside the target, because the header needs their lengths. Memory holds
only offsets (twenty bytes per utterance).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterable, List, Sequence, Union

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path
from softhubert_plugin.labels.soft_codec import SteppedTargets, pack, ranks_of
from softhubert_plugin.labels.soft_layout import (
    NUMPY,
    PACKED,
    PLAIN,
    SoftLabelInfo,
    StoredTargets,
    check_clusters,
    container_header,
    utterance_crc,
)

BLOCK = 1 << 22


def write_soft_labels(path: PathLike, utterances: Iterable[StoredTargets], info: Union[SoftLabelInfo, Callable[[], SoftLabelInfo]]) -> None:
    """Write a soft-label file, atomically; the same utterances and description give the same bytes.

    Args:
        utterances: in manifest order; each is written as it comes.
        info: the description, or a function that gives it after the last utterance (for statistics gathered on the way).

    Raises:
        SoftHubertError: there is no utterance, an utterance has no frame, a frame has no entry, or ``info`` has another number of frames.
    """
    frames, entries, crcs = [0], [0], []
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(path))
        # These files have no names, so that nothing of them outlives a killed process.
        scratch = {name: stack.enter_context(tempfile.TemporaryFile(dir=temporary.parent)) for name in PLAIN.content}
        for number, (counts, components, probabilities) in enumerate(utterances):
            if len(counts) == 0 or not counts.all() or not int(counts.sum(dtype=np.int64)) == len(components) == len(probabilities):
                raise SoftHubertError(
                    f"{path}: utterance {number} has {len(counts)} frames with {int(counts.sum(dtype=np.int64))} entries, but "
                    f"{len(components)} components and {len(probabilities)} probabilities; every entry needs one component and one "
                    "probability, and every frame needs at least one entry"
                )
            for name, part in (("frame_counts", counts), ("components", components), ("probabilities", probabilities)):
                scratch[name].write(np.ascontiguousarray(part, dtype=NUMPY[PLAIN.content[name]]).data)
            frames.append(frames[-1] + len(counts))
            entries.append(entries[-1] + len(components))
            crcs.append(utterance_crc((counts, components, probabilities)))
        described = info() if callable(info) else info
        check_clusters(described.n_components, path)
        if not crcs or described.frames != frames[-1]:
            raise SoftHubertError(
                f"{path}: {len(crcs)} utterances of {frames[-1]} frames, but the description has {described.frames} frames"
            )
        index = _index(frames, "utterance_entries", entries, crcs)
        lengths = {"components": entries[-1], "probabilities": entries[-1], "frame_counts": frames[-1]}
        _assemble(temporary, container_header(PLAIN, described, index, lengths), index, [scratch[name] for name in PLAIN.content])


def write_packed_labels(path: PathLike, utterances: Iterable[SteppedTargets], info: SoftLabelInfo, neighbours: np.ndarray) -> None:
    """Write a packed soft-label file, atomically.

    Args:
        utterances: in manifest order; each is packed as it comes.
        info: the description; its ``step`` is the step of the utterances.
        neighbours: ``(K, K)`` uint16; row ``k`` lists all components by nearness to ``k``, itself first.

    Raises:
        SoftHubertError: a frame names a component twice.
    """
    frames, ends = [0], [0]
    crcs: List[int] = []
    ranks = ranks_of(neighbours)
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(path))
        scratch = stack.enter_context(tempfile.TemporaryFile(dir=temporary.parent))
        for targets in utterances:
            try:
                packed = pack(targets, ranks)
            except ValueError as error:
                raise SoftHubertError(f"{path}: utterance {len(crcs)}: {error}; make the labels again") from None
            scratch.write(packed)
            frames.append(frames[-1] + len(targets[0]))
            ends.append(ends[-1] + len(packed))
            crcs.append(zlib.crc32(packed))
        index = _index(frames, "utterance_bytes", ends, crcs)
        index["neighbours"] = np.ascontiguousarray(neighbours, dtype="<u2").reshape(-1)
        _assemble(temporary, container_header(PACKED, info, index, {"packed": ends[-1]}), index, [scratch])


def _index(frames: List[int], name: str, ends: List[int], crcs: List[int]) -> Dict[str, np.ndarray]:
    """The index: the offsets of the utterances in frames, their offsets in the stored data (as ``name``), and their CRCs."""
    return {
        "utterance_frames": np.asarray(frames, dtype="<i8"),
        name: np.asarray(ends, dtype="<i8"),
        "utterance_crc": np.asarray(crcs, dtype="<u4"),
    }


def _assemble(path: Path, header_bytes: bytes, index: Dict[str, np.ndarray], content: Sequence[BinaryIO]) -> None:
    """Write the header, the index, and the content of the scratch files, one after another."""
    with open(path, "wb") as stream:
        stream.write(header_bytes)
        for array in index.values():
            stream.write(array.data)
        for gathered in content:
            gathered.seek(0)
            shutil.copyfileobj(gathered, stream, BLOCK)
            gathered.truncate(0)  # gives the disk back before the next one is copied
