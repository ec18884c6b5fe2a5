"""Write manifests of Kaldi's data directories, which ESPnet uses too: ``wav.scp``, ``segments``, ``text``, ``utt2spk`` or ``spk2utt``.

Only files are read. A command in ``wav.scp`` is refused and never run.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.corpora.assemble import Wishes, write_corpus
from softhubert_plugin.corpora.listed import Faults, Listed, UtteranceFault, named_inputs, path_from, seconds_from, word_from
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.text_files import numbered_lines

OVERSHOOT_SECONDS_OF_KALDI = 0.5  # the default of its extract-segments
_WHOLE_FILE_END = -1.0  # an end in segments that stands for the end of the recording


class _Line(NamedTuple):
    """A line of one of the files: where it is, and what comes after its first word."""

    where: str
    rest: str


class _Part(NamedTuple):
    """A part of a recording: its name, start and end in seconds, and channel."""

    recording: str
    start: float = 0.0
    end: Optional[float] = None
    channel: Optional[int] = None


def write_kaldi_manifests(folders: Sequence[str], wishes: Wishes) -> str:
    """Write manifests and transcripts of the utterances of data directories, in the order of ``segments`` (or ``wav.scp``).

    Args:
        folders: the directories, ``DIR`` or ``SPLIT=DIR``. Relative paths in ``wav.scp`` start from the working directory, as in Kaldi,
            unless ``wishes`` have a root.
        wishes: what the user wants.

    Returns:
        A report: what was skipped, converted, cut and changed, and the size of each split.

    Raises:
        SoftHubertError: a file is missing or malformed, files disagree, or :func:`write_corpus` refuses the corpus.
    """
    inputs = named_inputs(folders)
    faults = Faults(wishes.skip_unreadable)
    known: Dict[str, str] = {}
    listed = (each for split, folder in inputs for each in _listed(folder, split, wishes.root or Path(), known, faults))
    written = write_corpus(listed, wishes, faults, source=inputs[0][1], overshoot=OVERSHOOT_SECONDS_OF_KALDI)
    return "\n".join(written.report)


def _listed(folder: Path, split: Optional[str], root: Path, known: Dict[str, str], faults: Faults) -> Iterator[Listed]:
    """Iterate over a directory's utterances. ``known`` has the utterances of all directories so far."""
    if not os.path.isdir(folder):
        raise SoftHubertError(f"{folder}: no such folder; give a data directory of Kaldi, such as data/train")
    if not (folder / "wav.scp").is_file():
        raise SoftHubertError(f"{folder}: has no wav.scp; give a data directory with the audio, not with features only")
    recordings = _lines(folder / "wav.scp", faults)
    in_segments = (folder / "segments").is_file()
    utterances = _lines(folder / "segments", faults) if in_segments else recordings
    texts = _lines(folder / "text", faults) if (folder / "text").is_file() else None
    speakers = _speakers(folder, faults)
    _find_strangers(folder, utterances, texts, "text", faults)
    _find_strangers(folder, utterances, speakers, "utt2spk", faults)
    for name, line in utterances.items():
        with faults.tolerated():
            if name in known:
                raise UtteranceFault(f"{line.where}: the utterance {name} is also in {known[name]}")
            known[name] = line.where
            part = _part(line) if in_segments else _Part(name)
            yield Listed(
                where=line.where,
                name=name,
                recording=part.recording,
                audio=root / _file_of(part.recording, recordings, line.where),
                start=part.start,
                end=part.end,
                channel=part.channel,
                text=_of(name, texts, "text", line.where),
                speaker=_speaker(name, speakers, line.where),
                split=split,
            )


def _lines(path: Path, faults: Faults) -> Dict[str, _Line]:
    """Read a file whose lines start with a name, sorted or not."""
    found: Dict[str, _Line] = {}
    for number, line in numbered_lines(path, "a file of a Kaldi data directory"):
        fields = line.strip().split(maxsplit=1)
        if not fields:
            continue
        where = f"{path}, line {number}"
        if fields[0] in found:
            faults.add(f"{where}: {fields[0]} is also in line {found[fields[0]].where.rpartition(' ')[2]}")
        else:
            found[fields[0]] = _Line(where, fields[1] if len(fields) > 1 else "")
    return found


def _speakers(folder: Path, faults: Faults) -> Optional[Dict[str, _Line]]:
    """Read ``utt2spk``, or ``spk2utt`` the other way round; ``None`` if there is neither."""
    if (folder / "utt2spk").is_file() or not (folder / "spk2utt").is_file():
        return _lines(folder / "utt2spk", faults) if (folder / "utt2spk").is_file() else None
    found: Dict[str, _Line] = {}
    for speaker, line in _lines(folder / "spk2utt", faults).items():
        for utterance in line.rest.split():
            if utterance in found:
                faults.add(f"{line.where}: {utterance} is also of the speaker {found[utterance].rest}")
            found.setdefault(utterance, _Line(line.where, speaker))
    return found


def _speaker(utterance: str, speakers: Optional[Dict[str, _Line]], where: str) -> Optional[str]:
    said = _of(utterance, speakers, "utt2spk", where)
    if said is not None and len(said.split()) > 1:
        raise UtteranceFault(f"{where}: expected one speaker of {utterance[:60]} in utt2spk, found {said[:60]!r}")
    return None if said is None else word_from(said, "speaker", where)


def _find_strangers(folder: Path, utterances: Dict[str, _Line], others: Optional[Dict[str, _Line]], name: str, faults: Faults) -> None:
    """Find lines of ``text`` or ``utt2spk`` whose utterance is not in the directory."""
    listing = "segments" if (folder / "segments").is_file() else "wav.scp"
    for utterance, line in (others or {}).items():
        if utterance not in utterances:
            faults.add(f"{line.where}: the utterance {utterance[:60]} is in {name}, but not in {listing}")


def _of(utterance: str, lines: Optional[Dict[str, _Line]], name: str, where: str) -> Optional[str]:
    """What ``text`` or ``utt2spk`` says about an utterance; ``None`` if there is no such file."""
    if lines is None:
        return None
    if utterance not in lines:
        raise UtteranceFault(f"{where}: the utterance {utterance[:60]} is not in {name}")
    return lines[utterance].rest


def _part(line: _Line) -> _Part:
    fields = line.rest.split()
    if len(fields) not in (3, 4):
        raise UtteranceFault(f"{line.where}: expected 'utterance recording start end', found {len(fields) + 1} fields")
    start, end = (seconds_from(field, what, line.where) for field, what in zip(fields[1:], ("start", "end")))
    if len(fields) == 4 and not re.fullmatch("[0-9]{1,4}", fields[3]):
        raise UtteranceFault(f"{line.where}: expected a channel as the fifth field, 0 or 1, found {fields[3][:20]!r}")
    return _Part(fields[0], start, None if end == _WHOLE_FILE_END else end, int(fields[3]) if len(fields) == 4 else None)


def _file_of(recording: str, recordings: Dict[str, _Line], where: str) -> str:
    """The file of a recording.

    Raises:
        UtteranceFault: the recording is not in ``wav.scp``, or is not a file there.
    """
    if recording not in recordings:
        raise UtteranceFault(f"{where}: the recording {recording[:60]} is not in wav.scp")
    line = recordings[recording]
    place = line.rest.strip()
    for found, is_found in _not_a_file(place):
        if is_found:
            raise UtteranceFault(
                f"{line.where}: expected an audio file, found {found} ({place[:60]!r}), which is never run or opened; "
                "write the audio to files (Kaldi's wav-copy does) and list those"
            )
    return path_from(place, line.where)


def _not_a_file(place: str) -> List[Tuple[str, bool]]:
    """The other things that Kaldi allows in place of a file, and whether this is one of them."""
    return [
        ("a command", place.endswith("|") or place.startswith("|")),
        ("the standard input", place == "-"),
        ("a part of an archive", bool(re.search(r":\d+(\[.*\])?$", place)) or bool(re.match(r"(ark|scp)[,\w]*:", place))),
    ]
