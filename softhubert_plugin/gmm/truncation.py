"""The few most probable components of each frame, which is all that labels keep, found by sorting integers.

How far a component lies under the frame's best, as a fixed-point number, and which component it is share one integer, so that sorting
the integers sorts the components. NumPy sorts integers with vector instructions: ten times faster than choosing among floats and
keeping their indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
import torch

from softhubert_plugin.labels.frames import FrameTargets

# A component so many nats under the best of its frame counts as nothing.
DEPTH = 32.0
# Fixed-point bits of a depth: steps of 2e-6 nats, all that single precision has; a few less where that lets 32-bit integers do.
DEPTH_BITS = 24
LEAST_DEPTH_BITS = 21


@dataclass(frozen=True)
class Largest:
    """The most probable components of some frames, the best first, and what the others amount to.

    Attributes:
        components: ``(n, S)`` int64 or int32 ids.
        depths: ``(n, S)`` float32, nats under the frame's best; ``DEPTH`` or more is as good as infinite.
        total: ``(n,)`` float32, ``Σ exp(-depth)`` over all components.
        entropy: ``(n,)`` float32, of the whole posterior in nats.
    """

    components: torch.Tensor
    depths: torch.Tensor
    total: torch.Tensor
    entropy: torch.Tensor


def largest(log_joint: torch.Tensor, temperature: float, count: int) -> Largest:
    """The ``count`` most probable components of each frame under tempered posteriors.

    Args:
        log_joint: ``(n, K)`` float32 unnormalised log posteriors at temperature 1, in nats, on any device; overwritten.
    """
    components = log_joint.shape[1]
    falls = log_joint.sub_(log_joint.amax(1, keepdim=True)).mul_(1 / temperature).clamp_(min=-DEPTH)
    shares = _exp(falls)
    total = shares.sum(1)
    # H = log Σ exp(-depth) + the mean depth.
    entropy = total.log() - shares.mul_(falls).sum(1) / total
    id_bits = (components - 1).bit_length()
    narrow = id_bits + LEAST_DEPTH_BITS <= 31
    depth_bits = min(DEPTH_BITS, 31 - id_bits) if narrow else DEPTH_BITS
    steps = (1 << depth_bits) - 1
    fixed = falls.mul_(-steps / DEPTH).to(torch.int32 if narrow else torch.int64)
    ids = torch.arange(components, dtype=fixed.dtype, device=fixed.device)
    keys = torch.add(ids, fixed, alpha=1 << id_bits, out=fixed)
    first = _smallest(keys, min(count, components))
    return Largest(
        components=first & ((1 << id_bits) - 1),
        depths=(first >> id_bits).to(torch.float32).div_(steps).mul_(DEPTH),
        total=total.cpu(),
        entropy=entropy.cpu(),
    )


def _exp(x: torch.Tensor) -> torch.Tensor:
    """``e^x``; on a CPU by NumPy, which takes half of PyTorch's time."""
    return torch.from_numpy(np.exp(x.numpy())) if x.device.type == "cpu" else x.exp()


def _smallest(keys: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` smallest entries of each row, rising; ``keys`` may be reordered."""
    if keys.device.type != "cpu":
        return keys.topk(count, largest=False).values.cpu()
    rows = keys.numpy()
    rows.sort(axis=1)
    return keys[:, :count]


def truncate(found: Largest, *, mass: float) -> Tuple[FrameTargets, torch.Tensor]:
    """Keep each frame's most probable components until they hold ``mass`` of the probability, and renormalise them.

    Args:
        mass: in (0, 1].

    Returns:
        The targets, each frame's in falling order, and ``(n,)`` their entropies in nats.
    """
    shares = _exp(-found.depths)
    # What comes before an entry, summed by a product with a triangle: several times faster than cumulative sums of short rows.
    before = shares @ torch.ones(shares.shape[1], shares.shape[1]).triu_(1)
    kept = (before < mass * found.total[:, None]).logical_and_(found.depths < DEPTH)
    shares.mul_(kept)
    held = shares.sum(1)
    entropy = held.log() + (shares * found.depths).sum(1).div_(held)
    shares.div_(held[:, None])
    chosen = kept.numpy()
    return FrameTargets(kept.sum(1).numpy(), found.components.numpy()[chosen], shares.numpy()[chosen]), entropy
