"""How much of a posterior labels keep: its most probable components, up to a share of the probability and a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.targets import FrameTargets

MAX_COMPONENTS = 255  # entries of a frame: its count is a byte
# A component so many nats under the best of its frame counts as nothing.
DEPTH = 32.0


def check_truncation(mass: float, max_components: int) -> None:
    """Refuse truncations that keep nothing, or more entries of a frame than its count can tell.

    Raises:
        SoftHubertError: ``mass`` or ``max_components`` is out of range.
    """
    if not 0 < mass <= 1:
        raise SoftHubertError(f"mass {mass}: expected a share of the probability in (0, 1]")
    if not 1 <= max_components <= MAX_COMPONENTS:
        raise SoftHubertError(f"max-components {max_components}: expected 1 to {MAX_COMPONENTS}")


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


def exponential(x: torch.Tensor) -> torch.Tensor:
    """``e^x``; on a CPU by NumPy, which takes half of PyTorch's time."""
    return torch.from_numpy(np.exp(x.numpy())) if x.device.type == "cpu" else x.exp()


def truncate(found: Largest, *, mass: float) -> Tuple[FrameTargets, torch.Tensor]:
    """Keep each frame's most probable components until they hold ``mass`` of the probability, and renormalise them.

    Args:
        mass: in (0, 1].

    Returns:
        The targets, each frame's in falling order, and ``(n,)`` their entropies in nats.
    """
    shares = exponential(-found.depths)
    # What comes before an entry, summed by a product with a triangle: several times faster than cumulative sums of short rows.
    before = shares @ torch.ones(shares.shape[1], shares.shape[1]).triu_(1)
    kept = (before < mass * found.total[:, None]).logical_and_(found.depths < DEPTH)
    shares.mul_(kept)
    held = shares.sum(1)
    entropy = held.log() + (shares * found.depths).sum(1).div_(held)
    shares.div_(held[:, None])
    chosen = kept.numpy()
    return FrameTargets(kept.sum(1).numpy(), found.components.numpy()[chosen], shares.numpy()[chosen]), entropy
