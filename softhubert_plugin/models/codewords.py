"""Scores of all codewords for a frame: one product of normalised vectors.

fairseq's ``compute_nce`` expands the codewords for every frame, a codewords × frames × dimensions array; the result is the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def codeword_logits(projected: torch.Tensor, codewords: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cosine similarity of every frame to every codeword over the temperature (Hsu et al. 2021, equation 3).

    Computed in float32 whatever the model's precision: at temperature 0.1 logits reach ±10, where half precisions are coarse.

    Args:
        projected: ``(n, D)``.
        codewords: ``(K, D)``.

    Returns:
        ``(n, K)`` float32.
    """
    with torch.autocast(device_type=projected.device.type, enabled=False):
        frames = F.normalize(projected.float(), dim=-1)
        return frames @ (F.normalize(codewords.float(), dim=-1) / temperature).T
