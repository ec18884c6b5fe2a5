"""A HuBERT's front end: its convolutions, as the configuration describes them, and the projection that follows them.

The description, ``[(512,10,5)] + [(512,3,2)] * 4 + …``, is parsed here. fairseq evaluates that string as Python, so an untrusted checkpoint
could run any code.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, List, Tuple

from softhubert_plugin.errors import SoftHubertError

if TYPE_CHECKING:
    import torch

ConvLayer = Tuple[int, int, int]


def parse_conv_feature_layers(text: str) -> List[ConvLayer]:
    """Parse the description of the convolutions.

    Args:
        text: lists of ``(channels, kernel, stride)``, joined by ``+`` and repeated by ``*``.

    Returns:
        ``(channels, kernel, stride)`` of each convolution, in order.

    Raises:
        SoftHubertError: the text is anything else.
    """
    try:
        layers = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise SoftHubertError(
            f"conv_feature_layers {text[:80]!r}: expected a list such as '[(512,10,5)] + [(512,3,2)] * 4' ({error})"
        ) from None
    if not isinstance(layers, list) or not layers:
        raise SoftHubertError(f"conv_feature_layers {text[:80]!r}: expected a list of (channels, kernel, stride)")
    return layers


def _value(node: ast.AST) -> list[ConvLayer] | int:
    if isinstance(node, ast.Constant) and type(node.value) is int and 0 < node.value < 1_000_000:
        return node.value
    if isinstance(node, ast.List):
        return [_layer(element) for element in node.elts]
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return left + right
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and isinstance(right, int) and right <= 64:
            return left * right
    raise ValueError("only lists, '+' and '*' are allowed")


def _layer(node: ast.AST) -> ConvLayer:
    if not isinstance(node, (ast.Tuple, ast.List)) or len(node.elts) != 3:
        raise ValueError("each layer needs (channels, kernel, stride)")
    channels, kernel, stride = (_value(element) for element in node.elts)
    if not (isinstance(channels, int) and isinstance(kernel, int) and isinstance(stride, int)):
        raise ValueError("channels, kernel and stride must be whole numbers")
    return channels, kernel, stride


def total_stride(layers: List[ConvLayer]) -> int:
    """Number of samples from one output frame to the next."""
    stride = 1
    for _, _, step in layers:
        stride *= step
    return stride


def receptive_field(layers: List[ConvLayer]) -> int:
    """Number of samples that one output frame sees."""
    field, stride = 1, 1
    for _, kernel, step in layers:
        field += (kernel - 1) * stride
        stride *= step
    return field


def project(encoder: Any, convolved: torch.Tensor) -> torch.Tensor:
    """The input of the transformer: the convolutional features, normed and projected to the transformer's width.

    Args:
        encoder: a fairseq HuBERT.
        convolved: ``(B, T, channels)`` output of its convolutions.

    Returns:
        ``(B, T, D)``. A model with D channels has no projection.
    """
    normed: torch.Tensor = encoder.layer_norm(convolved)
    return normed if encoder.post_extract_proj is None else encoder.post_extract_proj(normed)
