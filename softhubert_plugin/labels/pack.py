"""Pack a soft-label file: the same labels, rounded to steps, in far fewer bytes (:mod:`~softhubert_plugin.labels.soft_codec`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Iterator

import numpy as np
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.soft import SoftLabels, open_soft_labels
from softhubert_plugin.labels.soft_codec import MOST_STEPS, SteppedTargets, stepped
from softhubert_plugin.labels.soft_writing import write_packed_labels

STEP = 0.02
MOST_COMPONENTS = 4_096  # the table of neighbours has K² entries


def pack_labels(source: PathLike, dest: PathLike, *, step: float = STEP) -> str:
    """Write ``dest``, a packed copy of a plain ``source``, which is read twice. Readers accept both kinds.

    The description stays that of the source, perplexity and histogram included.

    Args:
        step: the square root of a probability is rounded to steps of this size. A smaller step takes more bytes and gives less divergence.

    Returns:
        A line on what was written.

    Raises:
        SoftHubertError: the source is packed already or damaged, the step is out of range, or there are too many components.
    """
    labels = open_soft_labels(source)
    if labels.info.step:
        raise SoftHubertError(f"{source}: packed already, in steps of {labels.info.step:g}; pack the labels it was made from")
    if not 1 / MOST_STEPS <= step <= 0.5:
        raise SoftHubertError(f"--step {step:g}: expected {1 / MOST_STEPS:.4f} to 0.5")
    if labels.n_components > MOST_COMPONENTS:
        raise SoftHubertError(
            f"{source}: {labels.n_components} components, but packing takes at most {MOST_COMPONENTS}; use the file as it is"
        )
    if Path(dest).resolve() == Path(source).resolve():
        raise SoftHubertError(f"{dest}: source and destination are one file; give another name")
    neighbours = neighbours_in(labels)
    write_packed_labels(dest, _stepped(labels, step), replace(labels.info, step=step), neighbours)
    packed = open_soft_labels(dest)
    return f"{dest}: {packed.bytes_per_frame:.2f} bytes per frame instead of {labels.bytes_per_frame:.2f}, √p in steps of {step:g}"


def neighbours_in(labels: SoftLabels) -> np.ndarray:
    """The neighbours of each component, nearest first.

    Returns:
        ``(K, K)`` uint16. Row ``k`` lists ``k`` itself, then all others by falling probability in the frames where ``k`` is the most
        probable component.
    """
    count = labels.n_components
    together = np.zeros(count * count, dtype=np.float64)
    for index in tqdm(range(len(labels)), desc=f"neighbours {labels.path.name}", unit="utt", disable=None):
        targets = labels.entries(index)
        keys = np.repeat(targets.most_probable(), targets.counts) * count + targets.components
        found, inverse = np.unique(keys, return_inverse=True)
        together[found] += np.bincount(inverse, weights=targets.probabilities)
    table = together.reshape(count, count)
    # Components that are never seen together come last, ordered by how often they occur at all.
    table += 1e-9 * table.sum(0) / max(table.sum(), 1)
    np.fill_diagonal(table, np.inf)
    return np.argsort(-table, axis=1, kind="stable").astype(np.uint16)


def _stepped(labels: SoftLabels, step: float) -> Iterator[SteppedTargets]:
    for index in tqdm(range(len(labels)), desc=f"packing {labels.path.name}", unit="utt", disable=None):
        yield stepped(labels.entries(index), step)
