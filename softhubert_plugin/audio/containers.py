"""Find out from a sound file's container whether a part of the file is missing.

libsndfile reads a file that was cut short without a word: it lowers the number of samples to what is there. Here the header's own promise
is compared with the file. Nothing is decoded. FLAC needs no such look, because its decoder fails at the cut.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, Dict, NamedTuple, Optional, Tuple

from softhubert_plugin.audio.mpeg import read_mpeg

# A program that writes to a pipe does not know the length and promises the maximum (ffmpeg: 0xFFFFFFFF, sox: 0x7FFFF000).
_OPEN_END = {4: 0x7FFF0000, 8: 1 << 62}
_MOST_CHUNKS = 1000  # a damaged header may lead into silence, which looks like millions of empty chunks
_OGG_PAGE = struct.Struct("<4sBBqIIIB")  # magic, version, flags, position, stream, page, checksum, number of segments
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255
_LAST_OGG_PAGE = 4  # flag


class _Chunks(NamedTuple):
    """How a family of containers lays out its chunks.

    Attributes:
        first: position of the first chunk.
        name_bytes, size: a chunk's header: the bytes of its name, and the layout of the size that follows.
        samples: name of the chunk that holds the samples.
        alignment: chunks start at multiples of this.
        counts_header: whether a chunk's size includes its header.
    """

    first: int
    name_bytes: int
    size: str
    samples: bytes
    alignment: int = 2
    counts_header: bool = False


_FAMILIES: Dict[bytes, _Chunks] = {
    b"RIFF": _Chunks(12, 4, "<I", b"data"),  # WAV
    b"RIFX": _Chunks(12, 4, ">I", b"data"),
    b"RF64": _Chunks(12, 4, "<I", b"data"),
    b"FORM": _Chunks(12, 4, ">I", b"SSND"),  # AIFF
    b"caff": _Chunks(8, 4, ">Q", b"data", alignment=1),
    b"riff": _Chunks(40, 16, "<Q", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", alignment=8, counts_header=True),  # W64
}


def inspect_container(stream: BinaryIO) -> Tuple[Optional[str], Optional[int]]:
    """Look for a missing part of a sound file, and count the samples of an MP3 file whose header does not tell their number.

    Args:
        stream: the file, opened for reading.

    Returns:
        What is wrong, as the predicate of a sentence about the file, or ``None``; and the samples per channel, ``None`` for other files.
        Formats that are not known here have no fault.
    """
    size = stream.seek(0, io.SEEK_END)
    start = _after_tags(stream)
    stream.seek(start)
    head = stream.read(16)
    if head[:4] in _FAMILIES:
        return _chunks_fault(stream, start, size, _FAMILIES[head[:4]]), None
    if head[:4] in (b".snd", b"dns."):
        offset, promised = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:12].ljust(8, b"\0"))
        return _missing(promised, size - start - offset, 4), None
    if head[:7] == b"NIST_1A":
        return _nist_fault(stream, start, size), None
    if head[:4] == b"OggS":
        return _ogg_fault(stream, start, size), None
    return (None, None) if head[:4] == b"fLaC" else read_mpeg(stream, start)


def _after_tags(stream: BinaryIO) -> int:
    """Return where the audio starts: after the ID3 tags that some programs put in front of it."""
    start = 0
    while True:
        stream.seek(start)
        head = stream.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return start
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
        start += 10 + length + (10 if head[5] & 0x10 else 0)  # the flag says that the tag has a footer


def _chunks_fault(stream: BinaryIO, start: int, size: int, family: _Chunks) -> Optional[str]:
    """Walk over the chunks up to the samples, and compare their promised size with what is there."""
    layout = struct.Struct(family.size)
    header = family.name_bytes + layout.size
    position, promised_by_ds64 = start + family.first, 0
    for _ in range(_MOST_CHUNKS):
        if position + header > size:
            break
        stream.seek(position)
        found = stream.read(header)
        name, length = found[: family.name_bytes], layout.unpack(found[family.name_bytes :])[0]
        length = max(0, length - header) if family.counts_header else length
        position += header
        if name == family.samples:
            if promised_by_ds64 and length == 0xFFFFFFFF:
                return _missing(promised_by_ds64, size - position, 8)
            return _missing(length, size - position, layout.size)
        if name == b"ds64":  # RF64 keeps the sizes that do not fit into 32 bits here
            promised_by_ds64 = struct.unpack("<QQ", stream.read(16).ljust(16, b"\0"))[1]
        position += -(-length // family.alignment) * family.alignment
    return None  # libsndfile says what is wrong with such a file


def _missing(promised: int, present: int, size_bytes: int) -> Optional[str]:
    if promised <= present or promised >= _OPEN_END[size_bytes]:
        return None
    return f"cut short: its header promises {promised} bytes of samples, but {max(0, present)} are there"


def _nist_fault(stream: BinaryIO, start: int, size: int) -> Optional[str]:
    """Compare the number of samples in a NIST SPHERE header with the file's size."""
    stream.seek(start + 8)
    try:
        header = int(stream.read(8))
        stream.seek(start)
        lines = [line.split() for line in stream.read(min(max(0, header), 1 << 16)).decode("latin-1").split("\n")]
        fields = {line[0]: line[2] for line in lines if len(line) == 3 and line[1] == "-i"}
        promised = int(fields["sample_count"]) * int(fields.get("channel_count", 1)) * int(fields["sample_n_bytes"])
    except (ValueError, KeyError):
        return None
    return _missing(promised, size - start - header, 4)


def _ogg_fault(stream: BinaryIO, start: int, size: int) -> Optional[str]:
    """Look at the last page: it must be complete, be marked as the last, and belong to the same stream as the first."""
    stream.seek(start)
    first = _OGG_PAGE.unpack(stream.read(_OGG_PAGE.size).ljust(_OGG_PAGE.size, b"\0"))
    tail_start = max(start, size - _LARGEST_OGG_PAGE)
    stream.seek(tail_start)
    tail = stream.read()
    at = tail.rfind(b"OggS")
    page = tail[at:] if at >= 0 else b""
    if len(page) < _OGG_PAGE.size:
        return "cut short: its last Ogg page is not complete"
    _, _, flags, _, serial, _, _, segments = _OGG_PAGE.unpack(page[: _OGG_PAGE.size])
    table = page[_OGG_PAGE.size : _OGG_PAGE.size + segments]
    if len(table) < segments or len(page) < _OGG_PAGE.size + segments + sum(table):
        return "cut short: its last Ogg page is not complete"
    if serial != first[4]:
        return "several Ogg streams in one file, of which only the first would be read"
    if not flags & _LAST_OGG_PAGE:
        return "cut short: its last Ogg page is not marked as the last"
    return None
