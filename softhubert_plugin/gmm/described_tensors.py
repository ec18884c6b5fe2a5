"""Tensors in a safetensors file with a description in its header, and a checksum of both, so that altered bytes are refused.

safetensors itself reads these files. Files of earlier versions have no checksum and are read as well.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Mapping, Tuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from softhubert_plugin.files import PathLike, atomic_path

CHECKSUM = "sha256"


def save_described(path: PathLike, kind: str, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors and their description atomically; the same content gives the same bytes.

    Args:
        kind: name of the format, the key of the description in the header.
        description: JSON values.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    read_back = json.loads(json.dumps(description))  # the checksum is of what a reader gets: lists for tuples, text for other keys
    checked = {**read_back, CHECKSUM: _checksum(kind, stored, read_back)}
    # Only one key: safetensors writes several keys in an order that changes from run to run.
    with atomic_path(path) as temporary:
        save_file(stored, str(temporary), metadata={kind: json.dumps(checked, sort_keys=True)})


def load_described(
    path: PathLike, kind: str, fields: Tuple[str, ...], optional: Tuple[str, ...] = ()
) -> Tuple[Dict[str, torch.Tensor], Dict[str, Any]]:
    """Read a file of :func:`save_described`.

    Args:
        kind: name of the format.
        fields: the keys of its description.
        optional: keys that the description may lack.

    Returns:
        The tensors by name, and the description.

    Raises:
        KeyError: ``kind``, if it is a safetensors file of another kind.
        ValueError, SafetensorError, …: the file is damaged, or its bytes were altered after writing.
    """
    with safe_open(str(path), framework="pt") as stored:
        text = (stored.metadata() or {})[kind]
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    description = json.loads(text)
    checksum = description.pop(CHECKSUM, None)
    if description.keys() - set(optional) != set(fields):  # an altered name must not turn a file with a checksum into one without
        raise ValueError(f"its description has {', '.join(sorted(description)) or 'nothing'} instead of {', '.join(sorted(fields))}")
    if checksum is not None and checksum != _checksum(kind, tensors, description):
        raise ValueError("it fails its checksum: its bytes were altered after writing")
    return tensors, description


def _checksum(kind: str, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(f"{kind} {json.dumps(description, sort_keys=True)}".encode())
    for name in sorted(tensors):
        values = tensors[name].numpy()
        digest.update(f"\n{name} {tensors[name].dtype} {list(values.shape)}\n".encode())
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
