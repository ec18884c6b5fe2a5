"""Masks that the model draws itself, as fairseq's HuBERT does: those of fine-tuning, whose dataset knows nothing of masks.

Order and generator are those of stock fairseq's ``compute_mask_indices``: NumPy's global generator, which the trainer seeds. So with the
same seed, the same frames are hidden. fairseq-fixed draws from a generator that cannot be seeded; here it is the same generator for both.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import numpy as np
import torch

from softhubert_plugin.models.spans import count_spans, place_spans


def frame_masks(model: Any, rows: int, width: int, padded: Optional[torch.Tensor]) -> Optional[np.ndarray]:
    """Draw which frames the mask embedding replaces.

    Args:
        model: a HuBERT of fairseq, whose settings decide how spans are drawn.
        rows: number of utterances.
        width: number of frames of the longest of them.
        padded: ``(rows, width)`` bool, true where a frame is padded; ``None`` if none is.

    Returns:
        ``(rows, width)`` bool, with as many hidden frames in each row; ``None`` if the model masks no frames.
    """
    if model.mask_prob <= 0:
        return None
    lengths = None if padded is None else (width - padded.sum(1)).tolist()
    return _draw(
        rows,
        width,
        lengths,
        prob=model.mask_prob,
        at_least=2,
        length=model.mask_length,
        selection=str(model.mask_selection),
        other=model.mask_other,
        no_overlap=model.no_mask_overlap,
        min_space=model.mask_min_space,
    )


def channel_masks(model: Any, rows: int, channels: int) -> Optional[np.ndarray]:
    """Draw which channels are set to zero: ``(rows, channels)`` bool, or ``None`` if the model masks no channels."""
    if model.mask_channel_prob <= 0:
        return None
    return _draw(
        rows,
        channels,
        None,
        prob=model.mask_channel_prob,
        at_least=0,
        length=model.mask_channel_length,
        selection=str(model.mask_channel_selection),
        other=model.mask_channel_other,
        no_overlap=model.no_mask_channel_overlap,
        min_space=model.mask_channel_min_space,
    )


def _draw(
    rows: int, width: int, lengths: Optional[Sequence[int]], *, prob: float, at_least: int, length: int, **placing: Any
) -> np.ndarray:
    rng = np.random.mtrand._rand  # what np.random.rand() and its like draw from
    shared = count_spans(width, rng, prob=prob, length=length, at_least=at_least)
    hidden: List[np.ndarray] = []
    for frames in [width] * rows if lengths is None else lengths:
        count = shared if lengths is None else count_spans(frames, rng, prob=prob, length=length, at_least=at_least)
        hidden.append(place_spans(frames, count, rng, length=length, **placing))
    fewest = min(map(len, hidden))
    masks = np.zeros((rows, width), dtype=bool)
    for row, chosen in zip(masks, hidden):
        row[rng.choice(chosen, fewest, replace=False) if len(chosen) > fewest else chosen] = True
    return masks
