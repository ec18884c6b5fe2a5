"""Read compressed files as streams that give no more than a bounded amount, whatever the file asks for."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Callable, Tuple

from softhubert_plugin.errors import SoftHubertError

# A file of some kilobytes may claim to hold terabytes. No k-means model is larger than this; none of its parts but arrays is than that.
LARGEST_CONTENT = 1 << 29
LARGEST_PIECE = 1 << 24
_LARGEST_DICTIONARY = 1 << 28  # bytes that LZMA may remember
_BLOCK = 1 << 16


class _Zlib:
    """zlib's decompressor, for zlib and gzip, with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: zlib or gzip, as the file says

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


# (first bytes, name, decompressor)
_FORMATS: Tuple[Tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", "gzip", _Zlib),
    (b"\x78", "zlib", _Zlib),
    (b"BZ", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", "xz", lambda: lzma.LZMADecompressor(memlimit=_LARGEST_DICTIONARY)),
    (b"\x5d\x00", "lzma", lambda: lzma.LZMADecompressor(memlimit=_LARGEST_DICTIONARY)),
)
_UNREADABLE = ((b"\x04\x22\x4d\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd"))


class _Bounded(io.BufferedIOBase):
    """A stream of at most :data:`LARGEST_CONTENT` bytes, to be read in pieces of at most :data:`LARGEST_PIECE`.

    Args:
        read: gives the next bytes, at most as many as asked for; none at the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._ahead = b""
        self._left = LARGEST_CONTENT

    def readable(self) -> bool:
        return True

    def read(self, size: Any = -1) -> bytes:
        if not 0 <= size <= LARGEST_PIECE:
            raise ValueError(f"a piece of {size} bytes")
        found = bytearray(self._ahead[:size])
        self._ahead = self._ahead[size:]
        while len(found) < size:
            part = self._read(min(_BLOCK, size - len(found)))
            if not part:
                break
            found += part
            self._left -= len(part)
            if self._left < 0:
                raise ValueError(f"more than {LARGEST_CONTENT >> 20} MiB of content")
        return bytes(found)

    def readline(self, size: Any = -1) -> bytes:
        line = b""
        while b"\n" not in line:
            part = self.read(256)
            if not part:
                return line
            line += part
        line, end, rest = line.partition(b"\n")
        self._ahead = rest + self._ahead
        return line + end


def is_compressed(beginning: bytes) -> bool:
    """Whether a file with these first bytes is compressed in a way that is known here."""
    return beginning.startswith((*(first for first, _, _ in _FORMATS), *(first for first, _ in _UNREADABLE)))


def open_decompressed(file: BinaryIO, path: Path) -> io.BufferedIOBase:
    """Open the content of a file, which may be compressed with zlib, gzip, bzip2, xz or LZMA, as joblib does.

    Args:
        file: the open file.
        path: its name, for the error message.

    Returns:
        A stream that can be read once, from the beginning. Reading it raises an error of zlib, bz2 or lzma, or an ``EOFError``, if the file
        is damaged, and a ``ValueError`` if it claims to hold more than there can be.

    Raises:
        SoftHubertError: it is compressed in another way.
    """
    beginning = file.read(8)
    file.seek(0)
    for first, name in _UNREADABLE:
        if beginning.startswith(first):
            raise SoftHubertError(f"{path}: compressed with {name}, which is not read here; save it uncompressed with joblib.dump")
    for first, _, decompressor in _FORMATS:
        if beginning.startswith(first):
            return _Bounded(_decompressed(file, decompressor()))
    return _Bounded(file.read)


def _decompressed(file: BinaryIO, decompressor: Any) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        found = b""
        while not found and not decompressor.eof:
            compressed = file.read(_BLOCK) if decompressor.needs_input else b""
            if decompressor.needs_input and not compressed:
                raise EOFError("the compressed file ends early")
            found = decompressor.decompress(compressed, size)
        return found

    return read
