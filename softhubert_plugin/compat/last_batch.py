"""Keeps the last batch, which fairseq-fixed drops if its number of utterances is not a multiple of eight.

Otherwise a short validation set would be empty, and the same utterances would never be trained on.
"""

from __future__ import annotations

import functools
from typing import Any, List

import numpy as np


def keep_the_last_batch() -> None:
    """Make fairseq's batches hold every utterance, as those of stock fairseq already do."""
    from fairseq.data import data_utils

    batch_by_size = data_utils.batch_by_size
    if getattr(batch_by_size, "keeps_the_last_batch", False):
        return

    @functools.wraps(batch_by_size)
    def complete(indices: Any, *arguments: Any, **options: Any) -> List[Any]:
        indices = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices), dtype=np.int64)
        batches = list(batch_by_size(indices, *arguments, **options))
        held = sum(map(len, batches))
        # Batches keep the order of the indices, except with fixed shapes, which sort them again.
        if held < len(indices) and options.get("fixed_shapes") is None:
            batches.append(indices[held:])
        return batches

    complete.keeps_the_last_batch = True  # type: ignore[attr-defined]
    data_utils.batch_by_size = complete
