"""Recognise files that PyTorch did not write, by their first bytes, so that a refusal can say what was given instead of a checkpoint."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Optional

_FOLDER = "give the folder that it is in, with its config.json"
# (first bytes, what the file is)
_SIGNATURES = (
    (b"version https://git-lfs", "a pointer of Git LFS; download the file itself ('git lfs pull')"),
    (b"GGUF", "a model in GGUF, the format of llama.cpp"),
    (b"lmgg", "a model in GGML, the format of whisper.cpp"),
    (b"\x89HDF\r\n", "a file in HDF5, as Keras writes"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a file compressed with gzip; unpack it (a .nemo of NeMo holds another model)"),
    (b"BZh", "a file compressed with bzip2; unpack it"),
    (b"\xfd7zXZ", "a file compressed with xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd; unpack it"),
    (b"RIFF", "a sound file"),
    (b"fLaC", "a sound file"),
)
# What torch.save wrote before PyTorch 1.6 begins with this number as a pickle.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def foreign_file(path: Path) -> Optional[str]:
    """Say what a file is if it is certainly not one of ``torch.save``, and what to do; ``None`` if it may be one."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    if not head:
        return "an empty file"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive, as a .nemo of NeMo is"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return _safetensors(head)
    if head[:1] == b"\x80" and not head.startswith(_LEGACY):
        return "a pickle that PyTorch did not write, such as a model of scikit-learn or joblib"
    return _archive(path) if head.startswith(b"PK") else _text(head)


def _safetensors(head: bytes) -> str:
    if b'"softhubert-mixture"' in head:
        return "a mixture; give the model that its features come from"
    if b'"softhubert-labels"' in head:
        return "soft labels; give the model"
    return f"a file of safetensors; {_FOLDER}"


def _archive(path: Path) -> Optional[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:
        return None  # damaged: PyTorch's reader says what is wrong
    if any(name.endswith("/constants.pkl") for name in names):
        return "a program compiled by TorchScript, which holds no configuration; give the checkpoint that it was made from"
    if not any(name.endswith("data.pkl") for name in names):
        return f"a zip archive of other files (the first: {names[0] if names else 'none'}); unpack it"
    return None


def _text(head: bytes) -> Optional[str]:
    begin = head[:200].lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page; the download failed: download it again"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text or not all(character.isprintable() or character.isspace() for character in text):
        return None
    try:
        json.loads(text)
    except ValueError:
        return f"text ({' '.join(text.split())[:40]!r})"
    return f"a JSON file; {_FOLDER}"
