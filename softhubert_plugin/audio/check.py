"""The door: check whether audio can be used. It is complete, has one channel, the right sample rate and its manifest's length.

Every command and the training task pass through here: the manifest commands check files by path, the later stages check the files that a
manifest lists. Headers and last blocks are read. The samples are read only where they may not be numbers, and only by those who ask for it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

import soundfile

from softhubert_plugin.audio.opening import CONVERT, REPLACE, UnreadableAudio, can_seek, length_of, open_complete, refuse_form
from softhubert_plugin.audio.samples import refuse_odd_file
from softhubert_plugin.audio.threads import in_threads
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

THREADS = 8  # files are opened faster in parallel, above all from a network file system


def audio_length(path: Path, *, sample_rate: int = SAMPLE_RATE, every_sample: bool = False) -> int:
    """Check that a file can be used, and return its length.

    Args:
        path: the audio file.
        sample_rate: the sample rate that the file must have, in Hz.
        every_sample: also read all samples of files of floats, which may not be numbers.

    Returns:
        Its length in samples.

    Raises:
        UnreadableAudio: the file is missing, cannot be decoded, is cut short, has no samples, or has samples that are not numbers.
        SoftHubertError: the file has another sample rate, several channels, or an encoding that can only be read from the beginning.
    """
    with open_complete(path) as sound:
        length = length_of(path, sound)
        check_last_block(path, sound, length)
        if every_sample:
            refuse_odd_file(path, sound)
        if sound.samplerate != sample_rate:
            remedy = CONVERT if sample_rate == SAMPLE_RATE else f"resample it, e.g. 'sox {path.name} -r {sample_rate} out.flac'"
            raise SoftHubertError(f"{path}: sampled at {sound.samplerate} Hz, expected {sample_rate} Hz; {remedy}")
        refuse_form(path, sound)
    return length


def check_last_block(path: Path, sound: soundfile.SoundFile, length: int) -> None:
    """Read the last sample of an open file. A decoder of blocks, such as FLAC's, then decodes the whole last block.

    Raises:
        UnreadableAudio: it cannot be read.
        SoftHubertError: a tag in front of the file is in the decoder's way.
    """
    # What cannot be seeked in has a container of known size, which was compared with the file. The frames of MP3 were counted, and its
    # decoder prints complaints about the frames before a place that it seeks.
    if not can_seek(sound) or sound.format == "MP3":
        return
    try:
        sound.seek(length - 1)
        found = len(sound.read(1, dtype="float32"))
    except soundfile.SoundFileError:
        found = 0
    if found != 1 and path.read_bytes()[:3] == b"ID3":
        raise SoftHubertError(f"{path}: has an ID3 tag in front, behind which parts of {sound.format} cannot be found; {CONVERT}")
    if found != 1:
        raise UnreadableAudio(f"{path}: cut short or damaged: its header promises {length} samples, but the last cannot be read; {REPLACE}")


def audio_lengths(paths: Sequence[Path]) -> List[int]:
    """Check every file and read its length, in samples.

    Raises:
        SoftHubertError: as :func:`audio_length`, which reads every sample.
    """
    return list(in_threads(partial(audio_length, every_sample=True), paths, workers=THREADS, what="checking audio"))


def readable_lengths(paths: Sequence[Path]) -> Tuple[Dict[Path, int], List[str]]:
    """Check every file and read the lengths of those that can be read.

    Returns:
        The length in samples of each readable file; and one message per unreadable file, which says what is wrong with it.

    Raises:
        SoftHubertError: a readable file is not at 16 kHz or has several channels.
    """

    def length(path: Path) -> Union[int, UnreadableAudio]:
        try:
            return audio_length(path, every_sample=True)
        except UnreadableAudio as problem:
            return problem

    found = list(zip(paths, in_threads(length, paths, workers=THREADS, what="checking audio")))
    return {path: one for path, one in found if isinstance(one, int)}, [str(one) for _, one in found if not isinstance(one, int)]


def check_audio(manifest: Manifest, *, sample_rate: int = SAMPLE_RATE, every_sample: bool = False) -> None:
    """Check every audio file, and compare its length with the manifest.

    Args:
        sample_rate: the sample rate that every file must have, in Hz.
        every_sample: as in :func:`audio_length`.

    Raises:
        SoftHubertError: a file is not usable (see :func:`audio_length`), or has another length than in the manifest.
    """

    def problem(index: int) -> Optional[str]:
        path, line = manifest.audio_path(index), f"{manifest.path}, line {index + 2}"
        try:
            length = audio_length(path, sample_rate=sample_rate, every_sample=every_sample)
        except SoftHubertError as error:
            return f"{error} (listed in {line})"
        if length != manifest.sizes[index]:
            return (
                f"{path}: {length} samples, but {line} says {manifest.sizes[index]}; "
                "the audio changed since the manifest was made: write the manifest again"
            )
        return None

    for found in in_threads(problem, range(len(manifest)), workers=THREADS, what="checking audio"):
        if found is not None:
            raise SoftHubertError(found)


def check_long_enough(manifest: Manifest, indices: Iterable[int], samples: int) -> None:
    """Check that every utterance gives at least one frame.

    Args:
        indices: utterances to check, as positions in the manifest.
        samples: number of samples that one frame needs.

    Raises:
        SoftHubertError: an utterance is shorter than one frame.
    """
    for index in indices:
        if manifest.sizes[index] < samples:
            raise SoftHubertError(
                f"{manifest.audio_path(index)}: {manifest.sizes[index]} samples, too short for a single frame ({samples} samples); "
                f"remove it from {manifest.path} (line {index + 2})"
            )
