"""Write files atomically, so that a reader sees a complete file or none; read text files; compute fingerprints of files.

Every text file that people bring is read by :func:`read_text_of`. It says what a line is, and keeps byte order marks out of the text.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Iterator, List, Optional, Union

from softhubert_plugin.errors import SoftHubertError, blaming

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


@contextlib.contextmanager
def disk_errors(target: PathLike) -> Iterator[None]:
    """Turn errors of the disk into a message of one line that names ``target``.

    Raises:
        SoftHubertError: the disk is full, the file is larger than allowed, or the folder cannot be written.
    """
    try:
        yield
    except SoftHubertError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise SoftHubertError(f"{target}: no space left on the device; free some and run the same command again") from error
        if number == errno.EFBIG:
            raise SoftHubertError(f"{target}: larger than the file size limit; write to another disk, or raise 'ulimit -f'") from error
        if number in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise SoftHubertError(f"{target}: cannot be written ({os.strerror(number)}); choose a folder with write permission") from error
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


def read_json(path: PathLike, *, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        remedy: what to do if the file is not usable, for the error message.

    Raises:
        SoftHubertError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_text_of(path))
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; {remedy}") from None
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits, and of nesting without end
        raise SoftHubertError(f"{path}: not valid JSON ({error}); {remedy}") from None


# The four bytes of UTF-32 come first, because they begin with those of UTF-16.
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text_of(path: PathLike) -> str:
    """Read a UTF-8 file.

    Windows editors put a byte order mark (U+FEFF) before the text, and joining such files leaves marks at the beginning of later lines.
    None of them belongs to the text, so they are dropped. Within a line, U+FEFF is kept. The line ends of Windows (and the carriage
    returns of old Macs, in a file without a line feed) become line feeds.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: the file is not UTF-8; the message names the line and the way to convert it.
    """
    content = Path(path).read_bytes()
    for mark, encoding in _OTHER_MARKS:
        if content.startswith(mark):
            raise SoftHubertError(f"{path}: {encoding} text, expected UTF-8; convert it: iconv -f {encoding} -t UTF-8")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SoftHubertError(
            f"{path}, line {_line_of(content, error.start)}: not UTF-8 text ({error.reason}); convert it from its own encoding, "
            "often Latin-1: iconv -f LATIN1 -t UTF-8"
        ) from None
    if "\0" in text:
        line = _line_of(content, content.index(b"\0"))
        raise SoftHubertError(f"{path}, line {line}: a zero byte, expected UTF-8 text; if it is UTF-16: iconv -f UTF-16LE -t UTF-8")
    text = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    return without_marks(text)


def without_marks(text: str) -> str:
    """Drop the byte order marks (U+FEFF) at the beginning of a text and of its lines."""
    return re.sub("^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def unmarked_line(line: bytes) -> bytes:
    """Drop the byte order marks of UTF-8 at the beginning of a line, for files that are too large to be read at once."""
    while line.startswith(codecs.BOM_UTF8):
        line = line[len(codecs.BOM_UTF8) :]
    return line


def _line_of(content: bytes, place: int) -> int:
    """Return the number of the line, from 1, that holds the byte at ``place``."""
    return content.count(b"\n", 0, place) + 1


def read_lines_of(path: PathLike) -> List[str]:
    """Read the lines of a UTF-8 file, without their line feeds; the last line may lack one.

    Only line feeds end a line, because transcripts and file names may contain Unicode's other line separators.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: as :func:`read_text_of`.
    """
    lines = read_text_of(path).split("\n")
    return lines if lines[-1] else lines[:-1]


def printable(path: PathLike) -> str:
    """Write a path so that it fits on one line of any terminal: other bytes than UTF-8, and line ends, become escapes (``\\xe9``)."""
    return "".join(one if one.isprintable() else _escaped(one) for one in os.fspath(path))


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # Python keeps a byte that is not UTF-8 as one of these characters
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


# No configuration is longer, or has more values, than this. Aliases in YAML can stand for billions of values in a few lines.
_LONGEST_YAML, _MOST_VALUES, _DEEPEST_YAML = 200_000, 100_000, 100


def read_yaml(path: PathLike, *, remedy: str) -> Any:
    """Read a YAML file of plain values: dictionaries, lists, text, numbers.

    Args:
        path: the file.
        remedy: what to do if the file is not usable, for the error message.

    Raises:
        FileNotFoundError: there is no such file.
        SoftHubertError: the file is not YAML, or holds other things than plain values, or more than a configuration can.
    """
    import yaml

    text = "\n".join(read_lines_of(path))
    if len(text) > _LONGEST_YAML:
        raise SoftHubertError(f"{path}: {len(text)} characters, too long for a configuration; {remedy}")
    with blaming(path, "not YAML of plain values", remedy):
        depths = itertools.accumulate((character in "[{") - (character in "]}") for character in text)
        if max(depths, default=0) > _DEEPEST_YAML:  # the parser takes long to give up
            raise ValueError(f"more than {_DEEPEST_YAML} brackets within each other")
        value = yaml.safe_load(text)
        waiting, left = [value], _MOST_VALUES
        while waiting:
            each = waiting.pop()
            left -= 1
            if left < 0:
                raise ValueError(f"more than {_MOST_VALUES} values, or values inside themselves")
            if isinstance(each, (dict, list)):
                waiting += [*each, *each.values()] if isinstance(each, dict) else each
            elif each is not None and not isinstance(each, (str, int, float)):
                raise ValueError(f"a value of type {type(each).__name__}")
    return value


def sha256_of(path: PathLike) -> str:
    """Compute the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
