"""Attention with dropout on a CPU, for one head of one utterance at a time, so that scratch memory does not grow with the number of heads.

PyTorch's fused attention has no dropout on a CPU. It falls back to several arrays of batch × heads × frames × frames per layer. Here the
weights of a head are in one scratch array that stays in cache, and the backward pass recomputes them from their normaliser, as in
FlashAttention (Dao et al. 2022, arXiv 2205.14135). The only array of the large size is the dropout mask, with one byte per weight.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F

from softhubert_plugin.models.dropout import keep_mask, kept_share
from softhubert_plugin.models.products import product


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: Optional[torch.Tensor], dropout: float) -> torch.Tensor:
    """Compute ``dropout(softmax(q kᵀ / √d)) v``, as PyTorch's ``scaled_dot_product_attention`` does.

    Args:
        q, k, v: ``(B, H, T, d)`` queries, keys and values.
        keep: ``(B, 1, 1, T)`` bool, true where a frame may be attended to; ``None`` if every frame may.
        dropout: probability that an attention weight is set to zero.

    Returns:
        ``(B, H, T, d)``.
    """
    if q.device.type != "cpu" or not 0 < dropout < 1 or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep, dropout_p=dropout)
    return _Attention.apply(q, k, v, keep, dropout)  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: Optional[torch.Tensor], dropout: float) -> torch.Tensor:
        share, scale = kept_share(dropout), q.shape[-1] ** -0.5
        stays = keep_mask((*q.shape[:3], k.shape[2]), dropout)
        out = torch.empty_like(q)
        log_totals = torch.empty(*q.shape[:3], 1)
        mask = _scratch(q, k)
        with torch.autocast("cpu", enabled=False):
            for head in _heads(q):
                scores = _scores(q[head], k[head], scale, _bias(keep, head))
                highest = scores.amax(1, keepdim=True)
                total = scores.sub_(highest).exp_().sum(1, keepdim=True)
                log_totals[head] = total.log() + highest
                scores.mul_(mask.copy_(stays[head]))
                out[head] = product(scores.to(v.dtype), v[head]).div_(total.mul_(share))
        ctx.save_for_backward(q, k, v, keep, out, log_totals, stays)
        ctx.share, ctx.scale = share, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        q, k, v, keep, out, log_totals, stays = ctx.saved_tensors
        (gradient,) = gradients
        # Σ_j weight_j · ∂/∂weight_j: the term of the softmax's derivative that is the same for all entries of a row.
        shared = (gradient.float() * out.float()).sum(-1, keepdim=True)
        dq, dk, dv = (torch.empty_like(tensor) for tensor in (q, k, v))
        mask = _scratch(q, k)
        with torch.autocast("cpu", enabled=False):
            for head in _heads(q):
                weights = _scores(q[head], k[head], ctx.scale, _bias(keep, head)).sub_(log_totals[head]).exp_()
                mask.copy_(stays[head]).div_(ctx.share)
                change = product(gradient[head], v[head].T).float()
                change.mul_(mask).sub_(shared[head]).mul_(weights).mul_(ctx.scale)
                narrow = change.to(q.dtype)
                dq[head], dk[head] = product(narrow, k[head]), product(narrow.T, q[head])
                dv[head] = product(weights.mul_(mask).to(v.dtype).T, gradient[head])
        return dq, dk, dv, None, None


def _heads(q: torch.Tensor) -> Any:
    return ((utterance, head) for utterance in range(q.shape[0]) for head in range(q.shape[1]))


def _scratch(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.empty(q.shape[2], k.shape[2])


def _bias(keep: Optional[torch.Tensor], head: Tuple[int, int]) -> Optional[torch.Tensor]:
    return None if keep is None else ~keep[head[0], 0]


def _scores(q: torch.Tensor, k: torch.Tensor, scale: float, hidden: Optional[torch.Tensor]) -> torch.Tensor:
    """Scores of a head in float32, whatever the precision of its queries and keys."""
    scores = product(q * scale, k.T).float()
    return scores if hidden is None else scores.masked_fill_(hidden, -torch.inf)
