"""Read what ``torch.save`` wrote, without running code from the file, and only if its bytes are those that were written.

PyTorch itself reads altered bytes without a word: its reader does not compare the checksums that its writer stores. Here they are compared.
"""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any, Callable, Optional, Set

import torch

from softhubert_plugin.checkpoints.foreign_files import foreign_file
from softhubert_plugin.errors import SoftHubertError, blaming

_AGAIN = "train, copy or download it again"
_LONGEST_NAME = 1_000
_LEGACY_PICKLES = 5  # follow each other in what torch.save wrote before PyTorch 1.6; later, there is one


def read_plain_data(path: Path, what: str, accepted: str, before: Optional[Callable[[Set[str]], None]] = None) -> Any:
    """Read a file of tensors and plain data.

    Args:
        path: an existing file.
        what: what is expected, such as "checkpoint".
        accepted: what to give instead of a file of another kind.
        before: called before the file is loaded, with the modules of the classes that it names; it may make PyTorch accept some of them.

    Raises:
        SoftHubertError: it is a file of another kind, holds more than plain data, or is damaged.
    """
    kind = foreign_file(path)
    if kind is not None:
        raise SoftHubertError(f"{path}: {otherwise(what, kind, accepted)}")
    with blaming(path, f"truncated, damaged or not a {what}", _AGAIN), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about files of unusual origin; what is wrong with them is reported as an error
        if zipfile.is_zipfile(path):
            _compare_checksums(path)
        modules = _modules_named(path)
        if before is not None:
            before(modules)
        try:
            return torch.load(str(path), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise SoftHubertError(f"{path}: refused, it holds more than plain data or is damaged ({_refused(error)}); {_AGAIN}") from None


def _modules_named(path: Path) -> Set[str]:
    """The modules of the classes that a pickle names.

    Raises:
        ValueError: a class has a name of thousands of letters, over which PyTorch would search its own message for hours.
    """
    with open(path, "rb") as stream, contextlib.ExitStack() as stack:
        source: IO[bytes] = stream
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            source = stack.enter_context(archive.open(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
        named: Set[str] = set()
        with contextlib.suppress(Exception):  # PyTorch says what is wrong with it
            for _ in range(_LEGACY_PICKLES):
                for opcode, argument, _ in pickletools.genops(source):
                    if opcode.name in ("GLOBAL", "INST"):
                        named.add(str(argument))
    longest = max(map(len, named), default=0)
    if longest > _LONGEST_NAME:
        raise ValueError(f"it names a class of {longest} letters")
    return {name.partition(" ")[0] for name in named}


def otherwise(what: str, kind: str, accepted: str) -> str:
    """Say that something is not what was expected, but of another kind; a kind may come with its own advice after a semicolon."""
    return f"not a {what}, but {kind}" + ("" if ";" in kind else f"; {accepted}")


def _compare_checksums(path: Path) -> None:
    """Compare the checksums of an archive's members, unless it was written without any.

    Raises:
        ValueError: a member was altered, or the members claim to be larger than the file, which would be an archive that explodes.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its members are larger than the file")
        altered = archive.testzip() if any(member.CRC for member in members) else None
    if altered is not None:
        raise ValueError(f"{altered} fails its checksum")


def _refused(error: pickle.UnpicklingError) -> str:
    """The class or function that PyTorch refused to load, or else its reason, without its advice to load the file unsafely."""
    reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().split("\n")[0][:200]
    named = re.search(r"(?:GLOBAL|global:?|class) (\w+(?:\.\w+)+)", reason)
    return named.group(1) if named else reason
