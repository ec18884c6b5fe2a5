"""Selects the scored frames' targets of a batch on the CPU.

The prediction head then works on the scored frames only, and never synchronises with the GPU to find them.
"""

from __future__ import annotations

from typing import Dict, List

import numpy as np
import torch

from softhubert_plugin.labels.targets import FrameTargets

Selected = Dict[str, torch.Tensor]


def select_targets(targets: List[FrameTargets], chosen: np.ndarray, uniform: float = 0.0, n_components: int = 0) -> Selected:
    """Collect the targets of the chosen frames.

    Args:
        targets: targets of each utterance, at the model's frame rate.
        chosen: ``(utterances, frames)`` bool; a chosen frame beyond an utterance's last target is left out.
        uniform: the share of the probability that is spread evenly over all ``n_components`` components.

    Returns:
        ``frames (n,)`` int64, positions among the batch's ``utterances × frames`` frames; ``components (n, entries)`` int64; and
        ``probabilities (n, entries)`` float32, zero where a frame has fewer entries.
    """
    width = chosen.shape[1]
    frames, parts = [], []
    for row, target in enumerate(targets):
        taken = np.flatnonzero(chosen[row, : len(target)])
        frames.append(row * width + taken)
        parts.append(target.taken(taken))
    together = FrameTargets(
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.components for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    ).spread(uniform, n_components)
    components, probabilities = together.padded(len(together), max(int(together.counts.max(initial=0)), 1))
    return {
        "frames": torch.from_numpy(np.concatenate(frames)),
        "components": torch.from_numpy(components),
        "probabilities": torch.from_numpy(probabilities),
    }
