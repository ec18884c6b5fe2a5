"""Group utterances of similar length into batches, so that padding is small."""

from __future__ import annotations

from typing import Iterator, List, Sequence

import numpy as np


def batches_by_length(lengths: Sequence[int], budget: float) -> Iterator[List[int]]:
    """Group items into batches, the longest items first. A batch with its padding fits into a budget, or has one item only.

    Args:
        lengths: length of each item, in any unit. Items of equal length stay in order.
        budget: maximum of the number of items times the length of the longest, in the same unit.

    Yields:
        The positions of a batch's items in ``lengths``.
    """
    batch: List[int] = []
    for position in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
