"""Writing files so that a reader sees the whole of one or nothing, and fingerprints to tell files apart."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Iterator, Union

from softhubert_plugin.errors import SoftHubertError

PathLike = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``, on failure removed.

    Raises:
        SoftHubertError: the disk is full or the folder cannot be written.
    """
    target = Path(path)
    temporary = None
    try:
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
            temporary = None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(target: PathLike) -> Iterator[None]:
    """Turn a full disk, or a folder that may not be written, into one line that names ``target``.

    Raises:
        SoftHubertError: one of the two happened.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SoftHubertError(f"{target}: no space left on the device; free some and run the same command again") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise SoftHubertError(f"{target}: cannot be written ({error.strerror}); choose a folder you may write to") from error
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: PathLike, text: str) -> None:
    """Atomically write ``text`` as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: PathLike, value: Any) -> None:
    """Atomically write ``value`` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: PathLike, *, remedy: str) -> Any:
    """Read a JSON file.

    Raises:
        SoftHubertError: it is missing or is not JSON; ``remedy`` says what would make it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; {remedy}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SoftHubertError(f"{path}: not valid JSON ({error}); {remedy}") from None


def sha256_of(path: PathLike) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
