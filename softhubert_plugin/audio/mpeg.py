"""Compare an MP3 file's frames with the length that its decoder reports.

An MP3 file has a length only if its first frame has a Xing, Info or VBRI header. Without one, libsndfile guesses the length from the first
frame's bitrate and the size of the file, which is wrong if the bitrate varies or there is a tag in front; with one, it believes it, even if
the file was cut.
"""

from __future__ import annotations

import io
from typing import BinaryIO, Iterator, NamedTuple, Optional, Tuple

# kbit/s by index 1 to 14: of MPEG-1 layers I to III, and of MPEG-2 and 2.5: layer I, then layers II and III.
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_TAGS = (b"Xing", b"Info", b"VBRI")
_SEARCHED = 1 << 16  # bytes at the beginning in which the first frame is looked for
_TAG_WITHIN = 64  # bytes from the start of the first frame: after its header and its side information


class _Frame(NamedTuple):
    """One frame: where it starts and ends, its bitrate in kbit/s, and its samples per channel."""

    start: int
    end: int
    bitrate: int
    samples: int


def read_mpeg(stream: BinaryIO, start: int) -> Tuple[Optional[str], Optional[int]]:
    """Look for a missing part of an MP3 file, and count its samples if its header does not tell their number.

    Args:
        stream: the file, opened for reading.
        start: where its audio starts.

    Returns:
        What is wrong, as the predicate of a sentence about the file, or ``None``; and the samples per channel, or ``None`` if the header
        tells the length. Both are ``None`` if this is no MP3 file.
    """
    frames = _frames(stream, _first_frame(stream, start))
    first = next(frames, None)
    if first is None:
        return None, None
    promised = _promised_frames(stream, first)
    count, samples, bitrates, last = 0, first.samples, {first.bitrate}, first
    for last in frames:
        count += 1
        samples += last.samples
        bitrates.add(last.bitrate)
    if last.end > stream.seek(0, io.SEEK_END):
        return "cut short: its last MP3 frame is not complete", None
    if promised is None:
        return ("an MP3 file without a length in its header, whose bitrate varies" if len(bitrates) > 1 else None), samples
    if abs(count - promised) > 1:  # some encoders count the frame that holds the header
        return f"cut short or joined: its header promises {promised} MP3 frames, but {count} follow each other", None
    return None, None


def _first_frame(stream: BinaryIO, start: int) -> int:
    """Return where the first frame starts that another frame follows; ``start`` if there is none."""
    stream.seek(start)
    head = stream.read(_SEARCHED)
    at = head.find(b"\xff")
    while at >= 0:
        length = _frame_length(head[at : at + 4])[0]
        if length and _frame_length(head[at + length : at + length + 4])[0]:
            return start + at
        at = head.find(b"\xff", at + 1)
    return start


def _frames(stream: BinaryIO, position: int) -> Iterator[_Frame]:
    """Yield the frames that follow each other without a gap. Anything else, such as a tag, ends them."""
    while True:
        stream.seek(position)
        length, bitrate, samples = _frame_length(stream.read(4))
        if not length:
            return
        yield _Frame(position, position + length, bitrate, samples)
        position += length


def _frame_length(header: bytes) -> Tuple[int, int, int]:
    """Return a frame's length in bytes, its bitrate in kbit/s and its samples; zeros if this is not the header of a frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0, 0, 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)  # version: 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5
    index, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate == 3 or not 0 < index < 15:
        return 0, 0, 0
    bitrate = _BITRATES[1 if version == 3 else 2, layer][index - 1]
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12_000 * bitrate // hertz + padding) * 4, bitrate, 384
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples * 125 * bitrate // hertz + padding, bitrate, samples


def _promised_frames(stream: BinaryIO, first: _Frame) -> Optional[int]:
    """Return the number of frames in the header of the first frame, if there is one."""
    stream.seek(first.start)
    head = stream.read(_TAG_WITHIN)
    at = next((head.find(tag) for tag in _TAGS if tag in head), None)
    if at is None:
        return None
    if head[at : at + 4] == b"VBRI":
        return int.from_bytes(head[at + 14 : at + 18], "big")
    return int.from_bytes(head[at + 8 : at + 12], "big") if head[at + 7] & 1 else None
