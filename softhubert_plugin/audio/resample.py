"""Convert any audio to what all stages expect: 16 kHz, one channel, as 16-bit FLAC.

Several channels are averaged. A file that is at 16 kHz and has one channel of 16 bits keeps its samples exactly.

Each FLAC file records in a comment what it was made from. A later run keeps the files whose source has not changed. Files appear under
their names only when they are complete, and only files that were made here are ever replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Collection, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

import numpy as np
import soundfile

from softhubert_plugin.audio.check import audio_length
from softhubert_plugin.audio.opening import (
    REPLACE,
    UnreadableAudio,
    counted_by_frames,
    has_length,
    length_of,
    open_audio,
    open_complete,
    undecodable,
)
from softhubert_plugin.audio.resampling import one_thread_each, refuse_rate, resampler, scaled
from softhubert_plugin.audio.samples import refuse_odd_samples
from softhubert_plugin.audio.threads import in_threads
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path, printable
from softhubert_plugin.manifests import SAMPLE_RATE

_BLOCK_SECONDS = 30
_MP3_SLACK = 2_304  # samples; decoders differ in what they count of an MP3 file's first and last frame
_MADE = re.compile(r"softhubert resample 1: ([0-9]+) Hz, ([0-9]+) channels, ([0-9]+) bytes, modified at ([0-9]+) ns, (.+)")


class Source(NamedTuple):
    """What a converted file was made from.

    Attributes:
        rate: its sample rate in Hz.
        channels: number of its channels.
        size: its size in bytes.
        modified: its time of modification in nanoseconds.
    """

    rate: int
    channels: int
    size: int
    modified: int

    def comment(self, path: Path) -> str:
        """The comment of a converted file, which ``_MADE`` reads."""
        numbers = f"{self.rate} Hz, {self.channels} channels, {self.size} bytes, modified at {self.modified} ns"
        return f"softhubert resample 1: {numbers}, {printable(os.path.abspath(path))}"


class Converted(NamedTuple):
    """A converted file.

    Attributes:
        name: its path, relative to the folder of converted files.
        samples: its length in samples at 16 kHz.
        source: what it was made from.
        clipped: number of samples beyond full scale that this run cut to it.
        kept: whether an earlier run made it.
    """

    name: str
    samples: int
    source: Source
    clipped: int = 0
    kept: bool = False


def convert_files(sources: Mapping[str, Path], dest: PathLike, *, skip_unreadable: bool = False) -> Tuple[Dict[str, Converted], List[str]]:
    """Convert files to ``DEST/{name}.flac``, in parallel. Files that an earlier run converted from the same sources are kept.

    Args:
        sources: the files, each under a relative path, whose folders are kept. Of two paths that differ only in their extensions, both
            keep them: ``a/x.wav.flac`` and ``a/x.mp3.flac``.
        dest: folder to write to.
        skip_unreadable: leave out files that cannot be read, instead of refusing them.

    Returns:
        The converted files by the names of their sources, in the given order; and one message per file that was left out.

    Raises:
        UnreadableAudio: a file is missing, cannot be decoded, is cut short, has no samples, or has samples that are not numbers.
        SoftHubertError: a sample rate cannot be converted, or a file of another origin is in the place of a converted one.
    """
    names = flac_names(list(sources))

    def convert(name: str) -> Union[Converted, UnreadableAudio]:
        try:
            return convert_file(sources[name], Path(dest) / names[name], names[name])
        except UnreadableAudio as problem:
            if not skip_unreadable:
                raise
            return problem

    with one_thread_each():
        results = in_threads(convert, sources, workers=len(os.sched_getaffinity(0)), what="converting audio")
        found = list(zip(sources, results))
    return (
        {name: one for name, one in found if isinstance(one, Converted)},
        [str(one) for _, one in found if not isinstance(one, Converted)],
    )


def describe(converted: Collection[Converted]) -> str:
    """Say in one line what kinds of files were converted, and how many samples were clipped."""
    kinds = Counter((one.source.rate, one.source.channels) for one in converted)
    parts = [
        f"{count} file{'s' * (count > 1)} of {rate} Hz and {channels} channel{'s' * (channels > 1)}"
        for (rate, channels), count in kinds.most_common()
    ]
    loud = describe_clipped([one.clipped for one in converted])
    return "converted to 16 kHz and one channel: " + ", ".join(parts) + (f"; {loud}" if loud else "")


def describe_clipped(clipped: Sequence[int]) -> str:
    """Say how many samples were clipped. ``clipped`` has the number of each file. Empty if there were none."""
    files = sum(1 for one in clipped if one)
    return f"{sum(clipped)} samples beyond full scale were clipped, in {files} of the files" if files else ""


def flac_names(names: Sequence[str]) -> Dict[str, str]:
    """Give each relative path of a source the relative path of its FLAC file, all different."""
    chosen = {name: os.path.splitext(name)[0] + ".flac" for name in names}
    while True:
        counts = Counter(chosen.values())
        shared = [name for name, flac in chosen.items() if counts[flac] > 1 and flac != f"{name}.flac"]
        if not shared:
            return chosen
        chosen.update((name, f"{name}.flac") for name in shared)


def convert_file(path: Path, target: Path, name: str = "") -> Converted:
    """Convert one file to ``target``, unless an earlier run did so from the same source.

    Args:
        path: the source.
        target: the file to write.
        name: what the result calls it.

    Raises:
        UnreadableAudio, SoftHubertError: as :func:`convert_files`.
    """
    with open_complete(path, forward=True) as sound:
        status = os.stat(path)
        source = Source(int(sound.samplerate), int(sound.channels), status.st_size, status.st_mtime_ns)
        if _is_made_from(target, source, path):
            with contextlib.suppress(SoftHubertError):  # it was damaged since: make it again
                return Converted(name, audio_length(target), source, kept=True)
        samples, clipped = write_converted(path, sound, target, source.comment(path))
    return Converted(name, samples, source, clipped)


def write_converted(path: Union[Path, str], sound: soundfile.SoundFile, target: Path, comment: str) -> Tuple[int, int]:
    """Convert a file that is open as :class:`~softhubert_plugin.audio.opening.Forward`.

    Args:
        path: what messages call it.
        sound: the open file.
        target: the file to write, with ``comment`` in its header.

    Returns:
        Its length in samples at 16 kHz, and how many of them were beyond full scale and were cut to it.

    Raises:
        UnreadableAudio, SoftHubertError: as :func:`convert_files`.
    """
    samples, clipped = 0, 0
    with _writing(target, comment) as flac:
        for block in _resampled(path, sound):
            samples, clipped = samples + len(block), clipped + int(np.count_nonzero(np.abs(block) > 1))
            flac.write(block)
    return samples, clipped


def _is_made_from(target: Path, source: Source, path: Path) -> bool:
    """Return whether the file in the place of a converted one was made from this source. A changed source, or a file in its place that is
    not audio, gives False.

    Raises:
        SoftHubertError: the file in its place is other audio and must not be replaced.
    """
    try:
        with open_audio(target) as sound:
            comment = sound.comment
    except UnreadableAudio:
        return False
    made = _MADE.fullmatch(comment)
    if made is not None and Source(*map(int, made.groups()[:4])) == source:
        return True
    if made is None or made.group(5) != printable(os.path.abspath(path)) or os.path.samefile(path, target):
        origin = "not made by --resample-to" if made is None else f"made from {made.group(5)}, not from {path}"
        raise SoftHubertError(f"{target}: this audio was {origin}, so it will not be replaced; give --resample-to another folder")
    return False


@contextlib.contextmanager
def _writing(target: Path, comment: str) -> Iterator[soundfile.SoundFile]:
    """Open a 16 kHz FLAC file to write; it appears under its name when it is complete.

    Raises:
        SoftHubertError: it cannot be written.
    """
    try:
        with atomic_path(target) as temporary, soundfile.SoundFile(temporary, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as flac:
            flac.comment = comment
            yield flac
    except (soundfile.SoundFileError, AssertionError, OSError) as error:  # soundfile asserts that everything was written
        reason = getattr(error, "strerror", None) or "the disk may be full"
        raise SoftHubertError(f"{target}: cannot be written ({reason}); make space or give another folder, and run again") from None


def _resampled(path: Union[Path, str], sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yield the samples at 16 kHz block by block. They are the same as if the whole file was resampled at once.

    Raises:
        UnreadableAudio: the file cannot be decoded, has another length than its header promises, or samples that are not numbers.
        SoftHubertError: its sample rate cannot be converted.
    """
    rate = int(sound.samplerate)
    refuse_rate(path, rate)
    resample, step, context = resampler(rate)
    held: np.ndarray = np.zeros(0, dtype=np.float32)
    begin, done, total = 0, 0, 0  # the position of the first held sample, of the first that was not resampled yet, and of the end
    for block, ended in _decoded(path, sound, max(1, _BLOCK_SECONDS * rate // (step * sound.channels)) * step):
        held, total = np.concatenate([held, block]), total + len(block)
        # The filter mixes the last samples of the block with those to come, so they wait for the next block.
        until = total if ended else max(done, (total - context) // step * step)
        output = resample(held)
        yield output[scaled(done - begin, rate) : scaled(until - begin, rate)]
        keep = max(0, until - context) // step * step
        held, begin, done = held[keep - begin :], keep, until


def _decoded(path: Union[Path, str], sound: soundfile.SoundFile, size: int) -> Iterator[Tuple[np.ndarray, bool]]:
    """Yield the average of the channels in blocks of ``size`` samples, and with each whether it is the last, which is shorter."""
    promised = length_of(path, sound) if has_length(sound) else counted_by_frames(sound)
    total, ended = 0, False
    while not ended:
        try:
            block = sound.read(size, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise undecodable(path, error) from None
        refuse_odd_samples(path, block, total)
        total, ended = total + len(block), len(block) < size
        yield block.mean(axis=1), ended
    slack = _MP3_SLACK if sound.format == "MP3" else 0
    if total == 0 or (promised is not None and abs(total - promised) > slack):
        by = "frames hold" if counted_by_frames(sound) is not None else "header promises"
        said = "" if promised is None else f", but its {by} {promised}"
        raise UnreadableAudio(f"{path}: {total} samples can be decoded{said}; {REPLACE}")
