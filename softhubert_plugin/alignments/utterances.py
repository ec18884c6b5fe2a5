"""Phone alignments of a manifest's utterances, checked against the audio, as one phone per frame at any frame rate.

Frames and phones are matched in time: frame ``t`` has the phone that is spoken at its centre, ``t / rate + 12.5 ms`` (frames of MFCC and
HuBERT both cover 25 ms). A gap between two intervals is silence. Frames before the first and after the last interval have no phone and
are left out, just as fairseq's script cuts phones and labels to the shorter of the two. Whoever measures says how many they are.

An alignment that does not fit its audio is refused: one that ends after it, covers little of it, or is in another unit of time.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import numpy as np
from tqdm import tqdm

from softhubert_plugin.alignments.clock import Clock, fitting_unit, unit_name
from softhubert_plugin.alignments.formats import LabelledInterval
from softhubert_plugin.alignments.matching import key_of, matched
from softhubert_plugin.alignments.phones import PHONE_SETS, SILENCE, fold, phone_set_of
from softhubert_plugin.alignments.sources import FRAME_CENTRE, open_source
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

UNLABELLED = -1
# Aligners round to the next frame, so an alignment may end this much after the audio.
ROUNDING_SECONDS = 0.05
OVERLAP_SECONDS = 0.001
# An aligner fails on a few utterances; if more than this share is missing, the alignments are of another corpus.
MAX_MISSING = 0.05
# Some alignments leave out the silence around the speech. If they cover less than this share of the audio, of one utterance or of all
# together, they are of other audio, or in another unit: samples at 8 kHz, taken for samples at 16 kHz, cover half of it.
MIN_COVERAGE, MIN_COVERAGE_OF_ALL = 0.55, 0.6
# Gaps between labels are silence. Where labels take up less than this share of all alignments, they are points, or in another unit.
MIN_LABELLED = 0.1


class _Timed(NamedTuple):
    """``(n,)`` starts, ends and numbers of labels of an utterance."""

    starts: np.ndarray
    ends: np.ndarray
    labels: np.ndarray


class PhoneIntervals(NamedTuple):
    """The phones of an utterance in time, without gaps: each lasts until the next begins, and neighbours are different phones.

    Attributes:
        starts: ``(n,)`` seconds at which each phone begins.
        phones: ``(n,)`` numbers into :attr:`Alignments.phones`.
        end: seconds at which the last phone ends.
    """

    starts: np.ndarray
    phones: np.ndarray
    end: float


class Alignments:
    """Phones of a manifest's utterances in time.

    Args:
        source: a folder with a ``.TextGrid``, ``.lab`` or ``.phn`` for each utterance (at any depth), a ``.ctm``, or fairseq's frame list
            (a file at 100 or 50 frames per second; the rate is detected). :mod:`softhubert_plugin.alignments.matching` says how
            alignments and utterances are joined.
        manifest: the utterances.
        phone_set: one of :data:`~softhubert_plugin.alignments.phones.PHONE_SETS`; detected from the labels if not given.
        units_per_second: unit of time of ``.lab`` and ``.phn`` files; detected if not given (:mod:`softhubert_plugin.alignments.clock`).
        partly: whether any share of the utterances may be without alignment; otherwise a few.

    Attributes:
        phones: the names of the phones, in the order of their numbers.
        phone_set: the name of the phone set.
        silence: the number of the silence phone.
        unit: the unit of time of the source, in words.
        missing: utterances of the manifest without alignment.

    Raises:
        SoftHubertError: the source is missing or of no known format, belongs to other utterances or may belong to several, does not fit
            the audio, has intervals that overlap, or has labels of no known set.
    """

    def __init__(
        self,
        source: PathLike,
        manifest: Manifest,
        *,
        phone_set: Optional[str] = None,
        units_per_second: Optional[float] = None,
        partly: bool = False,
    ) -> None:
        self.source = Path(source)
        self.manifest = manifest
        if phone_set is not None and phone_set not in PHONE_SETS:
            raise SoftHubertError(f"--phones {phone_set}: expected one of {', '.join(PHONE_SETS)}")
        self._most_missing = len(manifest) - 1 if partly else MAX_MISSING * len(manifest)
        self._source = open_source(self.source, units_per_second)
        self.missing: List[str] = []
        self.unit = ""
        self._number = self._matched()
        numbers: Dict[str, int] = {}
        self._timed = self._read(numbers)
        self._check_coverage()
        self.phone_set = phone_set or phone_set_of(numbers, self.source)
        folded = {label: fold(label, self.phone_set) for label in numbers}
        unknown = [label for label, phone in folded.items() if phone is None]
        if unknown:
            raise SoftHubertError(f"{self.source}: {unknown[0]!r} is not a phone of the set {self.phone_set}; give another --phones")
        if set(folded.values()) == {SILENCE}:
            raise SoftHubertError(
                f"{self.source}: every label is silence ({', '.join(repr(label) for label in list(folded)[:3])}); give alignments of phones"
            )
        self.phones: List[str] = sorted({SILENCE, *(phone for phone in folded.values() if phone is not None)})
        number_of = {phone: number for number, phone in enumerate(self.phones)}
        self._phone_of_label = np.asarray([number_of[folded[label] or ""] for label in numbers], dtype=np.int64)
        self.silence = number_of[SILENCE]

    def has(self, index: int) -> bool:
        """Whether utterance ``index`` of the manifest is aligned."""
        return index in self._timed

    def frames(self, index: int, frames: int, rate: float) -> np.ndarray:
        """The phone of each frame of an utterance.

        Args:
            index: the utterance's number in the manifest.
            frames: how many frames the utterance has.
            rate: frames per second.

        Returns:
            ``(frames,)`` int64 numbers into :attr:`phones`, :data:`UNLABELLED` outside the alignment.
        """
        starts, ends, labels = self._timed[index]
        centres = np.arange(frames) / rate + FRAME_CENTRE
        # Half a nanosecond for rounding: a frame whose centre is on a boundary belongs to the interval that starts there.
        place = np.searchsorted(starts, centres + 5e-10, side="right") - 1
        inside = (place >= 0) & (centres < ends[-1])
        place = np.maximum(place, 0)
        phones = np.where(centres + 5e-10 < ends[place], self._phone_of_label[labels[place]], self.silence)
        return np.where(inside, phones, UNLABELLED)

    def intervals(self, index: int) -> PhoneIntervals:
        """The phones of an utterance in time: those that :meth:`frames` gives, whatever the frame rate.

        Args:
            index: the utterance's number in the manifest.
        """
        starts, ends, labels = self._timed[index]
        phones, end = self._phone_of_label[labels], float(ends[-1])
        gaps = 1 + np.flatnonzero(starts[1:] > ends[:-1])
        starts, phones = np.insert(starts, gaps, ends[gaps - 1]), np.insert(phones, gaps, self.silence)
        lasting = np.diff(np.append(starts, end)) > 0
        starts, phones = (starts[lasting], phones[lasting]) if lasting.any() else (starts[:1], phones[:1])
        changes = np.concatenate([[True], phones[1:] != phones[:-1]])
        return PhoneIntervals(starts[changes], phones[changes], end)

    def _matched(self) -> Dict[int, int]:
        """Find the number of each utterance's alignment in the source. Utterances without one go to :attr:`missing`."""
        ids = [self.manifest.utterance_id(index) for index in range(len(self.manifest))]
        times = Counter(ids)
        keys = [key_of(os.path.splitext(name)[0]) for name in self.manifest.names]
        pairs = matched(
            keys, self._source.keys, source=self.source, utterance=self.manifest.names.__getitem__, alignment=self._source.where
        )
        missing = [index for index, number in enumerate(pairs) if number is None]
        self.missing += [ids[index] if times[ids[index]] == 1 else self.manifest.names[index] for index in missing]
        if len(missing) > self._most_missing:
            same = keys[missing[0]].rpartition("/")[2]
            elsewhere = next((number for number, key in enumerate(self._source.keys) if key.rpartition("/")[2] == same), None)
            near = "" if elsewhere is None else f" ({self._source.where(elsewhere)} has its name, but not its folder)"
            raise SoftHubertError(
                f"{self.source}: no alignment of {len(missing)} of the {len(pairs)} utterances of {self.manifest.path}, the first "
                f"{self.missing[0]}{near}{self._source.aside}; give the alignments of these utterances, or a manifest of the aligned "
                "utterances, or --partial-alignments to leave the others out"
            )
        return {index: number for index, number in enumerate(pairs) if number is not None}

    def _read(self, numbers: Dict[str, int]) -> Dict[int, _Timed]:
        """Read and check all alignments, in seconds. Labels get their numbers in ``numbers``."""
        found: Dict[int, _Timed] = {}
        for index, number in tqdm(self._number.items(), desc="alignments", unit="utt", disable=None):
            rows = self._source.read(number)
            if not rows:
                raise SoftHubertError(f"{self._where(index)} is empty; align it again or remove it from {self.manifest.path}")
            found[index] = _timed(rows, numbers)
        clock = self._source.clock([float(timed.ends[-1]) for timed in found.values()], [self._seconds(index) for index in found])
        self.unit = clock.name
        names = list(numbers)
        for index, timed in found.items():
            found[index] = _Timed(clock.seconds(timed.starts), clock.seconds(timed.ends), timed.labels)
            self._check_order(index, found[index], names)
            self._check_extent(index, found[index], clock, float(timed.ends[-1]))
        return found

    def _seconds(self, index: int) -> float:
        return int(self.manifest.sizes[index]) / SAMPLE_RATE

    def _where(self, index: int) -> str:
        return f"{self._source.where(self._number[index])}: the alignment of {self.manifest.names[index]}"

    def _check_order(self, index: int, timed: _Timed, names: List[str]) -> None:
        """Check that no interval starts before the one before it has ended."""
        starts, ends, labels = timed
        before = np.concatenate([[0.0], ends[:-1]])
        wrong = np.flatnonzero((ends < starts) | (starts < before - OVERLAP_SECONDS))
        if not len(wrong):
            return
        place = int(wrong[0])
        found = f"{names[labels[place]]!r} from {starts[place]:.4f} to {ends[place]:.4f} s, after one until {before[place]:.4f} s"
        if place and ends[place] <= starts[place - 1] + OVERLAP_SECONDS:
            raise SoftHubertError(f"{self._where(index)} is not in the order of time: {found}; sort it by time")
        raise SoftHubertError(f"{self._where(index)} has overlapping intervals: {found}; align it again")

    def _check_extent(self, index: int, timed: _Timed, clock: Clock, end: float) -> None:
        """Check that an alignment is within the audio and covers most of it.

        Args:
            end: its end in the unit of the file.
        """
        seconds, first, last = self._seconds(index), float(timed.starts[0]), float(timed.ends[-1])
        if first >= 0 and last <= seconds + ROUNDING_SECONDS and last - first >= MIN_COVERAGE * seconds:
            return
        unit = "" if clock.per_second == 1 else f" (read as {clock.name})"
        advice = "give the alignment of this recording" + (", with its silence" if last <= seconds else "")
        other = fitting_unit(end, seconds) if self._source.unnamed_unit else None
        if other not in (None, clock.per_second):
            advice = f"{unit_name(other)} would fit: convert it, or give --units-per-second {other:g} if all files have this unit"
        raise SoftHubertError(
            f"{self._where(index)} goes from {first:.2f} to {last:.2f} s{unit}, but the audio is {seconds:.2f} s long; {advice}"
        )

    def _check_coverage(self) -> None:
        """Check that the alignments together cover most of the audio."""
        covered = sum(float(timed.ends[-1] - timed.starts[0]) for timed in self._timed.values())
        seconds = sum(self._seconds(index) for index in self._timed)
        if covered < MIN_COVERAGE_OF_ALL * seconds:
            raise SoftHubertError(
                f"{self.source}: the alignments cover {100 * covered / seconds:.0f} % of the audio ({covered:.1f} of {seconds:.1f} s of "
                f"{len(self._timed)} utterances); give the alignments of this audio, with its silence"
            )
        labelled = sum(float((timed.ends - timed.starts).sum()) for timed in self._timed.values())
        if labelled < MIN_LABELLED * covered:
            raise SoftHubertError(
                f"{self.source}: the labels last {labelled:.2f} s of the {covered:.1f} s of the alignments, the rest are gaps; give "
                "intervals that last as long as the phones (a CTM has durations, in seconds)"
            )


def _timed(rows: List[LabelledInterval], numbers: Dict[str, int]) -> _Timed:
    starts, ends = np.asarray([(start, end) for start, end, _ in rows], dtype=np.float64).T
    return _Timed(starts, ends, np.asarray([numbers.setdefault(label, len(numbers)) for *_, label in rows], dtype=np.int32))
