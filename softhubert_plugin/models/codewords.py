"""Scores of all codewords for each frame, as one matrix product of normalised vectors.

fairseq's ``compute_nce`` gives the same result, but expands the codewords for every frame: an array of codewords × frames × dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def codeword_logits(projected: torch.Tensor, codewords: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cosine similarity of every frame to every codeword, divided by the temperature (Hsu et al. 2021, equation 3).

    The result is computed in float32 whatever the model's precision: at temperature 0.1 logits reach ±10, where half precision is coarse.

    Args:
        projected: ``(n, D)`` projected encoder outputs.
        codewords: ``(K, D)`` codeword embeddings.
        temperature: divisor of the similarities, above 0.

    Returns:
        ``(n, K)`` float32 logits.
    """
    with torch.autocast(device_type=projected.device.type, enabled=False):
        frames = F.normalize(projected.float(), dim=-1)
        return frames @ (F.normalize(codewords.float(), dim=-1) / temperature).T
