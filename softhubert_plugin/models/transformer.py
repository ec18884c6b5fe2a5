"""fairseq's transformer encoder, run layer by layer with fused attention: the same parameters, the same outputs, less work.

Attention is PyTorch's ``scaled_dot_product_attention`` (on a CPU with dropout, :mod:`~softhubert_plugin.models.attention`). If nothing is
padded it gets no mask, so that PyTorch can use its fastest kernels. Nothing is transposed to time-first and back. A frozen prefix of the
layers runs without gradients. Pretraining, fine-tuning and ``extract_features`` all take this walk.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from softhubert_plugin.features.layers import are_transformer_layers
from softhubert_plugin.models.attention import attend
from softhubert_plugin.models.dropout import dropout
from softhubert_plugin.models.feed_forward import activate_and_project
from softhubert_plugin.models.kernels import right_kernels
from softhubert_plugin.models.products import linear


def enter(encoder: Any, x: torch.Tensor, padded: Optional[torch.Tensor], *, training: bool) -> torch.Tensor:
    """What the first layer sees: zeros where padded, positions added, in post-norm encoders a norm, and dropout.

    Args:
        encoder: fairseq's ``TransformerEncoder``.
        x: ``(B, T, D)``.
        padded: ``(B, T)`` bool, true where a frame is padded; ``None`` if none is.
        training: whether to drop values.

    Returns:
        ``(B, T, D)``.
    """
    if padded is not None:
        x = x.masked_fill(padded[..., None], 0)
    with right_kernels(encoder.pos_conv, x):
        x = x + encoder.pos_conv(x.transpose(1, 2)).transpose(1, 2)
    x = x if encoder.layer_norm_first else encoder.layer_norm(x)
    return dropout(x, encoder.dropout, training=training)


def walk_layer(layer: Any, x: torch.Tensor, keep: Optional[torch.Tensor], frugal: bool = True) -> torch.Tensor:
    """Output of one ``TransformerSentenceEncoderLayer``.

    Args:
        layer: fairseq's layer.
        x: ``(B, T, D)``.
        keep: ``(B, 1, 1, T)`` bool, true where a frame may be attended to; ``None`` if every frame may.
        frugal: keep less for the backward pass; of no use if the layer is run again for it.

    Returns:
        ``(B, T, D)``.
    """
    if layer.layer_norm_first:
        x = x + _dropped(layer.dropout1, _attention(layer.self_attn, layer.self_attn_layer_norm(x), keep))
        return x + _dropped(layer.dropout3, _feed_forward(layer, layer.final_layer_norm(x), frugal))
    x = layer.self_attn_layer_norm(x + _dropped(layer.dropout1, _attention(layer.self_attn, x, keep)))
    return layer.final_layer_norm(x + _dropped(layer.dropout3, _feed_forward(layer, x, frugal)))


def drop_in_each_process(layers: int, probability: float) -> Sequence[bool]:
    """Draw the layers that this process drops.

    torch's generator, which fairseq seeds with the same number in every process at every update, draws for all processes, and each takes
    its own row. So processes drop different layers, and a resumed run drops the same ones.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    processes, rank = (torch.distributed.get_world_size(), torch.distributed.get_rank()) if distributed else (1, 0)
    drawn: List[bool] = (torch.rand(processes, layers)[rank] < probability).tolist()
    return drawn


def drop_as_fairseq(layers: int, probability: float) -> Sequence[bool]:
    """Draw the layers to drop from the generator, and with the numbers, that fairseq's encoder takes."""
    return [np.random.random() <= probability for _ in range(layers)]


def encode(
    encoder: Any,
    x: torch.Tensor,
    padded: Optional[torch.Tensor],
    *,
    output_layer: Optional[int] = None,
    frozen_layers: int = 0,
    checkpoint_activations: bool = False,
    drop_layers: Callable[[int, float], Sequence[bool]] = drop_in_each_process,
    enter: Callable[..., torch.Tensor] = enter,
    walk_layer: Callable[..., torch.Tensor] = walk_layer,
) -> torch.Tensor:
    """Output of ``encoder(x, padding_mask=padded)``.

    Layers that cannot be walked are left to fairseq: other layers than transformer layers, such as conformer blocks, and layers with
    hooks, which expect fairseq's calls.

    Args:
        encoder: fairseq's ``TransformerEncoder``.
        x: ``(B, T, D)``.
        padded: ``(B, T)`` bool, true where a frame is padded; ``None`` if none is.
        output_layer: stop after this layer, counted from 1, and leave out the final norm of pre-norm encoders; ``None`` runs all.
        frozen_layers: the first N layers, and everything before them, take no gradient.
        checkpoint_activations: recompute a layer's activations in the backward pass instead of keeping them.
        drop_layers: gives the layers to drop in training, from their number and the probability.
        enter, walk_layer: :func:`enter` and :func:`walk_layer`, compiled or not.

    Returns:
        ``(B, T, D)``.
    """
    if not are_transformer_layers(encoder.layers) or _has_hooks(encoder):
        walked: torch.Tensor = encoder(x, padding_mask=padded, layer=None if output_layer is None else output_layer - 1)[0]
        return walked
    with torch.set_grad_enabled(torch.is_grad_enabled() and frozen_layers == 0):
        x = enter(encoder, x, padded, training=encoder.training and frozen_layers == 0)
    keep = None if padded is None else ~padded[:, None, None, :]
    # As in fairseq, a layer that the model does not have means the last one.
    layers = encoder.layers[:output_layer] if output_layer is not None and output_layer > 0 else encoder.layers
    dropped = drop_layers(len(layers), encoder.layerdrop) if encoder.training and encoder.layerdrop > 0 else None
    for number, layer in enumerate(layers):
        frozen = number < frozen_layers
        if dropped is not None and dropped[number] and not frozen:
            continue
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            if checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(walk_layer, layer, x, keep, False, use_reentrant=False)
            else:
                x = walk_layer(layer, x, keep)
    return encoder.layer_norm(x) if encoder.layer_norm_first and output_layer is None else x


def _has_hooks(encoder: Any) -> bool:
    """Whether the encoder or a part of its layers has forward hooks."""
    modules = (encoder, *(module for layer in encoder.layers for module in layer.modules()))
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


@torch.no_grad()
def layer_outputs(encoder: Any, x: torch.Tensor, padded: Optional[torch.Tensor], layers: Sequence[int]) -> List[torch.Tensor]:
    """Outputs of several layers from one pass without gradients and without dropout; the pass stops at the deepest of them.

    Args:
        encoder, x, padded: as for :func:`encode`.
        layers: layer numbers from 1, as in ``extract_features(output_layer=…)``: the output after the layer's residual and norm.

    Returns:
        ``(B, T, D)`` for each of ``layers``.
    """
    x = enter(encoder, x, padded, training=False)
    keep = None if padded is None else ~padded[:, None, None, :]
    outputs = {}
    for number, layer in enumerate(encoder.layers[: max(layers)], start=1):
        x = walk_layer(layer, x, keep)
        if number in layers:
            outputs[number] = x
    return [outputs[number] for number in layers]


def _dropped(module: Any, x: torch.Tensor) -> torch.Tensor:
    return dropout(x, module.p, training=module.training)


def _feed_forward(layer: Any, x: torch.Tensor, frugal: bool) -> torch.Tensor:
    hidden = linear(x, layer.fc1.weight, layer.fc1.bias)
    probability = layer.dropout2.p if layer.dropout2.training else 0.0
    return activate_and_project(hidden, layer.activation_fn, probability, layer.fc2.weight, layer.fc2.bias, frugal=frugal)


def _attention(attention: Any, x: torch.Tensor, keep: Optional[torch.Tensor]) -> torch.Tensor:
    """Self-attention of fairseq's ``MultiheadAttention``; ``keep`` (true: may be attended to) broadcasts to ``(B, H, T, T)``."""
    batch, frames, width = x.shape
    weight = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    bias = torch.cat([attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias])
    packed = linear(x, weight, bias).view(batch, frames, 3, attention.num_heads, attention.head_dim)
    q, k, v = packed.permute(2, 0, 3, 1, 4)
    mixed = attend(q, k, v, keep, attention.dropout_module.p if attention.training else 0.0)
    return linear(mixed.transpose(1, 2).reshape(batch, frames, width), attention.out_proj.weight, attention.out_proj.bias)
