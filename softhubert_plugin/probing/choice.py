"""``layers.json``: which layer probing chose, for the recipes to read.

``softhubert probe`` writes it; wherever a command takes LAYERS, ``@path/to/layers.json`` stands for the layer chosen there.
"""

from __future__ import annotations

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
