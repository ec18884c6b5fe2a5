"""A thin binding of eSpeak NG's C interface: text in, samples and timed phonemes out.

The library and the voices come from ``espeakng-loader`` on PyPI. Names and numbers are those of eSpeak NG's ``speak_lib.h``.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 0x0001
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_RATE, _PITCH = 1, 3
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """The voice of a speaker.

    Attributes:
        name: eSpeak voice and variant, such as ``en-us+f3``.
        pitch: 0 to 99.
        rate: words per minute.
    """

    name: str
    pitch: int
    rate: int


@dataclass(frozen=True)
class Speech:
    """One synthesised utterance.

    Attributes:
        samples: ``(samples,)`` int16.
        sample_rate: sample rate in Hz.
        phonemes: start in seconds and eSpeak's mnemonic of each phoneme.
    """

    samples: np.ndarray
    sample_rate: int
    phonemes: List[Tuple[float, str]]


def speak_all(requests: Sequence[Tuple[str, Voice]]) -> Iterator[Speech]:
    """Synthesise texts, each with its voice, in the given order.

    The same requests always give the same samples, because they run in a new process that has not spoken before. Within a process,
    eSpeak's oscillators and random numbers continue from one utterance to the next and cannot be reset.

    Args:
        requests: texts and voices.

    Yields:
        One utterance per request.

    Raises:
        SoftHubertError: eSpeak NG is missing, does not work on this machine, or cannot speak a request.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_speak, requests, chunksize=16)


_synthesiser: Optional[_Synthesiser] = None


def _speak(request: Tuple[str, Voice]) -> Speech:
    global _synthesiser
    if _synthesiser is None:
        _synthesiser = _Synthesiser()
    return _synthesiser.speak(*request)


class _Synthesiser:
    """eSpeak NG, started once per process.

    Raises:
        SoftHubertError: ``espeakng-loader`` is not installed or does not work on this machine.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise SoftHubertError("the spoken corpus needs eSpeak NG; install it with 'pip install espeakng-loader'") from None
        try:
            self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise SoftHubertError(f"eSpeak NG's library does not load ({error}); install espeakng-loader again") from None
        options = _PHONEME_EVENTS | _DO_NOT_EXIT
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), options)
        if self.sample_rate <= 0:
            raise SoftHubertError("eSpeak NG does not find its voices; install espeakng-loader again")
        self._chunks: List[np.ndarray] = []
        self._events: List[Tuple[float, str]] = []
        self._callback = _Callback(self._receive)  # keep a reference: eSpeak keeps only the bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> Speech:
        """Synthesise one utterance.

        Raises:
            SoftHubertError: eSpeak has no such voice, or fails.
        """
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise SoftHubertError(f"eSpeak NG has no voice {voice.name!r}; install espeakng-loader again")
        self._library.espeak_SetParameter(_RATE, voice.rate, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        self._chunks, self._events = [], []
        encoded = text.encode()
        status = self._library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, _UTF8, None, None)
        if status != 0 or not self._chunks:
            raise SoftHubertError(f"eSpeak NG could not speak {text!r} (status {status}); install espeakng-loader again")
        return Speech(np.concatenate(self._chunks), self.sample_rate, self._events)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            if events[index].type == _EVENT_PHONEME:
                self._events.append((events[index].audio_position / 1000, events[index].id.string.decode("utf-8", "replace")))
            index += 1
        return 0
