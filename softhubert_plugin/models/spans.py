"""Spans of frames to hide, drawn as in wav2vec 2.0 and HuBERT (Baevski et al. 2020, section 3.1; Hsu et al. 2021, section IV-B).

fairseq 0.12.2 and fairseq-fixed draw spans from different generators, and neither can keep spans apart with NumPy 1.24 or later. Here the
caller gives the generator. With the same seed, the spans are those of stock fairseq.
"""

from __future__ import annotations

from typing import List, Tuple

import numpy as np


def draw_spans(
    frames: int,
    rng: np.random.RandomState,
    *,
    prob: float,
    length: int,
    selection: str = "static",
    other: float = 0.0,
    at_least: int = 0,
    no_overlap: bool = False,
    min_space: int = 1,
) -> np.ndarray:
    """Draw the frames to hide.

    Args:
        frames: number of frames.
        rng: source of randomness.
        prob: share of the frames in spans, before overlaps; ``prob * frames / length`` spans are drawn, rounded up or down at random.
        length: length of a span, in frames.
        selection, other: how the length varies: ``static`` not at all, ``uniform`` from ``other`` to ``2 * length``, ``normal`` with
            standard deviation ``other``, ``poisson`` with mean ``length``.
        at_least: minimum number of spans.
        no_overlap: keep spans apart by ``min_space`` frames; spans that find no room are left out.

    Returns:
        ``(n,)`` int64 numbers of the hidden frames, ascending.

    Raises:
        ValueError: ``selection`` is not one of these.
    """
    count = count_spans(frames, rng, prob=prob, length=length, at_least=at_least)
    return place_spans(frames, count, rng, length=length, selection=selection, other=other, no_overlap=no_overlap, min_space=min_space)


def count_spans(frames: int, rng: np.random.RandomState, *, prob: float, length: int, at_least: int = 0) -> int:
    """The number of spans in ``frames`` frames, rounded up or down at random; arguments as for :func:`draw_spans`."""
    return max(at_least, int(prob * frames / length + rng.rand()))


def place_spans(
    frames: int,
    count: int,
    rng: np.random.RandomState,
    *,
    length: int,
    selection: str = "static",
    other: float = 0.0,
    no_overlap: bool = False,
    min_space: int = 1,
) -> np.ndarray:
    """Draw the frames that ``count`` spans hide; the other arguments and the result are those of :func:`draw_spans`."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    lengths = _lengths(count, length, selection, other, rng)
    if lengths.sum() == 0:
        lengths[0] = min(length, frames - 1)
    if no_overlap:
        hidden = _apart(frames, lengths, min_space, rng)
    else:
        shortest = int(lengths.min())
        if frames - shortest <= count:  # too few places for this number of starts
            shortest = frames - count - 1
        starts = rng.choice(frames - shortest, count, replace=False)
        hidden = np.concatenate([np.arange(start, start + extent) for start, extent in zip(starts, lengths)])
    return np.unique(hidden[hidden < frames])


def _lengths(count: int, length: int, selection: str, other: float, rng: np.random.RandomState) -> np.ndarray:
    if selection == "static":
        return np.full(count, length)
    if selection == "uniform":
        return rng.randint(int(other), length * 2 + 1, size=count)
    if selection == "normal":
        return np.maximum(np.rint(rng.normal(length, other, size=count)), 1).astype(np.int64)
    if selection == "poisson":
        return rng.poisson(length, size=count)
    raise ValueError(f"mask selection {selection!r}: expected static, uniform, normal or poisson")


def _apart(frames: int, lengths: np.ndarray, min_space: int, rng: np.random.RandomState) -> np.ndarray:
    """Place spans from longest to shortest, each at random in a free stretch, which is chosen in proportion to the stretch's length."""
    shortest = int(lengths.min())
    free: List[Tuple[int, int]] = [(0, frames)]
    hidden = [np.zeros(0, dtype=np.int64)]
    for length in sorted(lengths.tolist(), reverse=True):
        room = np.asarray([end - start if end - start >= length + min_space else 0 for start, end in free])
        if not room.sum():
            break
        start, end = free.pop(int(rng.choice(len(free), p=room / room.sum())))
        first = int(rng.randint(start, end - length + 1))
        hidden.append(np.arange(first, first + length))
        for left in ((start, first - min_space), (first + length + min_space, end)):
            if left[1] - left[0] >= shortest:
                free.append(left)
    return np.concatenate(hidden)
