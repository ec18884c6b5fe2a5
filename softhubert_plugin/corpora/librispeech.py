"""LibriSpeech's manifests and transcripts: its subsets, all training subsets as one, limited sets, or one subset split by speaker."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence

from softhubert_plugin.corpora.librispeech_files import SUBSETS, Entry, find_subset, read_speakers
from softhubert_plugin.corpora.librispeech_limited import limited_set
from softhubert_plugin.corpora.writing import splits_by_speaker, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_text

__all__ = ["SUBSETS", "write_librispeech_manifests", "write_speaker_splits"]


def write_librispeech_manifests(
    root: PathLike,
    dest: PathLike,
    *,
    subsets: Sequence[str],
    download: bool = False,
    partial: bool = False,
    combine: Optional[str] = None,
    limited: Sequence[str] = (),
) -> str:
    """Write ``{subset}.tsv``, ``.wrd``, ``.ltr`` and ``.spk`` (speaker and chapter of each utterance) of each subset, and ``dict.ltr.txt``.

    Args:
        root: the folder that holds ``LibriSpeech/``.
        download: fetch what is missing.
        partial: accept speakers of whom speech is missing.
        combine: also write all training subsets as one split of this name.
        limited: also write ``train-{name}`` for each of ``10h``, ``1h``, ``10min``.

    Raises:
        SoftHubertError: a subset is unknown, not there or incomplete, an audio file is not usable, or there is too little for a set.
    """
    splits: Dict[str, List[Entry]] = {}
    notes: Dict[str, str] = {}
    for subset in subsets:
        splits[subset], notes[subset] = find_subset(root, subset, download=download, partial=partial)
    training = [entry for subset in subsets if subset.startswith("train-") for entry in splits[subset]]
    if (combine or limited) and not training:
        raise SoftHubertError("--combine and --limited draw on training subsets, and none was given with --subsets")
    if combine:
        splits[combine] = training
    if limited:
        listed = read_speakers(Path(root) / "LibriSpeech" / "SPEAKERS.TXT")
        splits.update({f"train-{name}": limited_set(training, listed, name) for name in limited})
    _write(root, dest, splits)
    return f"{dest}: " + ", ".join(_split_summary(split, entries, notes.get(split)) for split, entries in splits.items())


def write_speaker_splits(root: PathLike, dest: PathLike, *, subset: str, download: bool = False, partial: bool = False) -> str:
    """Write train, valid and test of one subset, with no speaker in common: of the speakers by number, the last tenth are for test
    and the tenth before for valid.

    Raises:
        SoftHubertError: as :func:`write_librispeech_manifests`, or the subset has fewer than three speakers.
    """
    entries, _ = find_subset(root, subset, download=download, partial=partial)
    split_of = splits_by_speaker([str(speaker) for speaker in sorted({entry.speaker for entry in entries})])
    splits: Dict[str, List[Entry]] = {"train": [], "valid": [], "test": []}
    for entry in sorted(entries, key=lambda entry: entry.speaker):  # stable: a speaker's utterances keep their order
        splits[split_of[str(entry.speaker)]].append(entry)
    _write(root, dest, splits)
    return f"{dest}: " + ", ".join(_split_summary(split, found, None) for split, found in splits.items())


def _write(root: PathLike, dest: PathLike, splits: Dict[str, List[Entry]]) -> None:
    write_splits(dest, Path(root) / "LibriSpeech", {split: [entry.utterance for entry in entries] for split, entries in splits.items()})
    for split, entries in splits.items():
        write_text(Path(dest) / f"{split}.spk", "".join(f"{entry.speaker}\t{entry.chapter}\n" for entry in entries))


def _split_summary(split: str, entries: Sequence[Entry], note: Optional[str]) -> str:
    return f"{split} {len(entries)} utterances of {note or f'{len({entry.speaker for entry in entries})} speakers'}"
