"""Dropout whose random numbers do not cost more than the network they regularise.

On a CPU, PyTorch draws one number after another for each element, which in HuBERT Base takes as long as a layer's products. Here
four elements share one 64-bit draw from the same generator, so seeding and resuming work as before; elsewhere PyTorch's own is used.
"""

from __future__ import annotations

import math
from typing import Sequence

import torch
import torch.nn.functional as F

LEVELS = 1 << 16
LOWEST = -(1 << 63)


def dropout(x: torch.Tensor, probability: float, *, training: bool) -> torch.Tensor:
    """``x`` with elements set to zero and the others scaled up, each as often as ``probability`` says to within 1/131072."""
    if not training or probability <= 0 or probability >= 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, probability, training)
    return x * keep_mask(x.shape, probability).to(x.dtype).mul_(1 / kept_share(probability))


def keep_mask(shape: Sequence[int], probability: float) -> torch.Tensor:
    """Bool of that shape, true where an element stays, from PyTorch's CPU generator."""
    elements = math.prod(shape)
    drawn = torch.empty(-(-elements // 4), dtype=torch.int64).random_(LOWEST, None).view(torch.int16)[:elements]
    return (drawn >= _dropped_levels(probability) - LEVELS // 2).view(tuple(shape))


def kept_share(probability: float) -> float:
    """The share of elements that :func:`keep_mask` keeps: ``1 - probability``, rounded to a 16-bit number."""
    return 1 - _dropped_levels(probability) / LEVELS


def _dropped_levels(probability: float) -> int:
    return min(round(probability * LEVELS), LEVELS - 1)
