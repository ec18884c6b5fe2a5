"""Resample waveforms to 16 kHz, for every command that converts audio.

The resampler is torchaudio's windowed sinc interpolation with the parameters that its documentation gives for "kaiser_best". PyTorch is
imported when the first file is converted, because most commands that may convert audio find nothing to convert.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Tuple, Union

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

LOWPASS_FILTER_WIDTH = 64  # zero crossings of the filter on each side
ROLLOFF = 0.9475937167399596  # of the lower Nyquist frequency
BETA = 14.769656459379492  # of the filter's Kaiser window
_RATES = range(2_000, 400_000)
_LARGEST_KERNEL = 1 << 24  # numbers; rates without a common divisor need 16,000 filters
_ONE_AT_A_TIME = threading.Lock()  # filters take memory while they are made


def scaled(samples: int, rate: int) -> int:
    """Return the number of samples at 16 kHz that last as long."""
    return -(-samples * SAMPLE_RATE // rate)


def refuse_rate(path: Union[Path, str], rate: int) -> None:
    """Refuse a rate that cannot be converted: filters for rates without a common divisor with 16 kHz take too much memory.

    Raises:
        SoftHubertError: it is such a rate.
    """
    step = rate // math.gcd(rate, SAMPLE_RATE)
    if rate not in _RATES or step * scaled(step, rate) > _LARGEST_KERNEL:
        raise SoftHubertError(f"{path}: sampled at {rate} Hz, which cannot be converted to {SAMPLE_RATE} Hz here; use 'sox'")


def resampler(rate: int) -> Tuple[Callable[[np.ndarray], np.ndarray], int, int]:
    """Make a resampler to 16 kHz, or return the one that was made.

    Returns:
        The resampler of ``(samples,)`` float32; the period of its filters in input samples; and how many samples around an output sample
        they reach, rounded up to whole periods.
    """
    if rate == SAMPLE_RATE:
        return lambda samples: samples, 1, 0
    import torch

    with _ONE_AT_A_TIME:
        transform = _transform(rate)
    step = rate // math.gcd(rate, SAMPLE_RATE)
    reach = LOWPASS_FILTER_WIDTH * max(1.0, rate / SAMPLE_RATE) / ROLLOFF + step
    return lambda samples: transform(torch.from_numpy(samples)).numpy(), step, math.ceil(reach / step) * step


@functools.lru_cache(maxsize=8)
def _transform(rate: int) -> Callable[[torch.Tensor], torch.Tensor]:
    import torchaudio

    made: Callable[[torch.Tensor], torch.Tensor]
    made = torchaudio.transforms.Resample(rate, SAMPLE_RATE, "sinc_interp_kaiser", LOWPASS_FILTER_WIDTH, ROLLOFF, BETA)
    return made


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let PyTorch use one core per file, because the files share the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
