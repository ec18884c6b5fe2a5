"""Which layers of a model are asked for, which there are, and which one probing chose.

``softhubert probe`` writes its choice to ``layers.json``; wherever a command takes LAYERS, ``@path/to/layers.json`` stands for that layer.
"""

from __future__ import annotations

from typing import Any, Iterable, List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_json

FILE_NAME = "layers.json"


def chosen_layer(path: PathLike) -> int:
    """The layer that a ``layers.json`` names.

    Raises:
        SoftHubertError: the file is missing or names none.
    """
    value = read_json(path, remedy="write it with 'softhubert probe'")
    layer = value.get("layer") if isinstance(value, dict) else None
    if type(layer) is not int or layer < 0:
        raise SoftHubertError(f"{path}: names no layer (\"layer\": {layer!r}); write it again with 'softhubert probe'")
    return layer


def resolve_layers(text: str) -> str:
    """``@path/to/layers.json`` → the layer chosen there; anything else as it is."""
    return str(chosen_layer(text[1:])) if text.startswith("@") else text


def parse_layers(text: str, available: int) -> List[int]:
    """``"6"``, ``"4,8,12"``, ``"0-12"`` or ``"all"`` (1 to the last) → layer numbers, as asked for, each once.

    Raises:
        SoftHubertError: it is none of these, or the model has no such layer.
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
        raise SoftHubertError(f"layers {text!r}: an empty range; the smaller number comes first")
    check_layers(layers, available)
    return list(dict.fromkeys(layers))


def check_layers(layers: Sequence[int], available: int) -> None:
    """Raise :class:`SoftHubertError` for a layer that the model does not have."""
    for layer in layers:
        if not 0 <= layer <= available:
            raise SoftHubertError(f"layer {layer}: this model has layers 1 to {available}, and 0 for its convolutional features")


def are_transformer_layers(layers: Iterable[Any]) -> bool:
    """Whether all layers are fairseq's ``TransformerSentenceEncoderLayer``, told by its parts.

    A conformer's are not: its convolutions reach into padding, and :mod:`softhubert_plugin.models.transformer` cannot walk them.
    """
    return all(hasattr(layer, "self_attn") and hasattr(layer, "fc1") for layer in layers)
