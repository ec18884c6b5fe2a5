"""Attention on a CPU for one head of one utterance at a time, so that scratch memory does not grow with the number of heads.

PyTorch's fused attention has no dropout on a CPU. It falls back to several arrays of batch × heads × frames × frames per layer. Here the
weights of a head are in one scratch array that stays in cache, and the backward pass computes them again, as in FlashAttention (Dao et al.
2022, arXiv 2205.14135). The only array of the large size is the dropout mask, with one byte per weight.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F

from softhubert_plugin.models.dropout import keep_mask, kept_share
from softhubert_plugin.models.products import by_onednn, product

# Without dropout, PyTorch's attention multiplies with MKL; from this number of frames on, ours is faster where oneDNN is faster than MKL.
LONG = 512


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: Optional[torch.Tensor], dropout: float) -> torch.Tensor:
    """Compute ``dropout(softmax(q kᵀ / √d)) v``, as PyTorch's ``scaled_dot_product_attention`` does.

    Args:
        q, k, v: ``(B, H, T, d)`` queries, keys and values.
        keep: ``(B, 1, 1, T)`` bool, true where a frame may be attended to; ``None`` if every frame may.
        dropout: probability that an attention weight is set to zero.

    Returns:
        ``(B, H, T, d)``.
    """
    ours = 0 < dropout < 1 or (dropout == 0 and q.shape[2] >= LONG and by_onednn(q, k))
    if q.device.type != "cpu" or not ours or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep, dropout_p=dropout)
    return _Attention.apply(q, k, v, keep, dropout)  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: Optional[torch.Tensor], dropout: float) -> torch.Tensor:
        stays = keep_mask((*q.shape[:3], k.shape[2]), dropout) if dropout > 0 else None
        ctx.share, ctx.scale = kept_share(dropout) if dropout > 0 else 1.0, q.shape[-1] ** -0.5
        # The layout in which the heads of a frame lie side by side, as the layer after attention takes them.
        out, mask = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2), _scratch(q, k)
        with torch.autocast("cpu", enabled=False):
            for head in _heads(q):
                weights = _weights(q[head] * ctx.scale, k[head], _bias(keep, head))
                if stays is not None:
                    weights.mul_(mask.copy_(stays[head]))
                out[head] = product(weights.to(v.dtype), v[head])
        if stays is not None:
            out.div_(ctx.share)
        ctx.save_for_backward(q, k, v, keep, out, stays)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        q, k, v, keep, out, stays = ctx.saved_tensors
        # -Σ_j weight_j · ∂/∂weight_j: the term of the softmax's derivative that is the same for all entries of a row.
        shared = (gradient.float() * out.float()).sum(-1, keepdim=True).neg_()
        gradient = gradient / ctx.share
        dq, dk, dv = (torch.empty_like(tensor) for tensor in (q, k, v))
        mask = _scratch(q, k)
        with torch.autocast("cpu", enabled=False):
            for head in _heads(q):
                weights = _weights(q[head] * ctx.scale, k[head], _bias(keep, head))
                change = product(gradient[head], v[head].T).float()
                if stays is None:
                    change.add_(shared[head]).mul_(weights)
                else:
                    mask.copy_(stays[head])
                    torch.addcmul(shared[head], change, mask, out=change).mul_(weights)
                    weights.mul_(mask)
                narrow = change.to(q.dtype)
                # Products with the long side last: what is transposed is the short factor.
                dq[head], dk[head].T[:] = product(narrow, k[head]), product(q[head].T, narrow)
                dv[head].T[:] = product(gradient[head].T, weights.to(v.dtype))
        return dq.mul_(ctx.scale), dk.mul_(ctx.scale), dv, None, None


def _heads(q: torch.Tensor) -> Any:
    return ((utterance, head) for utterance in range(q.shape[0]) for head in range(q.shape[1]))


def _scratch(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.empty(q.shape[2], k.shape[2])


def _bias(keep: Optional[torch.Tensor], head: Tuple[int, int]) -> Optional[torch.Tensor]:
    return None if keep is None else ~keep[head[0], 0]


def _weights(q: torch.Tensor, k: torch.Tensor, hidden: Optional[torch.Tensor]) -> torch.Tensor:
    """Attention weights of a head in float32, whatever the precision of its queries and keys."""
    scores = product(q, k.T).float()
    return torch.softmax(scores if hidden is None else scores.masked_fill_(hidden, -torch.inf), 1)
