"""The second half of a transformer layer's feed-forward part, with less memory: activation, dropout and the second linear layer.

PyTorch keeps the activation's input, its dropped output and the dropout mask as float32. Here the backward pass makes the activation's
output again from its input, and the mask has one byte per value: half the memory of the widest arrays of a layer.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

import torch

from softhubert_plugin.models.dropout import dropout, keep_mask, kept_share
from softhubert_plugin.models.products import affine, affine_gradients, linear


def activate_and_project(
    hidden: torch.Tensor,
    activation: Callable[[torch.Tensor], torch.Tensor],
    probability: float,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    frugal: bool = True,
) -> torch.Tensor:
    """Compute ``dropout(activation(hidden)) weightᵀ + bias``.

    Args:
        hidden: ``(…, F)`` outputs of the first linear layer.
        activation: works element by element.
        probability: share of the activations to set to zero; 0 drops none.
        weight: ``(D, F)``.
        bias: ``(D,)``.
        frugal: save memory; a GPU, autocast and a compiler go their own way.

    Returns:
        ``(…, D)``.
    """
    plain = not frugal or weight.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    if plain or not (torch.is_grad_enabled() and hidden.requires_grad) or probability >= 1:
        return linear(dropout(activation(hidden), probability, training=True), weight, bias)
    projected: torch.Tensor = _ActivateAndProject.apply(hidden, activation, probability, weight, bias)  # type: ignore[no-untyped-call]
    return projected


class _ActivateAndProject(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, activation: Any, probability: float, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        stays = keep_mask(hidden.shape, probability) if probability > 0 else None
        ctx.activation, ctx.probability = activation, probability
        ctx.save_for_backward(hidden, weight, stays)
        return affine(_drop(activation(hidden), stays, probability), weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        hidden, weight, stays = ctx.saved_tensors
        with torch.enable_grad():
            again = hidden.detach().requires_grad_()
            activated = ctx.activation(again)
        dropped = _drop(activated.detach(), stays, ctx.probability)
        of_dropped, of_weight, of_bias = affine_gradients(gradient, dropped, weight, (ctx.needs_input_grad[0], *ctx.needs_input_grad[3:]))
        del dropped
        of_hidden = None
        if of_dropped is not None:
            (of_hidden,) = torch.autograd.grad(activated, again, _drop(of_dropped, stays, ctx.probability))
        return of_hidden, None, None, of_weight, of_bias


def _drop(x: torch.Tensor, stays: Optional[torch.Tensor], probability: float) -> torch.Tensor:
    return x if stays is None else x * stays.to(x.dtype).mul_(1 / kept_share(probability))
