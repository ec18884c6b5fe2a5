"""Pack the soft labels of an utterance into a third to a quarter of the bytes: square roots of probabilities in even steps, entropy-coded.

For a given number of steps, even steps of the square root cost a distribution the least divergence, since KL(p‖q) ≈ 2 Σ (√p - √q)². A
frame's components are stored as ranks among the neighbours of its most probable component, in ascending order, so that most of the gaps
between them are small. Gaps and steps are compressed by deflate's Huffman codes. Each utterance is packed on its own, so that labels stay
open to random access.
"""

from __future__ import annotations

import zlib
from typing import List, Tuple

import numpy as np

from softhubert_plugin.labels.targets import FrameTargets, most_probable

MOST_STEPS = 255

# The labels of one utterance: (frames,) uint8 counts, (entries,) uint16 components, (entries,) uint8 steps of √p.
SteppedTargets = Tuple[np.ndarray, np.ndarray, np.ndarray]


def stepped(targets: FrameTargets, step: float) -> SteppedTargets:
    """Round probabilities to steps of their square root.

    Entries that round to zero are left out, except each frame's most probable entry.

    Args:
        step: the size of a step of √p.
    """
    frame = targets.frame_of_entry
    starts = np.cumsum(targets.counts) - targets.counts
    best = np.repeat(np.maximum.reduceat(targets.probabilities, starts), targets.counts)
    levels = np.rint(np.sqrt(targets.probabilities) / step).astype(np.int64)
    levels = np.clip(np.where(targets.probabilities == best, np.maximum(levels, 1), levels), 0, MOST_STEPS)
    keep = levels > 0
    counts = np.bincount(frame[keep], minlength=len(targets))
    return counts.astype(np.uint8), targets.components[keep].astype(np.uint16), levels[keep].astype(np.uint8)


def probabilities_of(counts: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Turn steps back into probabilities.

    Args:
        counts: ``(frames,)`` entries of each frame.
        levels: ``(entries,)`` steps of √p.

    Returns:
        ``(entries,)`` float32, summing to one in each frame.
    """
    squares = levels.astype(np.float32) ** 2
    wide = counts.astype(np.int64)
    return squares / np.repeat(np.add.reduceat(squares, np.cumsum(wide) - wide), wide)


def ranks_of(neighbours: np.ndarray) -> np.ndarray:
    """Invert a table of neighbours.

    Args:
        neighbours: ``(K, K)``; row ``k`` lists all components by nearness to ``k``.

    Returns:
        ``(K, K)``: entry ``(k, j)`` is the rank of ``j`` among the neighbours of ``k``, from 0.
    """
    ranks = np.empty_like(neighbours)
    np.put_along_axis(ranks, neighbours.astype(np.int64), np.arange(len(neighbours), dtype=neighbours.dtype)[None], axis=1)
    return ranks


def pack(targets: SteppedTargets, ranks: np.ndarray) -> bytes:
    """Pack an utterance into bytes.

    Args:
        ranks: ``(K, K)`` from :func:`ranks_of`; each component must be first among its own neighbours.

    Raises:
        ValueError: a frame names a component twice.
    """
    counts, components, levels = targets
    wide = counts.astype(np.int64)
    starts = np.cumsum(wide) - wide
    frame = np.repeat(np.arange(len(wide)), wide)
    best = most_probable(wide, components, levels.astype(np.int64))
    rank = ranks[np.repeat(best, wide), components].astype(np.int64)
    order = np.lexsort((rank, frame))
    gaps = np.diff(rank[order], prepend=0) - 1
    gaps = np.delete(gaps, starts)
    if gaps.min(initial=0) < 0:
        raise ValueError("a frame names a component twice")
    best_low, best_high = _planes(best)
    gap_low, gap_high = _planes(gaps)
    plain, codes = zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY
    streams = ((best_low, plain), (best_high, plain), (counts, plain), (gap_high, plain), (gap_low, codes), (levels[order], codes))
    return b"".join(_deflated(np.ascontiguousarray(values, np.uint8).tobytes(), strategy) for values, strategy in streams)


def unpack(packed: bytes, frames: int, neighbours: np.ndarray) -> SteppedTargets:
    """Unpack an utterance that :func:`pack` packed; each frame's entries are in the order of their ranks.

    Args:
        frames: how many frames the utterance has.
        neighbours: ``(K, K)``; row ``k`` lists all components by nearness to ``k``.

    Raises:
        ValueError: the bytes are not packed labels of this many frames.
    """
    streams = _Streams(packed)
    best = streams.next(frames).astype(np.int64) + 256 * streams.next(frames).astype(np.int64)
    counts = streams.next(frames)
    if not counts.all():
        raise ValueError("a frame without entries")
    wide = counts.astype(np.int64)
    entries = int(wide.sum())
    starts = np.cumsum(wide) - wide
    gaps = 256 * streams.next(entries - frames).astype(np.int64) + streams.next(entries - frames) + 1
    levels = streams.next(entries)
    if streams.rest or not levels.all():
        raise ValueError("more bytes than labels, or an entry of probability zero")
    steps = np.zeros(entries, dtype=np.int64)
    inner = np.ones(entries, dtype=bool)
    inner[starts] = False
    steps[inner] = gaps
    rank = np.cumsum(steps)
    rank -= np.repeat(rank[starts], wide)
    if max(rank.max(), best.max()) >= len(neighbours):
        raise ValueError("a component beyond the last")
    return counts, neighbours[np.repeat(best, wide), rank], levels


def _planes(values: np.ndarray) -> List[np.ndarray]:
    """The low and the high bytes of 16-bit values."""
    wide = values.astype(np.int64)
    return [wide & 255, wide >> 8]


def _deflated(content: bytes, strategy: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    return stream.compress(content) + stream.flush()


class _Streams:
    """Deflate streams one after another, each with a known number of unpacked bytes."""

    def __init__(self, packed: bytes) -> None:
        self.rest = packed

    def next(self, size: int) -> np.ndarray:
        stream = zlib.decompressobj(-15)
        try:
            # One byte more than expected is allowed: that reveals a stream that is too long, and limits what a malicious one can unpack.
            content = stream.decompress(self.rest, size + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(content) != size or not stream.eof:
            raise ValueError(f"a stream that does not hold {size} bytes")
        self.rest = stream.unused_data
        return np.frombuffer(content, np.uint8)
