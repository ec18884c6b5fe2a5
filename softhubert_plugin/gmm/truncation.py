"""The few most probable components of each frame, which is all that labels keep, found by sorting integers.

How far a component lies under the frame's best, as a fixed-point number, and which component it is share one integer, so that sorting
the integers sorts the components. NumPy sorts integers with vector instructions: ten times faster than choosing among floats and
keeping their indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy as np
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.frames import FrameTargets

# A component so many nats under the best of its frame counts as nothing: labels store probabilities in steps a hundred times larger.
DEPTH = 16.0
# Fixed-point bits of a depth: steps of 1e-6 nats, all that single precision has; fewer where that lets 32-bit integers do.
DEPTH_BITS = 24
LEAST_DEPTH_BITS = 21


@dataclass(frozen=True)
class Largest:
    """The most probable components of some frames, the best first, and what the others amount to.

    Attributes:
        components: ``(n, S)`` ids.
        depths: ``(n, S)`` float32, nats under the frame's best; ``DEPTH`` or more is as good as infinite.
        total: ``(n,)`` float32, ``Σ exp(-depth)`` over all components.
        entropy: ``(n,)`` float32, of the whole posterior in nats.
    """

    components: np.ndarray
    depths: np.ndarray
    total: np.ndarray
    entropy: np.ndarray


def largest(log_joint: torch.Tensor, temperature: float, count: int) -> Largest:
    """The ``count`` most probable components of each frame under tempered posteriors.

    Args:
        log_joint: ``(n, K)`` float32 unnormalised log posteriors at temperature 1, in nats, on any device.
    """
    components = log_joint.shape[1]
    # Capped where a share is nothing anyway: nothing times infinity would not be.
    depths = (log_joint.amax(1, keepdim=True) - log_joint).mul_(1 / temperature).clamp_(max=1e4)
    shares = torch.exp(-depths)
    total = shares.sum(1)
    # H = log Σ exp(-depth) + the mean depth.
    entropy = total.log() + shares.mul_(depths).sum(1) / total
    id_bits = (components - 1).bit_length()
    narrow = id_bits + LEAST_DEPTH_BITS <= 31
    depth_bits = min(DEPTH_BITS, 31 - id_bits) if narrow else DEPTH_BITS
    steps = (1 << depth_bits) - 1
    fixed = depths.mul_(steps / DEPTH).clamp_(max=steps).to(torch.int32 if narrow else torch.int64)
    keys = fixed.bitwise_left_shift_(id_bits).bitwise_or_(torch.arange(components, dtype=fixed.dtype, device=fixed.device))
    first = _smallest(keys, min(count, components))
    return Largest(
        components=first & ((1 << id_bits) - 1),
        depths=(first >> id_bits).astype(np.float32) * np.float32(DEPTH / steps),
        total=total.cpu().numpy(),
        entropy=entropy.cpu().numpy(),
    )


def _smallest(keys: torch.Tensor, count: int) -> np.ndarray:
    """The ``count`` smallest entries of each row, rising; ``keys`` may be reordered."""
    if keys.device.type != "cpu":
        return keys.topk(count, largest=False).values.cpu().numpy()
    rows = keys.numpy()
    rows.partition(count - 1, axis=1)
    return np.sort(rows[:, :count], axis=1)


def truncate(parts: Sequence[Largest], *, mass: float) -> Tuple[FrameTargets, np.ndarray]:
    """Keep each frame's most probable components until they hold ``mass`` of the probability, and renormalise them.

    Args:
        parts: frames, one part after the other.
        mass: in (0, 1].

    Returns:
        The targets, each frame's in falling order, and ``(n,)`` their entropies in nats.
    """
    components, depths = (np.concatenate([getattr(part, name) for part in parts]) for name in ("components", "depths"))
    total = np.concatenate([part.total for part in parts])
    shares = np.exp(-depths)
    # What comes before an entry, summed by a product with a triangle: several times faster than a cumulative sum of short rows.
    before = shares @ np.triu(np.ones((shares.shape[1],) * 2, dtype=np.float32), 1)
    kept = (before < mass * total[:, None]) & (depths < DEPTH)
    shares *= kept
    held = shares.sum(1)
    entropy = np.log(held) + np.einsum("ns,ns->n", shares, depths) / held
    shares /= held[:, None]
    return FrameTargets(kept.sum(1), components[kept], shares[kept]), entropy


def check_truncation(mass: float, max_components: int) -> None:
    """Refuse what cannot be stored.

    Raises:
        SoftHubertError: ``mass`` or ``max_components`` is out of range.
    """
    if not 0 < mass <= 1:
        raise SoftHubertError(f"mass {mass}: expected a share of the probability in (0, 1]")
    if not 1 <= max_components <= 255:
        raise SoftHubertError(f"max-components {max_components}: expected 1 to 255")
