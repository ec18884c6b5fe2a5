"""The last batch, which fairseq-fixed drops where its utterances are no multiple of eight: a short validation set would be empty, and
the same utterances would never be trained on.
"""

from __future__ import annotations

import functools
from typing import Any, List

import numpy as np


def keep_the_last_batch() -> None:
    """Have fairseq's batches hold every utterance; stock fairseq's do already."""
    from fairseq.data import data_utils

    batch_by_size = data_utils.batch_by_size
    if getattr(batch_by_size, "keeps_the_last_batch", False):
        return

    @functools.wraps(batch_by_size)
    def complete(indices: Any, *arguments: Any, **options: Any) -> List[Any]:
        indices = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices), dtype=np.int64)
        batches = list(batch_by_size(indices, *arguments, **options))
        held = sum(map(len, batches))
        # Batches hold the indices in their order; with fixed shapes they are sorted anew.
        if held < len(indices) and options.get("fixed_shapes") is None:
            batches.append(indices[held:])
        return batches

    complete.keeps_the_last_batch = True  # type: ignore[attr-defined]
    data_utils.batch_by_size = complete
