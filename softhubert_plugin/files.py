"""Write files atomically, so that a reader sees a complete file or none; compute fingerprints of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional, Union

from softhubert_plugin.errors import SoftHubertError

PathLike = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``. On success it is fsynced and renamed to ``path``; on failure it is removed.

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
            os.chmod(temporary, 0o666 & ~_UMASK)
            os.replace(temporary, target)
            temporary = None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_destination(path: PathLike, *inputs: PathLike) -> None:
    """Check that a file can be written to ``path``, before what belongs in it is computed. Nothing is left there.

    Args:
        inputs: files that it is made from.

    Raises:
        SoftHubertError: there is a folder of this name, its folder cannot be written to, or it would take the place of an input.
    """
    target = Path(path)
    if any(target.resolve() == Path(each).resolve() for each in inputs):
        raise SoftHubertError(f"{path}: source and destination are one file; give another name")
    with disk_errors(target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()


# The system's error numbers, the problem, and what to do.
_DISK_PROBLEMS = (
    ((errno.ENOSPC, errno.EDQUOT), "no space left on the device", "free some and run the same command again"),
    ((errno.EFBIG,), "larger than the file size limit", "write to another disk, or raise 'ulimit -f'"),
    ((errno.EACCES, errno.EROFS, errno.EPERM), "cannot be written ({})", "choose a folder with write permission"),
    ((errno.EEXIST, errno.ENOTDIR), "cannot be written ({})", "there is a file in the place of its folder: choose another place"),
    ((errno.EISDIR,), "cannot be written ({})", "there is a folder of this name: choose another name"),
    ((errno.ENAMETOOLONG, errno.ELOOP), "cannot be written ({})", "choose another name"),
)


@contextlib.contextmanager
def disk_errors(target: PathLike) -> Iterator[None]:
    """Turn errors of the disk into a message of one line that names ``target``.

    Raises:
        SoftHubertError: the disk is full, the file is larger than allowed, or the place cannot be written to.
    """
    try:
        yield
    except SoftHubertError:
        raise
    except Exception as error:
        number = _error_number(error)
        for numbers, problem, remedy in _DISK_PROBLEMS:
            if number in numbers:
                raise SoftHubertError(f"{target}: {problem.format(os.strerror(number or 0))}; {remedy}") from error
        raise


def _error_number(error: Optional[BaseException]) -> Optional[int]:
    """Return the system's error number, even if a library hides it; ``None`` if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        # safetensors has its own exception, with the number in its text. numpy only reports that it wrote less than requested.
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is not None:
            return int(found.group(1))
        if isinstance(error, OSError) and re.search(r"\d+ requested and \d+ written", str(error)):
            return errno.ENOSPC
        # torch.save fails a second time when it closes its file; the first failure is that error's context.
        error = error.__context__ if isinstance(error, RuntimeError) else None
    return None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


_UMASK = _umask()  # read once, before there are other threads: it can only be read by changing it, for all of them


def write_text(path: PathLike, text: str) -> None:
    """Write ``text`` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def printable(path: PathLike) -> str:
    """Write a path so that it fits on one line of any terminal: other bytes than UTF-8, and line ends, become escapes (``\\xe9``)."""
    return "".join(one if one.isprintable() else _escaped(one) for one in os.fspath(path))


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # Python keeps a byte that is not UTF-8 as one of these characters
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def sha256_of(path: PathLike) -> str:
    """Compute the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
