"""Cut utterances out of recordings of any rate and any number of channels, into 16 kHz FLAC with one channel.

Recordings are opened, checked and resampled as all other audio is, in ``audio/``. Each file that is written has a comment that says what it
was cut from. Another run keeps the files whose comment still fits, so that an interrupted run goes on where it stopped, and a changed list
cuts what changed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import soundfile
from tqdm import tqdm

from softhubert_plugin.audio.check import audio_length, check_last_block
from softhubert_plugin.audio.opening import (
    UnreadableAudio,
    has_length,
    length_of,
    open_audio,
    open_bytes,
    open_complete,
    refuse_without_access,
    undecodable,
)
from softhubert_plugin.audio.resample import convert_file, write_converted
from softhubert_plugin.audio.resampling import one_thread_each, refuse_rate, resampler
from softhubert_plugin.audio.samples import refuse_odd_samples
from softhubert_plugin.audio.threads import soundfile_threads
from softhubert_plugin.corpora.writing import write_flac
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import disk_errors
from softhubert_plugin.manifests import SAMPLE_RATE

WORKERS = min(16, max(8, os.cpu_count() or 1))  # at least some, because most of the time goes to the disk
_MADE_BY = "softhubert segment"  # how the comment starts
_VERSION = 2  # change it if the same segment would be cut differently
_SEGMENTS_PER_TASK = 64  # a long recording is shared among the threads
_BLOCK = 1 << 20  # frames that are read at a time, so that a header that promises too much costs no memory


class Header(NamedTuple):
    """A recording's length in frames, its rate in Hz, its number of channels, and whether it can be used as it is."""

    frames: int
    rate: int
    channels: int
    fits: bool


class Segment(NamedTuple):
    """A part of a recording that is to be cut out.

    Attributes:
        source: the recording.
        first: its first frame.
        last: the frame after its last, in frames of the recording; ``None`` for the whole recording, which is converted as
            ``--resample-to`` converts it.
        channel: the channel to take; ``None`` for the average of all.
        target: the file to write.
    """

    source: Path
    first: int
    last: Optional[int]
    channel: Optional[int]
    target: Path


class Outcome(NamedTuple):
    """What became of a segment.

    Attributes:
        samples: its length in samples at 16 kHz.
        problem: what is wrong with it.
        kept: whether an earlier run had cut it.
        clipped: how many of its samples were beyond full scale and were cut to it.
    """

    samples: int = 0
    problem: str = ""
    kept: bool = False
    clipped: int = 0


def read_header(path: Path) -> Union[Header, str]:
    """Read the header of a recording; return what is wrong with it if it cannot be used. If it tells no length, decode the recording."""
    try:
        with open_complete(path, forward=True) as sound:
            refuse_rate(path, sound.samplerate)
            frames = length_of(path, sound) if has_length(sound) else _counted(sound)
            fits = (sound.samplerate, sound.channels) == (SAMPLE_RATE, 1) and _is_let_in(path)
            return Header(frames, int(sound.samplerate), int(sound.channels), fits)
    except SoftHubertError as error:
        return str(error) if os.path.exists(path) else f"no such audio file: {path}"


def _is_let_in(path: Path) -> bool:
    try:
        return audio_length(path) > 0
    except SoftHubertError:  # it may be of a form that can be converted; otherwise converting says what is wrong
        return False


def _counted(sound: soundfile.SoundFile) -> int:
    return sum(iter(lambda: len(sound.read(_BLOCK, dtype="float32", always_2d=True)), 0))


def cut_segments(segments: Sequence[Segment], fault: Callable[[int, str], None]) -> List[Outcome]:
    """Cut segments, several at a time. Segments that an earlier run cut are kept.

    Args:
        segments: what to cut.
        fault: called with the number of a segment that cannot be cut, and what is wrong with it. It may raise to end the cutting.

    Returns:
        What became of each segment.

    Raises:
        SoftHubertError: a target exists and is not such a segment, or cannot be written.
    """

    def recording(number: int) -> Tuple[str, bool]:
        return str(segments[number].source), segments[number].last is None

    order = sorted(range(len(segments)), key=lambda number: (recording(number), segments[number].first))
    tasks: List[List[int]] = []
    for _, group in itertools.groupby(order, key=recording):
        numbers = list(group)
        tasks += [numbers[start : start + _SEGMENTS_PER_TASK] for start in range(0, len(numbers), _SEGMENTS_PER_TASK)]
    found = [Outcome()] * len(segments)
    progress = tqdm(total=len(segments), desc="cutting", unit="utt", disable=None)
    with one_thread_each(), soundfile_threads(WORKERS) as pool, progress:
        for numbers, outcomes in zip(tasks, pool.map(lambda task: _cut([segments[number] for number in task]), tasks)):
            for number, found[number] in zip(numbers, outcomes):
                if found[number].problem:
                    fault(number, found[number].problem)
            progress.update(len(numbers))
    return found


def _cut(segments: Sequence[Segment]) -> List[Outcome]:
    """Cut segments of one recording, in the order of their starts."""
    source = segments[0].source
    if segments[0].last is None:
        return [_converted(segment) for segment in segments]
    try:
        state = source.stat()
    except OSError as error:
        return [Outcome(problem=f"{source}: cannot be read ({error.strerror})")] * len(segments)
    tags = [_tag(segment, state) for segment in segments]
    found = [_earlier(segment.target, tag) for segment, tag in zip(segments, tags)]
    if all(found):
        return [outcome for outcome in found if outcome]
    try:
        with open_complete(source, forward=True) as sound:
            refuse_without_access(source, sound)
            if has_length(sound):
                check_last_block(source, sound, length_of(source, sound))
            return [outcome or _cut_one(sound, segment, tag) for segment, tag, outcome in zip(segments, tags, found)]
    except UnreadableAudio as error:
        return [outcome or Outcome(problem=str(error)) for outcome in found]


def _converted(segment: Segment) -> Outcome:
    try:
        converted = convert_file(segment.source, segment.target)
    except UnreadableAudio as error:
        return Outcome(problem=str(error))
    return Outcome(converted.samples, kept=converted.kept, clipped=converted.clipped)


def _tag(segment: Segment, source: os.stat_result) -> str:
    """The comment of a segment: a fingerprint of all that its samples depend on."""
    settings = [_VERSION, segment.source.name, source.st_size, source.st_mtime_ns, segment.first, segment.last, segment.channel]
    return f"{_MADE_BY} {hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]}"


def _earlier(target: Path, tag: str) -> Optional[Outcome]:
    """The outcome of an earlier run, if its file is still as it should be.

    Raises:
        SoftHubertError: the target exists, and this program did not write it.
    """
    with disk_errors(target):
        if not target.exists():
            return None
    try:
        with open_audio(target) as sound:
            comment = sound.comment
    except UnreadableAudio:
        comment = ""
    if not comment.startswith(_MADE_BY):
        raise SoftHubertError(f"{target}: exists, and was not cut by this command; choose another folder, or remove the file")
    try:
        return Outcome(audio_length(target), kept=True) if comment == tag else None
    except SoftHubertError:  # damaged since
        return None


def convert_bytes(data: bytes, where: str, target: Path) -> Outcome:
    """Write the audio of a file that is inside another one, such as a data set, unless an earlier run has written it.

    Args:
        data: the bytes of an audio file.
        where: what messages call it.
        target: the file to write.

    Raises:
        SoftHubertError: as :func:`cut_segments`.
    """
    tag = f"{_MADE_BY} {hashlib.sha256(data).hexdigest()[:32]}"
    earlier = _earlier(target, tag)
    if earlier:
        return earlier
    try:
        with open_bytes(data, where) as sound:
            samples, clipped = write_converted(where, sound, target, tag)
            return Outcome(samples, clipped=clipped)
    except UnreadableAudio as error:
        return Outcome(problem=str(error))


def _cut_one(sound: soundfile.SoundFile, segment: Segment, tag: str) -> Outcome:
    assert segment.last is not None
    where = f"{segment.source}, {segment.first / sound.samplerate:.2f} to {segment.last / sound.samplerate:.2f} s"
    try:
        samples = _read(sound, segment, segment.last - segment.first)
    except soundfile.SoundFileError as error:
        return Outcome(problem=f"{where}: {undecodable(segment.source, error)}")
    except UnreadableAudio as error:
        return Outcome(problem=str(error))
    if len(samples) < segment.last - segment.first:
        return Outcome(problem=f"{where}: the recording ends {len(samples) / sound.samplerate:.2f} s after the start; it is damaged")
    resample, _, _ = resampler(sound.samplerate)
    waveform = resample(samples)
    write_flac(segment.target, waveform, comment=tag)
    return Outcome(len(waveform), clipped=int(np.count_nonzero(np.abs(waveform) > 1)))


def _read(sound: soundfile.SoundFile, segment: Segment, wanted: int) -> np.ndarray:
    """Read ``(samples,)`` float32 of one channel, or of the average of all. There are fewer samples if the file ends early."""
    sound.seek(segment.first)
    blocks: List[np.ndarray] = []
    while wanted > 0:
        block = sound.read(min(wanted, _BLOCK), dtype="float32", always_2d=True)
        block = block if segment.channel is None else block[:, [segment.channel]]
        refuse_odd_samples(segment.source, block, segment.first + sum(len(each) for each in blocks))
        blocks.append(block.mean(1))
        wanted -= len(block)
        if not len(block):
            break
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def check_targets(segments: Sequence[Segment], named: Sequence[str]) -> Dict[int, str]:
    """Find segments that would be written over a recording, or over another segment.

    Args:
        segments: all segments.
        named: where each of them is listed, for messages.

    Returns:
        For each segment that shares its target with an earlier one: what is wrong.

    Raises:
        SoftHubertError: a target is one of the recordings.
    """
    sources = {os.path.realpath(segment.source) for segment in segments}
    folders: Dict[Path, str] = {}
    first: Dict[Path, int] = {}
    wrong: Dict[int, str] = {}
    for number, segment in enumerate(segments):
        folder = segment.target.parent
        real = folders.get(folder)
        if real is None:
            real = folders[folder] = os.path.realpath(folder)
        if os.path.join(real, segment.target.name) in sources:
            raise SoftHubertError(f"{segment.target}: is one of the recordings and would be written over; choose another folder")
        earlier = first.setdefault(segment.target, number)
        if earlier != number:
            wrong[number] = f"{named[number]}: would be written to {segment.target}, as {named[earlier]} is; rename one of them"
    return wrong


def target_in(folder: Path, *parts: str) -> Path:
    """The file below ``folder`` for a recording and, optionally, an utterance of it, whatever their names are.

    >>> target_in(Path("d"), "rec/1.wav", "u")
    PosixPath('d/rec/1.wav/u.flac')
    """
    pieces: Tuple[str, ...] = tuple(_safe(piece) for part in parts for piece in part.split("/") if piece not in ("", "."))
    *folders, name = pieces or ("%2F",)  # both may be named "/"
    return folder.joinpath(*folders, f"{name}.flac")


def _safe(name: str) -> str:
    """A name as a file name that is neither hidden nor means another folder, and is not too long."""
    name = "%2E" + name[1:] if name.startswith(".") else name
    if len(name.encode("utf-8")) <= 200:
        return name
    return name[:40] + hashlib.sha256(name.encode("utf-8")).hexdigest()[:32]
