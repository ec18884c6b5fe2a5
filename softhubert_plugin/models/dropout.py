"""Dropout whose random numbers do not cost more than the network they regularise.

On a CPU, PyTorch draws one number per element, one after another. In HuBERT Base this takes as long as the matrix products of a layer.
Here four elements share one 64-bit draw from the same generator, so seeding and resuming work as before. Other devices use PyTorch's own
dropout.
"""

from __future__ import annotations

import math
from typing import Sequence

import torch
import torch.nn.functional as F

LEVELS = 1 << 16
LOWEST = -(1 << 63)


def dropout(x: torch.Tensor, probability: float, *, training: bool) -> torch.Tensor:
    """Set elements of ``x`` to zero at random and scale the others up.

    Args:
        x: any shape.
        probability: share of the elements to set to zero; on a CPU it is met to within 1/131072.
        training: ``False`` returns ``x`` as it is.
    """
    if not training or probability <= 0 or probability >= 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, probability, training)
    return x * keep_mask(x.shape, probability).to(x.dtype).mul_(1 / kept_share(probability))


def keep_mask(shape: Sequence[int], probability: float) -> torch.Tensor:
    """A bool tensor of ``shape``, true where an element is kept, drawn from PyTorch's CPU generator."""
    elements = math.prod(shape)
    drawn = torch.empty(-(-elements // 4), dtype=torch.int64).random_(LOWEST, None).view(torch.int16)[:elements]
    return (drawn >= _dropped_levels(probability) - LEVELS // 2).view(tuple(shape))


def kept_share(probability: float) -> float:
    """The share of elements that :func:`keep_mask` keeps: ``1 - probability``, rounded to a 16-bit number."""
    return 1 - _dropped_levels(probability) / LEVELS


def _dropped_levels(probability: float) -> int:
    return min(round(probability * LEVELS), LEVELS - 1)
