"""Sound and pictures of an utterance as data URIs, so that a page needs no other file."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
from matplotlib.image import imsave

from softhubert_plugin.manifests import SAMPLE_RATE

WINDOW, HOP, FFT = 400, 160, 512
_BINS_A_ROW = 2
_DECIBELS = 70.0
_COLUMNS_AT_ONCE = 4096


def wav_uri(samples: np.ndarray) -> str:
    """Return ``(samples,)`` float audio at 16 kHz as 16-bit WAV. Samples beyond full scale are clipped."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(np.rint(samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())
    return _uri("audio/wav", stream.getvalue())


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Compute a spectrogram from windows of 25 ms, every 10 ms, as MFCCs have them.

    Args:
        samples: ``(samples,)`` at 16 kHz; fewer than a window are padded.

    Returns:
        ``(128, frames)`` decibels below the loudest place, from 0 to -70; row 0 is the highest frequency, 8 kHz.
    """
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    parts = []
    for first in range(0, len(windows), _COLUMNS_AT_ONCE):
        power = np.abs(np.fft.rfft(windows[first : first + _COLUMNS_AT_ONCE] * np.hanning(WINDOW), FFT)) ** 2
        parts.append(power[:, : FFT // 2].reshape(len(power), -1, _BINS_A_ROW).sum(2))
    decibels = 10 * np.log10(np.maximum(np.concatenate(parts), 1e-10)).T[::-1]
    below: np.ndarray = np.maximum(decibels - decibels.max(), -_DECIBELS)
    return below


def spectrogram_uri(samples: np.ndarray) -> str:
    """Return the spectrogram of ``(samples,)`` as PNG, a pixel per frame."""
    return _png(spectrogram(samples), "magma", -_DECIBELS, 0.0)


def posteriorgram_uri(posteriors: np.ndarray) -> str:
    """Return ``(rows, frames)`` probabilities as PNG, a pixel each. Square roots are shown, so that small probabilities are seen."""
    return _png(np.sqrt(posteriors), "Blues", 0.0, 1.0)


def _png(values: np.ndarray, colours: str, low: float, high: float) -> str:
    stream = io.BytesIO()
    imsave(stream, values, cmap=colours, vmin=low, vmax=high, format="png")
    return _uri("image/png", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
