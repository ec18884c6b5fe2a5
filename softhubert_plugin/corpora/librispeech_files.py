"""Read LibriSpeech's subsets from disk, and check them against the corpus's own list of speakers. torchaudio downloads them."""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from tqdm import tqdm

from softhubert_plugin.audio.check import audio_lengths
from softhubert_plugin.corpora.writing import Utterance
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.folders import is_hidden
from softhubert_plugin.manifests import SAMPLE_RATE, refuse_name
from softhubert_plugin.text_files import read_lines_of

SUBSETS = ("dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360", "train-other-500")
_TOLERANCE = 0.02  # share of a speaker's minutes; the list is rounded, and was made before the speech was cut into utterances


class Entry(NamedTuple):
    """An utterance, with the subset, speaker and chapter that it comes from."""

    subset: str
    speaker: int
    chapter: int
    utterance: Utterance


class Speaker(NamedTuple):
    """What SPEAKERS.TXT says about a speaker."""

    sex: str
    subset: str
    minutes: float


def find_subset(root: PathLike, subset: str, *, download: bool = False, partial: bool = False) -> Tuple[List[Entry], str]:
    """Find the utterances of a subset.

    Args:
        root: the folder that contains ``LibriSpeech/``.
        subset: name of the subset, such as ``dev-clean``.
        download: download the subset if it is missing.
        partial: accept speakers whose speech is incomplete.

    Returns:
        The utterances in the corpus's own order; and a phrase that says how many of the subset's speakers they cover.

    Raises:
        SoftHubertError: the subset is unknown, missing, incomplete or different from SPEAKERS.TXT; its download failed; or an audio file
            is damaged or not at 16 kHz.
    """
    if subset not in SUBSETS:
        raise SoftHubertError(f"{subset}: no such subset of LibriSpeech; expected one of {', '.join(SUBSETS)}")
    folder = Path(root) / "LibriSpeech"
    refuse_name(os.path.abspath(folder), of_root=True)
    if not (folder / subset).is_dir():
        if not download:
            raise SoftHubertError(f"{folder / subset}: not there; give the folder that contains LibriSpeech/, or --download")
        _fetch(Path(root), subset)
    found = _utterances(folder / subset)
    lengths = audio_lengths([one.path for one in found])
    entries = [
        Entry(subset, one.speaker, one.chapter, Utterance(str(one.path.relative_to(folder)), length, one.text))
        for one, length in zip(found, lengths)
    ]
    return entries, _check_speakers(folder, subset, entries, partial)


def read_speakers(path: PathLike) -> Dict[int, Speaker]:
    """Read SPEAKERS.TXT.

    Returns:
        The speakers by their numbers.

    Raises:
        SoftHubertError: the file is missing, or a line is malformed.
    """
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: not there; every LibriSpeech archive contains it: unpack one again") from None
    speakers = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith(";") or not line.strip():
            continue
        fields = [field.strip() for field in line.split("|", 4)]  # a name may contain a bar
        try:
            speakers[int(fields[0])] = Speaker(fields[1], fields[2], float(fields[3]))
        except (ValueError, IndexError):
            raise SoftHubertError(
                f"{path}, line {number}: expected 'ID | SEX | SUBSET | MINUTES | NAME', found {line[:60]!r}; restore it"
            ) from None
    return speakers


class _Found(NamedTuple):
    path: Path
    speaker: int
    chapter: int
    text: str


def _utterances(subset: Path) -> List[_Found]:
    """Find the utterances of a subset, ``SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac``, in the corpus's own order.

    Hidden names are ignored, such as the ``._*`` files of macOS, which are not audio.

    Raises:
        SoftHubertError: an utterance has another name or no transcript, a transcript is missing, or there is no utterance.
    """
    found = []
    chapters = [folder for folder in subset.glob("*/*") if not is_hidden(folder.name) and not is_hidden(folder.parent.name)]
    for folder in tqdm(chapters, desc=f"reading transcripts of {subset.name}", unit="chapter", disable=None):
        audio = [path for path in folder.glob("*.flac") if not is_hidden(path.name)]
        texts = _transcripts(folder) if audio else {}
        for path in audio:
            speaker, chapter = folder.parent.name, folder.name
            if not re.fullmatch(rf"{re.escape(speaker)}-{re.escape(chapter)}-[0-9]+", path.stem) or not (speaker + chapter).isdigit():
                raise SoftHubertError(f"{path}: expected a name such as 84-121123-0000.flac in the folder 84/121123; remove or rename it")
            if path.stem not in texts:
                raise SoftHubertError(f"{path}: has no line in {folder.name}'s transcript; unpack the archive again")
            found.append(_Found(path, int(speaker), int(chapter), texts[path.stem]))
    if not found:
        raise SoftHubertError(f"{subset}: has no utterances; unpack the archive again, or give --download")
    return sorted(found, key=lambda one: one.path.stem)


def _transcripts(folder: Path) -> Dict[str, str]:
    """Read ``SPEAKER-CHAPTER.trans.txt``: the text of each utterance by its name."""
    path = folder / f"{folder.parent.name}-{folder.name}.trans.txt"
    try:
        lines = read_lines_of(path)
    except OSError:
        raise SoftHubertError(f"{path}: a transcript is missing; unpack the archive again") from None
    texts = {}
    for number, line in enumerate(lines, start=1):
        name, _, text = line.strip().partition(" ")
        if not name:
            continue
        if not text.split():
            raise SoftHubertError(f"{path}, line {number}: expected 'UTTERANCE WORDS', found {line[:60]!r}; unpack the archive again")
        texts[name] = text
    return texts


def _fetch(root: Path, subset: str) -> None:
    """Download and unpack a subset. An archive from an earlier download is checked first, which torchaudio does not do."""
    from torchaudio.datasets import LIBRISPEECH

    archive, unpacked = root / f"{subset}.tar.gz", root / "LibriSpeech" / subset
    _check_archive(archive)
    root.mkdir(parents=True, exist_ok=True)
    try:
        LIBRISPEECH(str(root), url=subset, download=True)
    except (RuntimeError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        _check_archive(archive)
        remedy = f"delete {unpacked}, which is incomplete, and run again" if unpacked.exists() else "nothing was unpacked; run again"
        raise SoftHubertError(f"{archive}: could not be fetched and unpacked ({' '.join(str(error).split())[:200]}); {remedy}") from None


def _check_archive(archive: Path) -> None:
    """Compare an archive with its checksum in torchaudio, if there is one.

    Raises:
        SoftHubertError: the archive differs from the published one.
    """
    from torchaudio.datasets import librispeech

    checksums: Dict[str, str] = getattr(librispeech, "_CHECKSUMS", {})
    expected = next((value for url, value in checksums.items() if url.endswith(f"/{archive.name}")), None)
    if expected is None or not archive.exists():
        return
    found = sha256_of(archive)
    if found != expected:
        raise SoftHubertError(
            f"{archive}: damaged or incomplete (SHA-256 {found[:12]}…, expected {expected[:12]}…); delete this file and run again"
        )


def _check_speakers(folder: Path, subset: str, entries: List[Entry], partial: bool) -> str:
    listed = read_speakers(folder / "SPEAKERS.TXT")
    minutes: Dict[int, float] = {}
    for entry in entries:
        minutes[entry.speaker] = minutes.get(entry.speaker, 0.0) + entry.utterance.samples / SAMPLE_RATE / 60
    for speaker, found in minutes.items():
        if speaker not in listed or listed[speaker].subset != subset:
            said = f"lists in {listed[speaker].subset}" if speaker in listed else "does not list"
            raise SoftHubertError(f"{folder / subset / str(speaker)}: a speaker that SPEAKERS.TXT {said}; unpack the archives again")
        expected = listed[speaker].minutes
        if found < (1 - _TOLERANCE) * expected and not partial:
            raise SoftHubertError(
                f"{folder / subset / str(speaker)}: {found:.2f} minutes of speech, SPEAKERS.TXT says {expected:.2f}; delete "
                f"{folder / subset} and unpack it again (or give --partial to accept what is there)"
            )
    all_speakers = sum(speaker.subset == subset for speaker in listed.values())
    return f"{len(minutes)} of its {all_speakers} speakers" if len(minutes) < all_speakers else f"all {all_speakers} speakers"
