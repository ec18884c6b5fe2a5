"""Whether audio can be used: readable, at the right rate, of the length that its manifest says, and long enough for a frame.

Only headers are read here. The manifest commands check files by path, the later stages check what a manifest lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

import soundfile

from softhubert_plugin.audio.threads import soundfile_threads
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

THREADS = 8  # headers are read faster side by side, most of all from a network file system


class UnreadableAudio(SoftHubertError):
    """A file that is not audio, or holds none."""


def audio_length(path: Path, *, sample_rate: int = SAMPLE_RATE) -> int:
    """The length of a file in samples, from its header.

    Args:
        sample_rate: the rate it must have, in Hz.

    Raises:
        UnreadableAudio: it is missing, cannot be read, or has no samples.
        SoftHubertError: it has another rate.
    """
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if not path.exists():
            raise UnreadableAudio(f"{path}: no such audio file; restore it or write the manifest again") from None
        raise UnreadableAudio(f"{path}: not readable as audio ({error}); replace or remove the file") from None
    if header.frames == 0:
        raise UnreadableAudio(f"{path}: audio without a single sample; replace or remove the file")
    if header.samplerate != sample_rate:
        raise SoftHubertError(
            f"{path}: sampled at {header.samplerate} Hz, expected {sample_rate} Hz; "
            f"resample it, e.g. 'sox {path.name} -r {sample_rate} out.flac'"
        )
    return int(header.frames)


def audio_lengths(paths: Sequence[Path]) -> List[int]:
    """The length of each file in samples.

    Raises:
        SoftHubertError: as :func:`audio_length`.
    """
    with soundfile_threads(THREADS) as pool:
        return list(pool.map(audio_length, paths))


def readable_lengths(paths: Sequence[Path]) -> Tuple[Dict[Path, int], List[str]]:
    """The lengths of the files that can be read, and for each of the others what is wrong with it.

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
    """Read every audio file's header and compare it with the manifest.

    Raises:
        SoftHubertError: a file is missing or unreadable, has another sample rate, or another length than the manifest says.
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
    """Every utterance must give at least one frame.

    Args:
        samples: how many samples one frame needs.

    Raises:
        SoftHubertError: an utterance is shorter.
    """
    for index in indices:
        if manifest.sizes[index] < samples:
            raise SoftHubertError(
                f"{manifest.audio_path(index)}: {manifest.sizes[index]} samples, too short for a single frame ({samples} samples); "
                f"remove it from {manifest.path} (line {index + 2})"
            )
