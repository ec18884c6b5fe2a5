"""The unit of time of alignments that do not name it: ``.lab`` and ``.phn`` files, and frame lists.

One corpus has one unit. It is the one by which the last labels of its files end as near to the end of the audio as possible, and it is
refused where another unit fits much better. Nothing is guessed from a single file against the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from softhubert_plugin.errors import SoftHubertError

# Units per second.
UNITS = {1.0: "seconds", 1e3: "milliseconds", 16e3: "samples at 16 kHz", 1e7: "units of 100 ns"}
# What other tools and recordings at other rates give. They are too near to UNITS to be told from an alignment that leaves out silence.
_OTHERS = {
    50.0: "frames of 20 ms", 80.0: "frames of 12.5 ms", 1e2: "frames of 10 ms", 2e2: "frames of 5 ms", 1e6: "microseconds",
    8e3: "samples at 8 kHz", 11025.0: "samples at 11.025 kHz",
    22050.0: "samples at 22.05 kHz", 24e3: "samples at 24 kHz", 32e3: "samples at 32 kHz", 44100.0: "samples at 44.1 kHz",
    48e3: "samples at 48 kHz", 96e3: "samples at 96 kHz",
}  # fmt: skip
# A file fits a unit if its last label ends this near to the end of the audio, as a share of its length or in seconds.
_NEAR = 0.01
NEAR_SECONDS = 0.05
_MOST = 0.9
FRAME_RATES = (50.0, 100.0)


@dataclass(frozen=True)
class Clock:
    """How an alignment's numbers become seconds.

    Attributes:
        per_second: units per second.
        name: the unit in words.
        shift: seconds added to every time; a time below 0 becomes 0.
    """

    per_second: float = 1.0
    name: str = "seconds"
    shift: float = 0.0

    def seconds(self, times: np.ndarray) -> np.ndarray:
        """Convert ``(n,)`` times to seconds."""
        scaled = times / self.per_second
        return np.maximum(scaled + self.shift, 0.0) if self.shift else scaled


def unit_name(per_second: float) -> str:
    """Name a unit."""
    return UNITS.get(per_second) or _OTHERS.get(per_second) or f"units of 1/{per_second:g} s"


def lab_clock(ends: Sequence[float], seconds: Sequence[float], source: object) -> Clock:
    """Find the unit of a corpus of ``.lab`` files.

    Args:
        ends: end of the last label of each file, in its own unit.
        seconds: length of the audio of each file.
        source: what an error names.

    Raises:
        SoftHubertError: a unit that is not among :data:`UNITS` fits the audio much better than any of them.
    """
    last, lengths = np.asarray(ends, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if not (last > 0).any():
        return Clock()
    ratio = float(np.median((last / lengths)[last > 0]))
    unit = min(UNITS, key=lambda unit: abs(math.log(ratio / unit)))
    if not _most_fit(last, lengths, unit):
        other = next((rate for rate in _OTHERS if _most_fit(last, lengths, rate)), None)
        if other is not None:
            raise SoftHubertError(
                f"{source}: the first alignment ends at {last[0]:g} and its audio at {lengths[0]:.2f} s: as {unit_name(unit)} it ends at "
                f"{last[0] / unit:.2f} s, but {unit_name(other)} fit; give --units-per-second {other:g} (or {unit:g} if it is right)"
            )
    return Clock(unit, unit_name(unit))


def fitting_unit(end: float, seconds: float) -> Optional[float]:
    """The unit by which a single alignment ends where the audio does; ``None`` if there is none."""
    return next((unit for unit in (*UNITS, *_OTHERS) if bool(_fits(np.asarray(end), np.asarray(seconds), unit))), None)


def frame_list_clock(frames: Sequence[float], seconds: Sequence[float], source: object, frame_centre: float) -> Clock:
    """Find the frame rate of a frame list.

    Interval ``i`` is centred on the centre of frame ``i``. Features of the same rate thus get the list as it is, and features of half the
    rate get every second phone of it.

    Args:
        frames: number of phones of each utterance.
        seconds: length of its audio.
        source: what an error names.
        frame_centre: centre of the first frame, in seconds.

    Raises:
        SoftHubertError: the rate is not one of :data:`FRAME_RATES`.
    """
    found = sum(frames) / sum(seconds) if seconds else FRAME_RATES[-1]
    rate = min(FRAME_RATES, key=lambda rate: abs(rate - found))
    if abs(found / rate - 1) > 0.1:
        raise SoftHubertError(f"{source}: {found:.1f} phones per second of audio, expected 100 or 50; give the list of these utterances")
    return Clock(rate, f"frames of {1000 / rate:g} ms", frame_centre - 0.5 / rate)


def _fits(ends: np.ndarray, seconds: np.ndarray, unit: float) -> np.ndarray:
    return np.abs(ends / unit - seconds) <= np.maximum(_NEAR * seconds, NEAR_SECONDS)


def _most_fit(ends: np.ndarray, seconds: np.ndarray, unit: float) -> bool:
    return float(_fits(ends, seconds, unit).mean()) >= _MOST
