"""Posteriors of frames that hear their neighbours: a mixture with transitions, applied to whole utterances."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Iterable, Iterator, List, Sequence, Tuple

import numpy as np
import torch

from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.forward_backward import DEEPEST, Chain, StickyChain, chain_of, lifts
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.sources import Block
from softhubert_plugin.labels.truncation import exponential

# The key of a mixture's metadata for the posteriors of frames taken one by one, where it has transitions.
FRAME_WISE = "frame_wise"
# Frames, and entries of a (frames, K) matrix, that are worked on at once between the passes; they are few enough to fit into caches.
_PART_FRAMES = 4096
_PART_ENTRIES = 1 << 22
# Entries of the (frames, K) matrix of utterances that are passed through together. The passes hold three times as many, 100 MB.
_ENTRIES = 1 << 23
# The sticky passes take many short steps. Threads that take them at the same time hand the interpreter's lock over at each of them, and
# are ten times slower than one after the other.
_STEPS = threading.Lock()


def frame_wise_shares(joint: torch.Tensor, temperature: float) -> np.ndarray:
    """Tempered posteriors of frames taken one by one, as shares of each frame's largest one, ``(n, K)``; not under ``e^DEEPEST``.

    Args:
        joint: ``(n, K)`` log joint densities in nats, of any float type and on any device; overwritten.
    """
    falls = joint.sub_(joint.amax(1, keepdim=True)).mul_(1 / temperature).clamp_(min=DEEPEST)
    return exponential(falls).cpu().numpy()


def joined(blocks: Iterable[Block], components: int) -> Iterator[Block]:
    """Join blocks as far as their utterances can be passed through together: the more utterances, the less each step costs.

    Args:
        blocks: frames ``(n, input dimension)`` of whole utterances, and the number of frames of each.
        components: K.
    """
    held: List[Block] = []
    for block in blocks:
        if held and (sum(len(rows) for rows, _ in held) + len(block[0])) * components > _ENTRIES:
            yield _one(held)
            held = []
        held.append(block)
    if held:
        yield _one(held)


def _one(blocks: Sequence[Block]) -> Block:
    rows, lengths = zip(*blocks)
    return (rows[0], lengths[0]) if len(blocks) == 1 else (np.concatenate(rows), np.concatenate(lengths))


class Smoother:
    """The posteriors of whole utterances under a mixture with transitions, in single precision.

    Each utterance is computed alone, except for passes that do not mix utterances, so that its bytes do not depend on the others.

    Args:
        engine: of the mixture.
    """

    def __init__(self, engine: Engine) -> None:
        assert engine.mixture.transitions is not None
        self.engine = engine
        self.chain = chain_of(engine.mixture.transitions, engine.mixture.tempered_weights.numpy().astype(np.float32))

    def __call__(self, rows: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the posteriors ``(n, K)`` float32, up to a factor per frame, of the frames in order, in parts of utterances.

        Args:
            rows: ``(frames, input dimension)``, utterance after utterance.
            lengths: frames of each utterance.
        """
        components = self.engine.mixture.n_components
        for start, end in _groups(lengths, max(1, _ENTRIES // components)):
            frames = slice(int(lengths[:start].sum()), int(lengths[:end].sum()))
            yield from smoothed(shares_of(self.engine, rows[frames], lengths[start:end]), lengths[start:end], self.chain)


def shares_of(engine: Engine, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The frame-wise posteriors of whole utterances, as :func:`frame_wise_shares`: ``(frames, K)`` float32; each utterance alone.

    Args:
        rows: ``(frames, input dimension)``, utterance after utterance.
        lengths: frames of each utterance.
    """
    shares = np.empty((len(rows), engine.mixture.n_components), dtype=np.float32)
    for start, end in _bounds(lengths):
        for first, last in _parts(start, end, shares.shape[1]):
            shares[first:last] = frame_wise_shares(engine.log_joint(rows[first:last]), engine.mixture.temperature)
    return shares


def utterance_joints(engine: Engine, rows: np.ndarray, lengths: np.ndarray) -> Iterator[torch.Tensor]:
    """Yield the log joint densities ``(frames, K)`` of each utterance; arguments as in :func:`shares_of`."""
    for start, end in _bounds(lengths):
        yield torch.cat([engine.log_joint(rows[first:last]).cpu() for first, last in _parts(start, end, engine.mixture.n_components)])


def frame_by_frame(mixture: GaussianMixture) -> GaussianMixture:
    """The mixture without its transitions, at the temperature that was calibrated for frames taken one by one, if one was."""
    recorded = mixture.metadata.get(FRAME_WISE, {})
    return replace(mixture, transitions=None, temperature=recorded.get("temperature", mixture.temperature))


def smoothed(shares: np.ndarray, lengths: np.ndarray, chain: Chain) -> Iterator[np.ndarray]:
    """Yield posteriors of whole utterances, ``(n, K)``, up to a factor per frame, in parts of utterances.

    Args:
        shares, lengths, chain: as :func:`~softhubert_plugin.gmm.forward_backward.lifts` takes them; shares are overwritten.
    """
    if isinstance(chain, StickyChain):
        with _STEPS:
            found = lifts(shares, lengths, chain)
    else:
        found = lifts(shares, lengths, chain)
    for utterance, (start, end) in enumerate(_bounds(lengths)):
        for first, last in _parts(start, end, shares.shape[1]):
            part = shares[first:last]
            for lift in found.of(utterance, first - start, last - start):
                part *= lift
            yield part


def utterance_posteriors(mixture: GaussianMixture, utterances: Sequence[torch.Tensor]) -> List[torch.Tensor]:
    """The posteriors of whole utterances in double precision; the mixture must have transitions.

    Args:
        utterances: ``(frames, input dimension)`` each.

    Returns:
        ``(frames, K)`` float64 for each utterance, summing to one in each frame.
    """
    assert mixture.transitions is not None
    chain = chain_of(mixture.transitions, mixture.tempered_weights.numpy())
    found = []
    for frames in utterances:
        shares = frame_wise_shares(mixture.log_joint(frames), mixture.temperature)
        posteriors = np.concatenate(list(smoothed(shares, np.asarray([len(frames)]), chain)))
        found.append(torch.from_numpy(posteriors / posteriors.sum(1, keepdims=True)))
    return found


def _bounds(lengths: np.ndarray) -> Iterator[Tuple[int, int]]:
    """Yield the first row of each utterance, and the row after its last one."""
    ends = np.cumsum(lengths).tolist()
    yield from zip([0, *ends], ends)


def _groups(lengths: np.ndarray, frames: int) -> Iterator[Tuple[int, int]]:
    """Yield first and end of groups of utterances with at most so many frames; a longer utterance is a group of its own."""
    start = held = 0
    for utterance, length in enumerate(lengths.tolist()):
        if held and held + length > frames:
            yield start, utterance
            start, held = utterance, 0
        held += length
    yield start, len(lengths)


def _parts(start: int, end: int, components: int) -> Iterator[Tuple[int, int]]:
    """Cut the frames ``start … end - 1`` of an utterance into parts; where, depends on nothing else."""
    step = max(1, min(_PART_FRAMES, _PART_ENTRIES // components))
    for first in range(start, end, step):
        yield first, min(first + step, end)
