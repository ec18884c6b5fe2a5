"""Folders that appear complete or not at all. An exported model consists of several files that are useless apart."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator, Mapping

import torch
from safetensors.torch import save_file

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, disk_errors


@contextlib.contextmanager
def new_folder(dest: PathLike) -> Iterator[Path]:
    """Yield an empty folder beside ``dest``. On success it is renamed to ``dest``; on failure it is removed.

    Raises:
        SoftHubertError: ``dest`` already exists and is not empty, the disk is full, or the place cannot be written.
    """
    target = Path(os.path.abspath(dest))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SoftHubertError(f"{dest}: already exists; remove it, or choose another folder")
    temporary = None
    try:
        with disk_errors(dest):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial"))
            temporary.chmod(0o755)
            yield temporary
            if target.exists():
                target.rmdir()
            temporary.replace(target)
            temporary = None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write ``path``, a safetensors file for PyTorch. Tensors that share memory are stored apart, because the format refuses them."""
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, str(path), metadata={"format": "pt"})
