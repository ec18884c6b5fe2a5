"""Truncate posteriors to what labels keep: the most probable components, up to a probability mass and a maximum number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.targets import FrameTargets

if TYPE_CHECKING:  # commands that only copy labels take their limits from here, and need no PyTorch
    import torch

MAX_COMPONENTS = 255  # entries per frame: their count is stored as one byte
# A component that is this many nats below the best of its frame counts as having probability zero.
DEPTH = 32.0


def check_truncation(mass: float, max_components: int) -> None:
    """Check that a truncation keeps something, and no more entries per frame than their count can express.

    Raises:
        SoftHubertError: ``mass`` or ``max_components`` is out of range.
    """
    if not 0 < mass <= 1:
        raise SoftHubertError(f"mass {mass}: expected a share of the probability in (0, 1]")
    if not 1 <= max_components <= MAX_COMPONENTS:
        raise SoftHubertError(f"max-components {max_components}: expected 1 to {MAX_COMPONENTS}")


@dataclass(frozen=True)
class Largest:
    """The most probable components of some frames, the best first, and two values of each frame's whole posterior.

    Attributes:
        components: ``(n, S)`` int64 or int32 ids.
        depths: ``(n, S)`` float32, nats below the frame's best component; ``DEPTH`` or more counts as infinite.
        total: ``(n,)`` float32, ``Σ exp(-depth)`` over all components.
        entropy: ``(n,)`` float32, entropy of the whole posterior in nats.
    """

    components: torch.Tensor
    depths: torch.Tensor
    total: torch.Tensor
    entropy: torch.Tensor


def exponential(x: torch.Tensor) -> torch.Tensor:
    """``e^x``; on a CPU through NumPy, which takes half of PyTorch's time."""
    import torch

    return torch.from_numpy(np.exp(x.numpy())) if x.device.type == "cpu" else x.exp()


def truncate(found: Largest, *, mass: float) -> Tuple[FrameTargets, torch.Tensor]:
    """Keep each frame's most probable components until they hold ``mass`` of the probability, and renormalise them.

    Args:
        found: the most probable components, on the CPU.
        mass: the probability mass to keep, in (0, 1].

    Returns:
        The targets, each frame's entries by falling probability, and their entropies ``(n,)`` in nats.
    """
    import torch

    shares = exponential(-found.depths)
    # The sum of the shares before each entry, by a product with a triangular matrix: several times faster than cumsum on short rows.
    before = shares @ torch.ones(shares.shape[1], shares.shape[1]).triu_(1)
    kept = (before < mass * found.total[:, None]).logical_and_(found.depths < DEPTH)
    shares.mul_(kept)
    held = shares.sum(1)
    entropy = held.log() + (shares * found.depths).sum(1).div_(held)
    shares.div_(held[:, None])
    chosen = kept.numpy()
    return FrameTargets(kept.sum(1).numpy(), found.components.numpy()[chosen], shares.numpy()[chosen]), entropy
