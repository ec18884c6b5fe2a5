"""Phone alignments of a manifest's utterances, checked against the audio, as one phone per frame at any frame rate.

Frames and phones are matched in time: frame ``t`` has the phone that is spoken at its centre, ``t / rate + 12.5 ms`` (frames of MFCC and
HuBERT both cover 25 ms). A gap between two intervals is silence. Frames before the first and after the last interval have no phone and
are left out, just as fairseq's script cuts phones and labels to the shorter of the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
from tqdm import tqdm

from softhubert_plugin.alignments.formats import LabelledInterval, read_ctm, read_frame_list, read_lab, read_textgrid
from softhubert_plugin.alignments.phones import PHONE_SETS, SILENCE, fold, phone_set_of
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, without_marks
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

FRAME_CENTRE = 0.0125
UNLABELLED = -1
# Aligners round to the next frame, so an alignment may end this much after the audio.
ROUNDING_SECONDS = 0.05
OVERLAP_SECONDS = 0.001
# An aligner fails on a few utterances; if more than this share is missing, the alignments are of another corpus.
MAX_MISSING = 0.05

_Reader = Callable[[str, float], Optional[List[LabelledInterval]]]


class Alignments:
    """Phones of a manifest's utterances in time.

    Args:
        source: a folder with a ``.TextGrid``, ``.lab`` or ``.phn`` for each utterance (at any depth, named by utterance), a ``.ctm``, or
            fairseq's frame list (a file at 100 or 50 frames per second; the rate is detected).
        manifest: the utterances.
        phone_set: one of :data:`~softhubert_plugin.alignments.phones.PHONE_SETS`; detected from the labels if not given.

    Attributes:
        phones: the names of the phones, in the order of their numbers.
        phone_set: the name of the phone set.
        silence: the number of the silence phone.
        missing: utterances of the manifest without alignment.

    Raises:
        SoftHubertError: the source is missing or of no known format, belongs to other utterances, has intervals that overlap or are
            outside the audio, or has labels of no known set.
    """

    def __init__(self, source: PathLike, manifest: Manifest, *, phone_set: Optional[str] = None) -> None:
        self.source = Path(source)
        self.manifest = manifest
        if phone_set is not None and phone_set not in PHONE_SETS:
            raise SoftHubertError(f"--phones {phone_set}: expected one of {', '.join(PHONE_SETS)}")
        reader = _reader(self.source, manifest)
        numbers: Dict[str, int] = {}
        self._timed: Dict[int, Tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.missing: List[str] = []
        for index in tqdm(range(len(manifest)), desc="alignments", unit="utt", disable=None):
            name, seconds = manifest.utterance_id(index), int(manifest.sizes[index]) / SAMPLE_RATE
            intervals = reader(name, seconds)
            if intervals is None:
                self.missing.append(name)
                continue
            self._check(name, intervals, seconds)
            starts, ends = np.asarray([(start, end) for start, end, _ in intervals], dtype=np.float64).reshape(-1, 2).T
            labels = np.asarray([numbers.setdefault(label, len(numbers)) for *_, label in intervals], dtype=np.int32)
            self._timed[index] = starts, ends, labels
        if len(self.missing) > MAX_MISSING * len(manifest):
            raise SoftHubertError(
                f"{self.source}: no alignment of {len(self.missing)} of the {len(manifest)} utterances of {manifest.path}, the first "
                f"{self.missing[0]}; give the alignments of these utterances, or a manifest of the aligned utterances"
            )
        self.phone_set = phone_set or phone_set_of(numbers, self.source)
        folded = {label: fold(label, self.phone_set) for label in numbers}
        unknown = [label for label, phone in folded.items() if phone is None]
        if unknown:
            raise SoftHubertError(f"{self.source}: {unknown[0]!r} is not a phone of the set {self.phone_set}; give another --phones")
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

    def _check(self, name: str, intervals: List[LabelledInterval], seconds: float) -> None:
        """Check that an utterance's intervals are in order and within the audio of ``seconds``."""
        where = f"{self.source}: the alignment of {name}"
        if not intervals:
            raise SoftHubertError(f"{where} is empty; align it again or remove it from {self.manifest.path}")
        previous = 0.0
        for start, end, label in intervals:
            if end < start or start < previous - OVERLAP_SECONDS:
                raise SoftHubertError(
                    f"{where} has overlapping intervals: {label!r} from {start:.4f} to {end:.4f} s, after one until {previous:.4f} s; "
                    "align it again"
                )
            previous = end
        if previous > seconds + ROUNDING_SECONDS or intervals[0].start < 0:
            raise SoftHubertError(
                f"{where} goes from {intervals[0].start:.2f} to {previous:.2f} s, but the audio is {seconds:.2f} s long; "
                "give the alignment of this recording"
            )


def _reader(source: Path, manifest: Manifest) -> _Reader:
    """A function from an utterance's name and length in seconds to its intervals, or to ``None`` if the source has none for it."""
    if source.is_dir():
        return _folder_reader(source)
    if not source.exists():
        raise SoftHubertError(f"{source}: no such alignments; give a folder of .TextGrid or .lab files, a .ctm, or fairseq's frame list")
    with open(source, encoding="utf-8", errors="replace") as stream:
        line = without_marks(stream.readline())
    if len(line.split("\t")) == 2 and len(line.split()) == 2:
        return _frame_list_reader(source, manifest)
    if len(line.split()) >= 5:
        timed = read_ctm(source)
        return lambda name, seconds: timed.get(name)
    raise SoftHubertError(
        f"{source}: expected a CTM ('utterance channel start duration phone') or a frame list ('utterance<TAB>phone,phone,…'), "
        f"found {line[:40]!r}; give a file in one of these formats"
    )


def _folder_reader(source: Path) -> _Reader:
    for suffixes in ((".textgrid",), (".lab", ".phn")):
        paths: Dict[str, Path] = {}
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in suffixes:
                if path.stem in paths:
                    raise SoftHubertError(f"{path}: {paths[path.stem]} is of the same utterance; keep one of them")
                paths[path.stem] = path
        if paths:
            break
    else:
        raise SoftHubertError(f"{source}: no .TextGrid, .lab or .phn files in it or below; give the folder of the alignments")

    def read(name: str, seconds: float) -> Optional[List[LabelledInterval]]:
        if name not in paths:
            return None
        return read_textgrid(paths[name]) if suffixes == (".textgrid",) else read_lab(paths[name], seconds)

    return read


def _frame_list_reader(source: Path, manifest: Manifest) -> _Reader:
    listed = read_frame_list(source)
    known = [index for index in range(len(manifest)) if manifest.utterance_id(index) in listed]
    seconds = sum(int(manifest.sizes[index]) for index in known) / SAMPLE_RATE
    found = sum(len(listed[manifest.utterance_id(index)]) for index in known) / seconds if known else 100.0
    rate = min((50.0, 100.0), key=lambda rate: abs(rate - found))
    if abs(found / rate - 1) > 0.1:
        raise SoftHubertError(f"{source}: {found:.1f} phones per second of audio, expected 100 or 50; give the list of these utterances")

    def read(name: str, seconds: float) -> Optional[List[LabelledInterval]]:
        if name not in listed:
            return None
        # Interval i is centred on frame i's centre. Features of the same rate thus get the list as it is, and features of half the rate
        # get every second phone of it.
        first = FRAME_CENTRE - 0.5 / rate
        return [
            LabelledInterval(max(0.0, first + place / rate), first + (place + 1) / rate, phone) for place, phone in enumerate(listed[name])
        ]

    return read
