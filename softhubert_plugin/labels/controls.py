"""Make controls from soft labels: labels that lack one part of what posteriors say, to find out which part matters in training.

* ``argmax`` keeps the most probable component of each frame, with probability 1: no uncertainty at all.
* ``smooth`` keeps the argmax and adds the same even uncertainty to every frame, as label smoothing does: probability
  ``1 - u + u / K`` for the argmax and ``u / K`` for each of the other K - 1 components. One ``u`` is solved for the whole file, so that the
  mean entropy is that of the original. Neither content nor place of the uncertainty is left, only its mean amount.
* ``shuffle`` keeps the probabilities of each frame and its most probable component, and draws its other components at random, without
  repetition, from all others. The amount of uncertainty is left in its place, without its content. What is drawn for an utterance depends
  on the seed and the utterance's number alone.

Training averages labels that come more often than the model's frames, such as the 100 per second of MFCCs. That leaves the original less
uncertain than a shuffled control, whose neighbouring frames have no components in common. A control at the model's rate is made from
averaged labels, so that it has their uncertainty.

Among equally probable components the lowest number counts as the most probable one, as everywhere. The file is read block by block; memory
does not grow with it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.entropy_statistics import EntropyStatistics
from softhubert_plugin.labels.soft import SoftLabels, is_soft_label_file, open_soft_labels
from softhubert_plugin.labels.soft_layout import PROBABILITY_UNIT, SoftLabelInfo, StoredTargets, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.truncation import MAX_COMPONENTS

CONTROLS = ("argmax", "smooth", "shuffle")
# Frames that are worked on at once, and entries of the table from which components are drawn: few enough for caches.
_BLOCK_FRAMES = 8192
_TABLE_ENTRIES = 1 << 20


class _Block(NamedTuple):
    """Some utterances as one, in the form in which a file stores them; the first one's number, and ``(utterances,)`` frames of each."""

    stored: StoredTargets
    first: int
    lengths: np.ndarray


class _Original:
    """The labels that a control is made from, at the rate of the control.

    Args:
        labels: the file.
        rate: frames per second; those of the file are averaged, as training averages them.

    Attributes:
        labels: the file.
        lengths: ``(utterances,)`` frames of each utterance at this rate.
        info: the description at this rate; of averaged labels only its entropies are still those of the file.

    Raises:
        SoftHubertError: the file has not a whole number of frames for each.
    """

    def __init__(self, labels: SoftLabels, rate: Optional[float]) -> None:
        self.labels = labels
        ratio = 1.0 if rate is None or not rate > 0 else labels.info.label_rate / rate
        self._ratio = round(ratio)
        if (rate is not None and not rate > 0) or self._ratio < 1 or abs(ratio - self._ratio) > 1e-6:
            raise SoftHubertError(f"--rate {rate:g}: expected the {labels.info.label_rate:g} labels per second of {labels.path}, or a part")
        self.lengths = -(-labels.lengths // self._ratio)
        self.info = replace(labels.info, label_rate=labels.info.label_rate / self._ratio, frames=int(self.lengths.sum()), step=0.0)

    @property
    def averaged(self) -> bool:
        """Whether labels of the file are averaged."""
        return self._ratio > 1

    def stored(self, index: int) -> StoredTargets:
        """The labels of an utterance."""
        if not self.averaged:
            return self.labels.stored(index)
        pooled = self.labels.entries(index).pooled(self._ratio, "mean")
        if pooled.counts.max() > MAX_COMPONENTS:
            raise SoftHubertError(
                f"{self.labels.path}: {pooled.counts.max()} components in an averaged frame, but a file holds at most {MAX_COMPONENTS}; "
                "leave --rate out, or dump labels with fewer --max-components"
            )
        return quantised(pooled)


def control_labels(
    source: PathLike, dest: PathLike, *, kind: str, seed: int = 1, like: Optional[PathLike] = None, rate: Optional[float] = None
) -> str:
    """Write a control of soft labels. Its description names the kind, and the seed if it matters.

    Args:
        source: soft labels, plain or packed.
        dest: the file to write; it is plain.
        kind: one of :data:`CONTROLS`.
        seed: of ``shuffle``.
        like: a ``smooth`` control of another split, whose ``u`` is taken.
        rate: frames per second of the control, by which those of the source can be divided; by default the source's.

    Returns:
        A line on what was written.

    Raises:
        SoftHubertError: the source is damaged or is a control itself, or an option is out of range.
    """
    if kind not in CONTROLS:
        raise SoftHubertError(f"--kind {kind}: expected one of {', '.join(CONTROLS)}")
    if seed < 0:
        raise SoftHubertError(f"--seed {seed}: expected 0 or more")
    if like is not None and kind != "smooth":
        raise SoftHubertError(f"--like {like}: only for --kind smooth, which has an amount to take over; leave it out")
    if Path(source).resolve() == Path(dest).resolve():
        raise SoftHubertError(f"{dest}: source and destination are one file; give another name")
    if Path(source).exists() and not is_soft_label_file(source):
        raise SoftHubertError(f"{source}: not soft labels; a control is made of the posteriors of 'softhubert gmm dump' without --hard")
    labels = open_soft_labels(source)
    if labels.info.control:
        raise SoftHubertError(f"{source}: is a control already ({labels.info.control}); give the labels that it was made from")
    original = _Original(labels, rate)
    info = replace(original.info, control=kind)
    if kind == "shuffle":
        info = replace(info, control_seed=seed)
        if original.averaged:
            info = replace(info, **_statistics(original).summary())
        write_soft_labels(dest, _in_blocks(original, lambda block: _shuffled(block, labels.n_components, seed)), info)
    else:
        if kind == "argmax":
            uniform = 0.0
        elif like is not None:
            uniform = _uniform_of(like, labels)
        else:
            uniform = uniform_share(_statistics(original).summary()["entropy"], labels.n_components)
        entropy = smoothed_entropy(uniform, labels.n_components)
        write_soft_labels(dest, _in_blocks(original, _certain), _equally_uncertain(replace(info, uniform=uniform), entropy))
    written = open_soft_labels(dest)
    return (
        f"{dest}: control {kind} of {source}, {written.info.frames} frames, mean entropy {written.info.entropy:.4f} nats, "
        f"mean perplexity {written.info.perplexity:.3f}"
    )


def smoothed_entropy(share: float, n_components: int) -> float:
    """The entropy in nats of a certain frame that spreads a share of its probability evenly over all K components."""
    even = share / n_components
    best = 1 - share + even
    others = 0.0 if even == 0 else -(n_components - 1) * even * np.log(even)
    return float(others - best * np.log(best))


def uniform_share(entropy: float, n_components: int) -> float:
    """The share of the probability to spread evenly over K components, so that a certain frame gets this entropy in nats."""
    if entropy <= 0 or n_components == 1:
        return 0.0
    if entropy >= smoothed_entropy(1.0, n_components):
        return 1.0
    from scipy.optimize import brentq

    share: float = brentq(lambda share: smoothed_entropy(share, n_components) - entropy, 0.0, 1.0, xtol=1e-14)
    return share


def _uniform_of(path: PathLike, labels: SoftLabels) -> float:
    info = open_soft_labels(path).info
    same = (info.mixture_sha256, info.frame_wise) == (labels.info.mixture_sha256, labels.info.frame_wise)
    if info.control != "smooth" or not same:
        raise SoftHubertError(f"--like {path}: not a smooth control from the mixture of {labels.path}; give that of the training split")
    return info.uniform


def _equally_uncertain(info: SoftLabelInfo, entropy: float) -> SoftLabelInfo:
    """The description of labels whose frames all have this entropy."""
    statistics = EntropyStatistics(info.n_components)
    statistics.add(np.asarray([entropy]), np.asarray([entropy]))
    summary = statistics.summary()
    summary["entropy_histogram"] = [count * info.frames for count in summary["entropy_histogram"]]
    return replace(info, **summary)


def _blocks(original: _Original, what: str) -> Iterator[_Block]:
    """Yield all utterances, several together."""
    held: List[StoredTargets] = []
    frames = 0
    last = len(original.lengths) - 1
    for index in tqdm(range(last + 1), desc=f"{what} {original.labels.path.name}", unit="utt", disable=None):
        held.append(original.stored(index))
        frames += len(held[-1][0])
        if frames >= _BLOCK_FRAMES or index == last:
            counts, components, probabilities = (np.concatenate(parts) for parts in zip(*held))
            first = index + 1 - len(held)
            yield _Block((counts, components, probabilities), first, original.lengths[first : index + 1])
            held, frames = [], 0


def _in_blocks(original: _Original, change: Callable[[_Block], StoredTargets]) -> Iterator[StoredTargets]:
    """Change all utterances, several together, and yield them one by one."""
    for block in _blocks(original, "control"):
        counts, components, probabilities = change(block)
        frame_ends = np.cumsum(block.lengths)[:-1]
        entry_ends = np.cumsum(counts, dtype=np.int64)[frame_ends - 1]
        yield from zip(np.split(counts, frame_ends), np.split(components, entry_ends), np.split(probabilities, entry_ends))


def _statistics(original: _Original) -> EntropyStatistics:
    """The entropies of all frames, of their entries as stored; the file's description has them from before they were rounded."""
    statistics = EntropyStatistics(original.labels.n_components)
    for block in _blocks(original, "entropy"):
        counts, _, probabilities = block.stored
        starts = _starts(counts)
        values = probabilities.astype(np.float64)
        sums = np.add.reduceat(values, starts)
        # H = log Σ v - Σ v log v / Σ v, for entries v that are not normalised.
        entropy = (np.log(sums) - np.add.reduceat(values * np.log(values), starts) / sums).clip(min=0)
        statistics.add(entropy, entropy)
    return statistics


def _starts(counts: np.ndarray) -> np.ndarray:
    """The place of the first entry of each frame."""
    wide = counts.astype(np.int64)
    return np.cumsum(wide) - wide


def _ranked(components: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """One integer per entry, ``(entries,)``, that is larger the more probable it is and the lower its number; and each frame's largest."""
    keys = (probabilities.astype(np.uint32) << np.uint32(16)) | (np.uint32(0xFFFF) - components.astype(np.uint32))
    return keys, np.maximum.reduceat(keys, _starts(counts))


def _component(keys: np.ndarray) -> np.ndarray:
    """The components of the integers of :func:`_ranked`."""
    return (np.uint32(0xFFFF) - (keys & np.uint32(0xFFFF))).astype(np.uint16)


def _certain(block: _Block) -> StoredTargets:
    counts, components, probabilities = block.stored
    _, largest = _ranked(components, probabilities, counts)
    return np.ones_like(counts), _component(largest), np.full(len(counts), PROBABILITY_UNIT, dtype=np.uint16)


def _shuffled(block: _Block, n_components: int, seed: int) -> StoredTargets:
    counts, components, probabilities = block.stored
    keys, largest = _ranked(components, probabilities, counts)
    frame = np.repeat(np.arange(len(counts)), counts)
    others = np.flatnonzero(keys != largest[frame])
    wanted = counts.astype(np.int64) - 1
    if len(others) != wanted.sum() or wanted.max(initial=0) >= n_components:
        last = block.first + len(block.lengths) - 1
        raise SoftHubertError(f"utterances {block.first} to {last} name a component twice in one frame; make the labels again")
    # One generator per utterance: its draws depend on nothing else, however utterances are put together.
    of_utterance = np.add.reduceat(wanted, np.cumsum(block.lengths) - block.lengths)
    uniform = [np.random.default_rng([seed, block.first + place]).random(int(size)) for place, size in enumerate(of_utterance)]
    drawn = draw_distinct(np.concatenate(uniform), wanted, n_components - 1)
    best = _component(largest)[frame[others]]
    changed = components.copy()
    changed[others] = drawn + (drawn >= best)  # numbers from the best component on move up by one: it is not drawn
    return counts, changed, probabilities


def draw_distinct(uniform: np.ndarray, wanted: np.ndarray, choices: int) -> np.ndarray:
    """Draw distinct numbers for many frames at once, by the first steps of Fisher and Yates's shuffle of ``0 … choices - 1``.

    Args:
        uniform: ``(Σ wanted,)`` random numbers in [0, 1), frame after frame; they decide what is drawn.
        wanted: ``(frames,)`` how many numbers each frame needs, at most ``choices``.
        choices: how many numbers there are.

    Returns:
        ``(Σ wanted,)`` uint16, frame after frame; the numbers of a frame differ, and each selection is equally probable.
    """
    drawn = np.empty(len(uniform), dtype=np.uint16)
    # Frames that want most come first, so that the frames of every step are the first ones.
    order = np.argsort(-wanted, kind="stable")
    starts, sizes = (np.cumsum(wanted) - wanted)[order], wanted[order]
    together = max(1, _TABLE_ENTRIES // max(choices, 1))
    table = np.tile(np.arange(choices, dtype=np.uint16), min(together, len(order)))  # a row of all numbers for each frame
    for begin in range(0, len(order), together):
        first, most = starts[begin : begin + together], sizes[begin : begin + together]
        rows = np.arange(len(first)) * choices
        touched = []
        for step in range(int(most[0])):
            active = int(np.searchsorted(-most, -step, side="left"))  # frames that want more than ``step`` numbers
            places = first[:active] + step
            picked = (uniform[places] * (choices - step)).astype(np.int64) + rows[:active] + step
            drawn[places] = table.take(picked)
            table[picked] = table.take(rows[:active] + step)
            touched.append(picked)
        for picked in touched:
            table[picked] = picked - rows[: len(picked)]
    return drawn
