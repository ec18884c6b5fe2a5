"""Open sound files. Every sound file that is read is opened here, so that each fault has the same words everywhere.

A file is opened by its descriptor. A named pipe is therefore refused instead of waited for, and a name may have any bytes.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, Iterator, Optional, Type, Union

import soundfile

from softhubert_plugin.audio.containers import inspect_container
from softhubert_plugin.errors import SoftHubertError

REPLACE = "replace or remove the file"
CONVERT = "convert the files with '--resample-to DIR' of 'softhubert manifest folder'"

# No format packs more samples into a byte: an Opus packet of one byte holds 2,880, a FLAC block of silence 65,535 in at least 12 bytes.
_SAMPLES_PER_BYTE = 10_000
_NO_LENGTH = 1 << 62  # libsndfile reports 2**63 - 1 samples if a header does not tell the number
# Formats whose files tell whether they are complete. Of the others, libsndfile reads what is there without a word.
_FORMATS = ("AIFF", "AU", "CAF", "FLAC", "MP3", "NIST", "OGG", "RF64", "W64", "WAV", "WAVEX")


class UnreadableAudio(SoftHubertError):
    """A file that is missing, is not audio, is damaged or cut short, has no samples, or has samples that are not numbers."""


class Complete(soundfile.SoundFile):
    """A sound file of which no part is missing.

    Attributes:
        counted: the samples in its frames, if it is an MP3 file whose header does not tell their number: libsndfile guesses it then.
    """

    counted: Optional[int] = None


class Forward(Complete):
    """A sound file that is only read from its beginning to its end.

    soundfile seeks after each block that it reads, which fails at the end of a file whose header does not tell its length.
    """

    def seekable(self) -> bool:
        """Return False, so that soundfile never seeks."""
        return False


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file that the door (:mod:`~softhubert_plugin.audio.check`) has let in.

    Raises:
        UnreadableAudio: the file cannot be opened, or, while it is open, cannot be decoded.
    """
    with _regular_file(path) as stream, _decoder(path, stream.fileno(), _size_of(stream), soundfile.SoundFile) as sound:
        yield sound


@contextlib.contextmanager
def open_complete(path: Path, *, forward: bool = False) -> Iterator[soundfile.SoundFile]:
    """Open any file, unless its container shows that a part of it is missing.

    Args:
        path: the file.
        forward: open it as :class:`Forward`.

    Raises:
        UnreadableAudio: as :func:`open_audio`; a part of the file is missing; or its format does not tell whether it is complete.
    """
    kind = Forward if forward else Complete
    with _regular_file(path) as stream:
        counted = _refuse_missing_part(path, stream)
        with _decoder(path, stream.fileno(), _size_of(stream), kind) as sound:
            _refuse_other_formats(path, sound)
            sound.counted = counted
            yield sound


@contextlib.contextmanager
def open_bytes(data: bytes, where: str) -> Iterator[soundfile.SoundFile]:
    """Open a sound file whose bytes are inside another file, as :class:`Forward`. ``where`` names it in messages.

    Raises:
        UnreadableAudio: as :func:`open_complete`.
    """
    counted = _refuse_missing_part(where, io.BytesIO(data))
    with _decoder(where, io.BytesIO(data), len(data), Forward) as sound:
        _refuse_other_formats(where, sound)
        sound.counted = counted
        yield sound


def can_seek(sound: soundfile.SoundFile) -> bool:
    """Return whether a file's encoding allows access to any sample, also if it is open as :class:`Forward`."""
    return bool(soundfile.SoundFile.seekable(sound))


def has_length(sound: soundfile.SoundFile) -> bool:
    """Return whether it is known how many samples a file has. The header of FLAC written to a pipe does not tell. What libsndfile guesses
    of MP3 without a length counts if its frames hold as many."""
    counted = counted_by_frames(sound)
    return int(sound.frames) < _NO_LENGTH if counted is None else sound.frames == counted


def counted_by_frames(sound: soundfile.SoundFile) -> Optional[int]:
    """Return the samples in the frames of an MP3 file whose header does not tell their number; ``None`` for other files."""
    return sound.counted if isinstance(sound, Complete) and sound.format == "MP3" else None


def length_of(path: Union[Path, str], sound: soundfile.SoundFile) -> int:
    """Return the length in samples that a file's header tells.

    Raises:
        UnreadableAudio: it tells none, or the file has no samples.
    """
    if not has_length(sound):
        why = "it was written to a pipe" if counted_by_frames(sound) is None else "an MP3 file without Xing or Info"
        raise UnreadableAudio(f"{path}: its header does not tell how many samples it has ({why}); {CONVERT}")
    if sound.frames == 0:
        raise UnreadableAudio(f"{path}: audio without samples, according to its header; {REPLACE}")
    return int(sound.frames)


def refuse_form(path: Path, sound: soundfile.SoundFile) -> None:
    """Refuse an open file with several channels, or whose encoding can only be read from the beginning. This is the rule for all audio.

    Raises:
        SoftHubertError: it is such a file.
    """
    if sound.channels != 1:
        raise SoftHubertError(f"{path}: {sound.channels} channels, expected 1; {CONVERT}")
    refuse_without_access(path, sound)


def refuse_without_access(path: Path, sound: soundfile.SoundFile) -> None:
    """Refuse an open file whose encoding can only be read from the beginning.

    Raises:
        SoftHubertError: it is such a file.
    """
    if not can_seek(sound):
        raise SoftHubertError(f"{path}: encoded as {sound.subtype}, which can only be read from the beginning; {CONVERT}")


def undecodable(path: Union[Path, str], error: Exception) -> UnreadableAudio:
    """Say in our words that libsndfile cannot decode a file."""
    said = " ".join(getattr(error, "error_string", str(error)).split()).rstrip(".")
    said = said[len("Error : ") :] if said.startswith("Error : ") else said
    return UnreadableAudio(f"{path}: not readable as audio ({said}); {REPLACE}, or convert it, e.g. with 'ffmpeg'")


@contextlib.contextmanager
def _regular_file(path: Path) -> Iterator[BinaryIO]:
    with _opened(path) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise UnreadableAudio(f"{path}: not a regular file; {REPLACE}")
        yield stream


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", opener=_without_waiting)
    except FileNotFoundError:
        if path.is_symlink():
            raise UnreadableAudio(f"{path}: a link to {os.readlink(path)}, which does not exist; restore it or remove the link") from None
        raise UnreadableAudio(f"{path}: no such audio file; restore it or write the manifest again") from None
    except (OSError, ValueError) as error:
        raise UnreadableAudio(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error}); {REPLACE}") from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _size_of(stream: BinaryIO) -> int:
    os.lseek(stream.fileno(), 0, os.SEEK_SET)  # libsndfile starts where the descriptor stands
    return os.fstat(stream.fileno()).st_size


def _refuse_missing_part(path: Union[Path, str], stream: BinaryIO) -> Optional[int]:
    """Return the samples that were counted on the way, of MP3 files whose header does not tell their number."""
    fault, counted = inspect_container(stream)
    if fault is not None:
        raise UnreadableAudio(f"{path}: {fault}; {REPLACE}")
    return counted


def _refuse_other_formats(path: Union[Path, str], sound: soundfile.SoundFile) -> None:
    if sound.format not in _FORMATS:
        raise UnreadableAudio(
            f"{path}: in the format {sound.format}, which does not tell whether a file is complete; "
            "convert it, e.g. with 'sox', or remove the file"
        )


@contextlib.contextmanager
def _decoder(
    path: Union[Path, str], source: Union[int, BinaryIO], size: int, kind: Type[soundfile.SoundFile]
) -> Iterator[soundfile.SoundFile]:
    """Decode an open file, or its bytes, with libsndfile."""
    if size == 0:
        raise UnreadableAudio(f"{path}: an empty file; {REPLACE}")
    try:
        with kind(source, closefd=False) as sound:
            if has_length(sound) and sound.frames > size * _SAMPLES_PER_BYTE:
                raise UnreadableAudio(f"{path}: damaged: its header promises {sound.frames} samples in {size} bytes; {REPLACE}")
            yield sound
    except soundfile.SoundFileError as error:
        raise undecodable(path, error) from None
