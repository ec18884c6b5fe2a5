"""Check whether audio can be used: it is readable, has the right sample rate and its manifest's length, and is long enough for one frame.

Only headers are read here. The manifest commands check files by path; the later stages check the files that a manifest lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

import soundfile

from softhubert_plugin.audio.threads import soundfile_threads
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

THREADS = 8  # headers are read faster in parallel, above all from a network file system


class UnreadableAudio(SoftHubertError):
    """A file that is missing, is not audio, or has no samples."""


def audio_length(path: Path, *, sample_rate: int = SAMPLE_RATE) -> int:
    """Read the length of a file from its header.

    Args:
        path: the audio file.
        sample_rate: the sample rate that the file must have, in Hz.

    Returns:
        Its length in samples.

    Raises:
        UnreadableAudio: the file is missing, cannot be read, or has no samples.
        SoftHubertError: the file has another sample rate.
    """
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if not path.exists():
            raise UnreadableAudio(f"{path}: no such audio file; restore it or write the manifest again") from None
        raise UnreadableAudio(f"{path}: not readable as audio ({error}); replace or remove the file") from None
    if header.frames == 0:
        raise UnreadableAudio(f"{path}: audio without samples; replace or remove the file")
    if header.samplerate != sample_rate:
        raise SoftHubertError(
            f"{path}: sampled at {header.samplerate} Hz, expected {sample_rate} Hz; "
            f"resample it, e.g. 'sox {path.name} -r {sample_rate} out.flac'"
        )
    return int(header.frames)


def audio_lengths(paths: Sequence[Path]) -> List[int]:
    """Read the length of each file, in samples.

    Raises:
        SoftHubertError: as :func:`audio_length`.
    """
    with soundfile_threads(THREADS) as pool:
        return list(pool.map(audio_length, paths))


def readable_lengths(paths: Sequence[Path]) -> Tuple[Dict[Path, int], List[str]]:
    """Read the lengths of the files that can be read.

    Returns:
        The length in samples of each readable file; and one message per unreadable file, which says what is wrong with it.

    Raises:
        SoftHubertError: a file is not at 16 kHz.
    """

    def length(path: Path) -> Union[int, UnreadableAudio]:
        try:
            return audio_length(path)
        except UnreadableAudio as problem:
            return problem

    with soundfile_threads(THREADS) as pool:
        found = list(zip(paths, pool.map(length, paths)))
    return {path: one for path, one in found if isinstance(one, int)}, [str(one) for _, one in found if not isinstance(one, int)]


def check_audio(manifest: Manifest, *, sample_rate: int = SAMPLE_RATE) -> None:
    """Read the header of every audio file and compare it with the manifest.

    Args:
        sample_rate: the sample rate that every file must have, in Hz.

    Raises:
        SoftHubertError: a file is missing or unreadable, has another sample rate, or has another length than in the manifest.
    """

    def problem(index: int) -> Optional[str]:
        path, line = manifest.audio_path(index), f"{manifest.path}, line {index + 2}"
        try:
            length = audio_length(path, sample_rate=sample_rate)
        except SoftHubertError as error:
            return f"{error} (listed in {line})"
        if length != manifest.sizes[index]:
            return (
                f"{path}: {length} samples, but {line} says {manifest.sizes[index]}; "
                "the audio changed since the manifest was made: write the manifest again"
            )
        return None

    with soundfile_threads(THREADS) as pool:
        for found in pool.map(problem, range(len(manifest))):
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
