"""Read frames of feature shards as a stream of bounded chunks; the next chunk is read while the current one is used.

Every pass over all frames (moments, EM, labelling) goes through these chunks. They are cut where utterances end, in an order that
depends only on the shards, so that results do not depend on how many processes share the work. Files are read, not memory-mapped, so
that a pass over a corpus does not make the process grow.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import FeatureShard

CHUNK_FRAMES = 8192
# Beyond this size, values leave no digits of single precision to the rest of the corpus, and their squares soon overflow.
LARGEST_VALUE = 1e12


@dataclass(frozen=True)
class Chunk:
    """Some rows of one shard.

    Attributes:
        shard: the shard.
        runs: ``(first, end)`` rows, in order; a run holds utterances that are next to each other.
    """

    shard: FeatureShard
    runs: Tuple[Tuple[int, int], ...]

    @property
    def frames(self) -> int:
        """The number of rows."""
        return sum(end - first for first, end in self.runs)


def plan_chunks(
    shards: Sequence[FeatureShard], chosen: Sequence[np.ndarray], *, chunk_frames: int = CHUNK_FRAMES, whole_utterances: bool = False
) -> List[Chunk]:
    """Cut the chosen utterances of every shard into chunks.

    Args:
        chosen: for each shard ``(utterances,)`` bool.
        chunk_frames: the maximum number of frames in a chunk. A longer utterance is cut in the middle.
        whole_utterances: make a longer utterance a chunk of its own instead.
    """
    chunks: List[Chunk] = []
    for shard, wanted in zip(shards, chosen):
        runs: List[Tuple[int, int]] = []
        held = 0
        offsets = shard.offsets
        for utterance in np.flatnonzero(wanted):
            length = int(shard.lengths[utterance])
            for first, end in _pieces(int(offsets[utterance]), int(offsets[utterance + 1]), length if whole_utterances else chunk_frames):
                if runs and held + end - first > chunk_frames:
                    chunks.append(Chunk(shard, tuple(runs)))
                    runs, held = [], 0
                held += end - first
                if runs and runs[-1][1] == first:
                    first = runs.pop()[0]
                runs.append((first, end))
        if runs:
            chunks.append(Chunk(shard, tuple(runs)))
    return chunks


def _pieces(first: int, end: int, longest: int) -> Iterator[Tuple[int, int]]:
    for start in range(first, end, longest):
        yield start, min(start + longest, end)


def read_chunk(chunk: Chunk, *, as_stored: bool = False) -> np.ndarray:
    """Read the ``(frames, dimension)`` rows of a chunk.

    Args:
        as_stored: keep the type in which they are stored, instead of float32.

    Raises:
        SoftHubertError: the file became shorter after the shard was opened.
    """
    stored = chunk.shard.frames
    if not isinstance(stored, np.memmap) or not stored.flags.c_contiguous:
        found = np.concatenate([np.asarray(stored[first:end]) for first, end in chunk.runs])
        return found if as_stored else _single(found)
    rows = np.empty((chunk.frames, stored.shape[1]), dtype=stored.dtype)
    filled = 0
    row_bytes = stored.shape[1] * stored.itemsize
    with open(chunk.shard.path, "rb", buffering=0) as stream:
        for first, end in chunk.runs:
            stream.seek(stored.offset + first * row_bytes)
            target = rows[filled : filled + end - first].data.cast("B")
            while target:
                count = stream.readinto(target)
                if not count:
                    raise SoftHubertError(
                        f"{chunk.shard.path}: ends before row {end}; the file changed while it was read: dump the shard again"
                    )
                target = target[count:]
            filled += end - first
    return rows if as_stored else _single(rows)


def _single(rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what becomes infinite is refused by the reader
        return rows.astype(np.float32, copy=False)


def stream_chunks(chunks: Iterable[Chunk], *, as_stored: bool = False) -> Iterator[Tuple[Chunk, np.ndarray]]:
    """Yield each chunk with its rows, as :func:`read_chunk` gives them; a thread reads one chunk ahead."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead: Optional[Tuple[Chunk, Future[np.ndarray]]] = None
        for chunk in chunks:
            following = (chunk, reader.submit(read_chunk, chunk, as_stored=as_stored))
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = following
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def refuse_unusable(chunk: Chunk, rows: np.ndarray) -> None:
    """Refuse a chunk with NaN, infinity or values beyond :data:`LARGEST_VALUE`, and name its first such utterance.

    Args:
        rows: the chunk's rows from :func:`read_chunk`.

    Raises:
        SoftHubertError: there is such an utterance.
    """
    if rows.min() >= -LARGEST_VALUE and rows.max() <= LARGEST_VALUE:  # not so if one is NaN; faster than testing each value
        return
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.abs(rows) <= LARGEST_VALUE).all(axis=1))
    row_of = np.concatenate([np.arange(first, end) for first, end in chunk.runs])
    chunk.shard.refuse_row(int(row_of[bad[0]]))
