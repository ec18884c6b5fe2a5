"""Sound files in many formats, whole and damaged, for the tests of the door for audio."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Dict

import numpy as np
import soundfile

# File name: what soundfile needs to know to write it. These are the formats whose files tell whether they are complete.
FORMATS: Dict[str, Dict[str, Any]] = {
    "pcm.flac": {},
    "24bit.flac": {"subtype": "PCM_24"},
    "pcm.wav": {},
    "24bit.wav": {"subtype": "PCM_24"},
    "8bit.wav": {"subtype": "PCM_U8"},
    "float.wav": {"subtype": "FLOAT"},
    "double.wav": {"subtype": "DOUBLE"},
    "ulaw.wav": {"subtype": "ULAW"},
    "extensible.wav": {"format": "WAVEX"},
    "large.wav": {"format": "RF64"},
    "bigendian.wav": {"endian": "BIG"},
    "sony.w64": {},
    "apple.aiff": {},
    "float.aiff": {"subtype": "FLOAT"},
    "sun.au": {},
    "core.caf": {},
    "alac.caf": {"subtype": "ALAC_16"},
    "timit.wav": {"format": "NIST"},
    "vorbis.ogg": {},
    "opus.ogg": {"format": "OGG", "subtype": "OPUS"},
    "constant.mp3": {"bitrate_mode": "CONSTANT", "compression_level": 0.5},
    "variable.mp3": {"bitrate_mode": "VARIABLE", "compression_level": 0.5},
}
SAMPLES = 24_000


def waveform(seed: int = 0, samples: int = SAMPLES) -> np.ndarray:
    """A tone in noise, ``(samples,)``. Its second half is louder, so that bitrates vary."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    loud = np.where(np.arange(samples) < samples // 2, 0.01, 0.3)
    return loud * (np.sin(2 * np.pi * 220 * time) + 0.3 * rng.standard_normal(samples))


def write_audio(folder: Path, name: str, rate: int = 16_000, channels: int = 1) -> Path:
    """Write one of ``FORMATS`` to a folder, with the same waveform in every channel."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(folder / name), np.stack([waveform()] * channels, axis=1), rate, **FORMATS[name])
    return folder / name


def without_length(flac: bytes) -> bytes:
    """Clear the number of samples in a FLAC file's header, as a program leaves it that writes to a pipe."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def with_data_size(wav: bytes, size: int) -> bytes:
    """Set the promised number of bytes of a WAV file's samples."""
    at = wav.index(b"data") + 4
    return wav[:at] + struct.pack("<I", size) + wav[at + 4 :]


def without_first_frame(mp3: bytes) -> bytes:
    """Remove the frame of an MP3 file that holds its length."""
    return mp3[mp3.index(mp3[:2], 4) :]
