"""Which utterances are computed together: those of similar length, so that little is padded."""

from __future__ import annotations

from typing import Iterator, List, Sequence

import numpy as np


def batches_by_length(lengths: Sequence[int], budget: float) -> Iterator[List[int]]:
    """Positions of items, the longest first, as many together as fit into a budget with their padding, at least one.

    Args:
        lengths: of each item, in any unit; of two equal ones the first comes first.
        budget: number of items times length of the longest, in that unit.
    """
    batch: List[int] = []
    for position in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
