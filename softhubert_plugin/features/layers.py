"""Layer numbers: parse the layers that a command asks for, read the layer that probing chose, and check that the model has them.

``softhubert probe`` writes its choice to ``layers.json``. Wherever a command takes LAYERS, ``@path/to/layers.json`` stands for that layer.
"""

from __future__ import annotations

from typing import Any, Iterable, List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.text_files import read_json

FILE_NAME = "layers.json"


def chosen_layer(path: PathLike) -> int:
    """Read the layer that a ``layers.json`` names.

    Raises:
        SoftHubertError: the file is missing or names no layer.
    """
    value = read_json(path, remedy="write it with 'softhubert probe'")
    layer = value.get("layer") if isinstance(value, dict) else None
    if type(layer) is not int or layer < 0:
        raise SoftHubertError(f"{path}: names no layer (\"layer\": {layer!r}); write it again with 'softhubert probe'")
    return layer


def resolve_layers(text: str) -> str:
    """Replace ``@path/to/layers.json`` by the layer chosen there; return any other text as it is."""
    return str(chosen_layer(text[1:])) if text.startswith("@") else text


def parse_layers(text: str, available: int) -> List[int]:
    """Parse layer numbers: ``"6"``, ``"4,8,12"``, ``"0-12"`` or ``"all"`` (1 to the last).

    Args:
        available: the number of the model's last layer.

    Returns:
        The layer numbers in the order asked for, each once.

    Raises:
        SoftHubertError: the text is none of these, or the model lacks a layer.
    """
    if text == "all":
        return list(range(1, available + 1))
    layers: List[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            layers.extend(range(int(first), int(last) + 1) if dash else [int(first)])
    except ValueError:
        raise SoftHubertError(f"layers {text!r}: expected a number, several as in 4,8,12, a range as in 0-12, or 'all'") from None
    if not layers:
        raise SoftHubertError(f"layers {text!r}: an empty range; write the smaller number first")
    check_layers(layers, available)
    return list(dict.fromkeys(layers))


def parse_layer(text: str) -> int:
    """Parse the number of one layer, or ``@layers.json`` for the layer that probing chose.

    Raises:
        SoftHubertError: it is neither.
    """
    resolved = resolve_layers(text)
    if not (resolved.isascii() and resolved.isdigit()):
        raise SoftHubertError(f"layer {text!r}: expected one number, or @layers.json for the layer that 'softhubert probe' chose")
    return int(resolved)


def check_layers(layers: Sequence[int], available: int) -> None:
    """Check that the model has all layers.

    Args:
        available: the number of the model's last layer.

    Raises:
        SoftHubertError: the model lacks a layer.
    """
    for layer in layers:
        if not 0 <= layer <= available:
            raise SoftHubertError(f"layer {layer}: this model has layers 1 to {available}, and 0 for its convolutional features")


def are_transformer_layers(layers: Iterable[Any]) -> bool:
    """Whether all layers are fairseq's ``TransformerSentenceEncoderLayer``, recognised by its parts.

    A conformer's layers are not: their convolutions reach into padding, and :mod:`softhubert_plugin.models.transformer` cannot run them.
    """
    return all(hasattr(layer, "self_attn") and hasattr(layer, "fc1") for layer in layers)
