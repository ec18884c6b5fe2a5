"""Find out which files a corpus's utterances are in: recordings that are used as they are, or segments that are cut out of them.

A recording that is an utterance as it is goes through the same check as in every other command. Only its segments are cut, and only
``convert_to`` lets a whole recording be converted to 16 kHz and one channel.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from softhubert_plugin.audio.check import audio_length
from softhubert_plugin.audio.opening import UnreadableAudio
from softhubert_plugin.audio.resample import describe_clipped
from softhubert_plugin.audio.threads import soundfile_threads
from softhubert_plugin.corpora.listed import Faults, Listed
from softhubert_plugin.corpora.segments import WORKERS, Header, Segment, check_targets, cut_segments, read_header, target_in
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE, refuse_name

WHOLE_SECONDS = 0.01  # a segment whose ends are this near to those of the recording is the recording
OVERSHOOT_SECONDS = 0.05  # times are rounded; a segment that ends this little after its recording ends with it


class Place(NamedTuple):
    """Where an utterance's samples are: an audio file that holds nothing else, and its length in samples."""

    path: str
    samples: int


class Placed(NamedTuple):
    """Where all utterances are.

    Attributes:
        root: the folder that all files are below.
        places: one for each utterance; ``None`` if it cannot be used.
        notes: lines that say what was done.
    """

    root: str
    places: List[Optional[Place]]
    notes: List[str]


class _Plan(NamedTuple):
    """The numbers of the utterances that are whole recordings, and the segments to cut with the numbers of their utterances."""

    whole: List[int]
    cut: List[int]
    segments: List[Segment]
    converted: int
    overshooting: int


def place_audio(
    utterances: Sequence[Listed],
    dest: Path,
    *,
    root: Optional[Path],
    convert_to: Optional[Path],
    overshoot: float,
    faults: Faults,
) -> Placed:
    """Find the file of each utterance, and cut or convert what has to be.

    Args:
        utterances: the utterances.
        dest: folder of the manifests; segments are cut to its folder ``audio``.
        root: folder that the manifest's names start from, if all files are below it.
        convert_to: folder for converted recordings; ``None`` to refuse recordings that are not 16 kHz with one channel.
        overshoot: how far a segment may end after its recording, in seconds.
        faults: takes the faults of single utterances.

    Raises:
        SoftHubertError: an utterance is not usable and faults are not to be skipped; a file would be written over; or the manifest cannot
            hold the name of a file or of the root.
    """
    headers = _headers(utterances, convert=convert_to is not None)
    plan = _plan(utterances, headers, dest, convert_to, overshoot, faults)
    _refuse_names([*(utterances[number].audio for number in plan.whole), *(segment.target for segment in plan.segments)], root, dest)
    places: List[Optional[Place]] = [None] * len(utterances)
    _place_whole(utterances, plan.whole, places, faults)
    clashes = check_targets(plan.segments, [utterances[number].where for number in plan.cut])
    for clash in clashes.values():
        faults.add(clash)
    good = [place for place in range(len(plan.segments)) if place not in clashes]
    outcomes = cut_segments(
        [plan.segments[place] for place in good],
        lambda number, problem: faults.add(f"{utterances[plan.cut[good[number]]].where}: {problem}"),
    )
    for place, outcome in zip(good, outcomes):
        if outcome.samples:
            places[plan.cut[place]] = Place(os.path.abspath(plan.segments[place].target), outcome.samples)
    notes = []
    kept = sum(outcome.kept for outcome in outcomes)
    if plan.converted:
        notes.append(f"{convert_to}: {plan.converted} recordings converted to {SAMPLE_RATE // 1000} kHz and one channel")
    if len(good) > plan.converted:
        notes.append(f"{dest / 'audio'}: {len(good) - plan.converted} segments cut out of their recordings")
    if kept:
        notes.append(f"note: {kept} of these files were there already")
    clipped = describe_clipped([outcome.clipped for outcome in outcomes])
    if clipped:
        notes.append(f"note: {clipped}")
    if plan.overshooting:
        notes.append(f"note: {plan.overshooting} segments end up to {overshoot} s after their recordings, and were ended with them")
    return Placed(_root([place.path for place in places if place is not None], root, dest), places, notes)


def _headers(utterances: Sequence[Listed], *, convert: bool) -> Dict[Path, Union[Header, str]]:
    """Read the headers that decide what is cut: those of all recordings, or of those with segments."""
    needed = dict.fromkeys(each.audio for each in utterances if convert or _is_timed(each))
    with soundfile_threads(WORKERS) as pool:
        return dict(zip(needed, pool.map(read_header, needed)))


def _is_timed(utterance: Listed) -> bool:
    return utterance.start > 0 or utterance.end is not None or utterance.channel is not None


def _plan(
    utterances: Sequence[Listed],
    headers: Dict[Path, Union[Header, str]],
    dest: Path,
    convert_to: Optional[Path],
    overshoot: float,
    faults: Faults,
) -> _Plan:
    whole: List[int] = []
    cut: List[int] = []
    segments: List[Segment] = []
    converted = overshooting = 0
    for number, each in enumerate(utterances):
        header = headers.get(each.audio)
        if header is None:
            whole.append(number)
            continue
        problem = header if isinstance(header, str) else _outside(each, header, overshoot)
        if problem is not None or isinstance(header, str):
            faults.add(f"{each.where}: {problem}")
            continue
        overshooting += each.end is not None and each.end * header.rate > header.frames + 1
        if not _is_whole(each, header):
            first, last = _frames(each, header)
            segments.append(Segment(each.audio, first, last, each.channel, target_in(dest / "audio", each.recording, each.name)))
            cut.append(number)
        elif convert_to is not None and not header.fits:
            segments.append(Segment(each.audio, 0, None, None, target_in(convert_to, each.recording)))
            cut.append(number)
            converted += 1
        else:
            whole.append(number)
    return _Plan(whole, cut, segments, converted, overshooting)


def _outside(utterance: Listed, header: Header, overshoot: float) -> Optional[str]:
    """What is wrong with the times and the channel of an utterance; ``None`` if nothing is."""
    seconds = header.frames / header.rate
    end = seconds if utterance.end is None else utterance.end
    if utterance.channel is not None and not 0 <= utterance.channel < header.channels:
        return f"expected one of the {header.channels} channels of {utterance.audio}, counted from 0; found channel {utterance.channel}"
    if not 0 <= utterance.start < min(end, seconds) or end > seconds + overshoot:
        return f"expected a part of {utterance.audio}, which is {seconds:.2f} s long; found {utterance.start:g} to {end:g} s"
    if _frames(utterance, header)[0] >= _frames(utterance, header)[1]:
        return f"{utterance.start:g} to {end:g} s of {utterance.audio} has no samples"
    return None


def _frames(utterance: Listed, header: Header) -> Tuple[int, int]:
    """The first frame of an utterance and the frame after its last."""
    last = header.frames if utterance.end is None else min(header.frames, round(utterance.end * header.rate))
    return round(utterance.start * header.rate), last


def _is_whole(utterance: Listed, header: Header) -> bool:
    seconds = header.frames / header.rate
    all_channels = utterance.channel is None or header.channels == 1
    ends = utterance.end is None or utterance.end >= seconds - WHOLE_SECONDS
    return all_channels and ends and utterance.start <= WHOLE_SECONDS


def _place_whole(utterances: Sequence[Listed], numbers: Sequence[int], places: List[Optional[Place]], faults: Faults) -> None:
    """Check the recordings that are utterances as they are."""

    def length(number: int) -> Union[int, str]:
        try:
            return audio_length(utterances[number].audio, every_sample=True)
        except UnreadableAudio as error:
            return str(error) if os.path.exists(utterances[number].audio) else f"no such audio file: {utterances[number].audio}"
        except SoftHubertError as error:
            raise SoftHubertError(f"{utterances[number].where}: {error}, or give --resample-to DIR to have all converted") from None

    with soundfile_threads(WORKERS) as pool:
        for number, found in zip(numbers, pool.map(length, numbers)):
            if isinstance(found, str):
                faults.add(f"{utterances[number].where}: {found}")
            else:
                places[number] = Place(os.path.abspath(utterances[number].audio), found)


def _refuse_names(files: Sequence[Path], *wanted: Optional[Path]) -> None:
    """Refuse names that the manifest cannot hold, before audio is checked and cut."""
    paths = [os.path.abspath(file) for file in files]
    root = _root(paths, *wanted)
    refuse_name(root, of_root=True)
    for path in paths:
        refuse_name(os.path.relpath(path, root), path=path)


def _root(paths: Sequence[str], *wanted: Optional[Path]) -> str:
    """The first of the wanted folders that all files are below, or else the deepest folder that they are below."""
    for folder in wanted:
        if folder is not None and all(path.startswith(os.path.join(os.path.abspath(folder), "")) for path in paths):
            return os.path.abspath(folder)
    return os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else os.path.abspath(".")
