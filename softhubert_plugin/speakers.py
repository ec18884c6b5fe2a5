"""Who speaks in each utterance: one rule for every command that divides, counts or resamples speakers.

The first of these that there is decides:

1. ``{split}.spk`` beside the manifest: one line per utterance, whose first field (up to a tab) is the speaker;
2. ``--speaker-from``: a regular expression whose first group is the speaker, or the word ``folder``;
3. a guess from the names, which callers announce, because a guess can be wrong.

The guess takes the file name up to its first ``-`` (``84-121123-0001`` is by ``84``), or else up to its first ``_`` (``p225_001`` is by
``p225``). A bare number is a speaker only if a folder has that name too, as in ``4800/10003/4800_10003_000000``, or if only numbers follow,
as in LibriSpeech: in ``7_jackson_0`` and ``7-jackson-0`` it is a digit that was spoken. Apart from LibriSpeech, what is the same in all
names, such as the ``common`` of ``common_voice_en_1``, is no speaker. Names without ``-`` and ``_``, such as ``FCJF0/SA1``, are by the
folder they are in.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import List, Optional, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest, read_lines

FOLDER = "folder"
_LIBRISPEECH = re.compile("[0-9]+(-[0-9]+){1,2}")
_NAMED = 3  # how many speakers a sentence names


@dataclass(frozen=True)
class Speakers:
    """The speakers of some utterances.

    Attributes:
        names: the speaker of each utterance.
        source: where they come from, in words.
        guessed: whether they come from a guess.
    """

    names: List[str]
    source: str
    guessed: bool = False

    def described(self) -> str:
        """Say in one sentence where the speakers come from, how many they are, and name some."""
        known = sorted(set(self.names))
        some = ", ".join(known[:_NAMED]) + (", …" if len(known) > _NAMED else "")
        advice = "; give --speaker-from or a .spk file if that is wrong" if self.guessed else ""
        return (
            f"speakers {self.source}: {len(known)} speaker{'s' if len(known) != 1 else ''} in {len(self.names)} utterances ({some}){advice}"
        )

    def of(self, utterances: Sequence[int]) -> Speakers:
        """Return the speakers of some of the utterances, in the given order."""
        return Speakers([self.names[index] for index in utterances], self.source, self.guessed)


def speakers_of(manifest: Manifest, speaker_from: Optional[str] = None) -> Speakers:
    """Find the speaker of each utterance of a manifest.

    Args:
        speaker_from: the value of ``--speaker-from``.

    Raises:
        SoftHubertError: the ``.spk`` file does not fit the manifest, ``speaker_from`` is not usable or does not fit an utterance, or the
            names do not tell the speaker.
    """
    found = known_speakers(manifest, speaker_from)
    if found is None:
        raise SoftHubertError(
            f"{manifest.path}: names such as {manifest.names[0]!r} do not let the speakers be guessed; give --speaker-from REGEX (its "
            f"first group is the speaker, such as '_([^_]+)_'), --speaker-from folder, or a {spk_path(manifest.path).name} beside it"
        )
    return found


def known_speakers(manifest: Manifest, speaker_from: Optional[str] = None) -> Optional[Speakers]:
    """Find the speaker of each utterance as :func:`speakers_of`, but return ``None`` where the names do not tell."""
    ids = [manifest.utterance_id(index) for index in range(len(manifest))]
    if not spk_path(manifest.path).exists():
        return speakers_from_names(manifest.names, ids, speaker_from)
    if speaker_from is not None:
        _pattern(speaker_from)
    unused = "" if speaker_from is None else f" (--speaker-from {speaker_from} is not used)"
    return Speakers(_read_spk(manifest, ids), f"from {spk_path(manifest.path).name}{unused}")


def speakers_from_names(names: Sequence[str], ids: Sequence[str], speaker_from: Optional[str] = None) -> Optional[Speakers]:
    """Find speakers where there is no manifest, or no ``.spk`` beside it.

    Args:
        names: relative path of each utterance, or its id if the path is not known.
        ids: file name of each utterance, without folder and extension.

    Returns:
        The speakers; ``None`` if ``speaker_from`` is not given and the names do not tell.

    Raises:
        SoftHubertError: ``speaker_from`` is not usable, or does not fit an utterance.
    """
    if speaker_from is None:
        return _guess(names, ids)
    if speaker_from == FOLDER:
        return Speakers([_folder(name) for name in names], "from --speaker-from folder")
    pattern = _pattern(speaker_from)
    # An expression for file names may fit a path as well, but with other speakers: '^([^-]+)' is one. So names are tried first.
    for candidates in (ids, names):
        matches = [pattern.search(candidate) for candidate in candidates]
        if all(matches):
            break
    found = []
    for name, match in zip(names, matches):
        if match is None or not match.group(1):
            raise SoftHubertError(
                f"--speaker-from {speaker_from}: finds no speaker in {name!r}; give an expression whose first group is the speaker, for "
                "every utterance, or 'folder'"
            )
        found.append(match.group(1))
    return Speakers(found, f"from --speaker-from {speaker_from}")


def announce(speakers: Speakers) -> None:
    """Print on stderr where the speakers come from, unless they come from a ``.spk`` file alone."""
    if speakers.guessed or "--speaker-from" in speakers.source:
        print(f"softhubert: {speakers.described()}", file=sys.stderr, flush=True)


def spk_path(manifest_path: PathLike) -> Path:
    """Return the path of the speakers' file that belongs to a manifest."""
    return Path(manifest_path).with_suffix(".spk")


def _read_spk(manifest: Manifest, ids: Sequence[str]) -> List[str]:
    path = spk_path(manifest.path)
    lines = read_lines(path, expected=len(manifest), of=manifest.path)
    found = [line.partition("\t")[0].strip() for line in lines]
    if "" in found:
        raise SoftHubertError(f"{path}, line {found.index('') + 1}: expected a speaker, found none; name the speaker of every utterance")
    fields = [line.split() for line in lines]
    begins_with_it = all(len(words) > 1 and words[0] == name for words, name in zip(fields, ids))
    # Where nothing repeats in the second column either, every recording has a speaker of its own, and may be named after it.
    if begins_with_it and len({words[1] for words in fields}) < len(fields):
        raise SoftHubertError(
            f"{path}: its lines begin with the utterance, as Kaldi's utt2spk does; expected the speaker first: keep the second column only"
        )
    return found


def _pattern(speaker_from: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(speaker_from)
    except (re.error, OverflowError, RecursionError) as error:
        raise SoftHubertError(f"--speaker-from {speaker_from}: not a regular expression ({error}); correct it, or give 'folder'") from None
    if speaker_from != FOLDER and not pattern.groups:
        raise SoftHubertError(f"--speaker-from {speaker_from}: has no group; put the part that is the speaker into parentheses")
    return pattern


def _folder(name: str) -> str:
    folder = PurePosixPath(name).parent.name
    if not folder:
        raise SoftHubertError(f"--speaker-from folder: {name!r} is in no folder; give a regular expression, or a .spk file")
    return folder


def _guess(names: Sequence[str], ids: Sequence[str]) -> Optional[Speakers]:
    guesses = []
    for separator in "-_":
        found = [name.partition(separator)[0] for name in ids]
        if not all(speaker and separator in name for speaker, name in zip(found, ids)):
            continue
        guess = Speakers(found, f"guessed from file names up to the first '{separator}'", guessed=True)
        if all(speaker in PurePosixPath(name).parts[:-1] for speaker, name in zip(found, names)):
            return guess
        as_in_librispeech = all(_LIBRISPEECH.fullmatch(name) for name in ids)
        if as_in_librispeech or not (len(set(found)) == 1 < len(found) or all(speaker.isdigit() for speaker in found)):
            guesses.append(guess)
    if guesses:
        return guesses[0]
    folders = [PurePosixPath(name).parent.name for name in names]
    if all(folders) and len(set(folders)) > 1 and not any(re.search("[-_]", name) for name in ids):
        return Speakers(folders, "guessed from the folders of the files", guessed=True)
    return None
