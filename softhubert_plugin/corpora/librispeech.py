"""Write LibriSpeech's manifests and transcripts.

A split is a subset, all training subsets together, a limited training set, or a part of one subset, split by speaker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence

from softhubert_plugin.corpora.librispeech_files import SUBSETS, Entry, find_subset, read_speakers
from softhubert_plugin.corpora.librispeech_limited import limited_set
from softhubert_plugin.corpora.listed import SPLIT_NAME
from softhubert_plugin.corpora.writing import splits_by_speaker, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike

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
    """Write ``{subset}.tsv``, ``.wrd``, ``.ltr`` and ``.spk`` of each subset, and ``dict.ltr.txt``.

    A line of ``{subset}.spk`` is the speaker and the chapter of an utterance.

    Args:
        root: the folder that contains ``LibriSpeech/``.
        dest: folder to write to.
        subsets: subsets to write, such as ``train-clean-100``.
        download: download missing subsets.
        partial: accept speakers whose speech is incomplete.
        combine: also write all training subsets as one split with this name.
        limited: also write the limited set ``train-{name}`` for each of these names (``10h``, ``1h``, ``10min``).

    Returns:
        A line that says what was written, after warnings of splits that an earlier run wrote.

    Raises:
        SoftHubertError: a subset is unknown, missing or incomplete; an audio file is not usable; ``combine`` is not the name of a new
            split; or there is too little speech for a limited set.
    """
    subsets = list(dict.fromkeys(subsets))
    if combine and (not SPLIT_NAME.fullmatch(combine) or combine in (*SUBSETS, *(f"train-{name}" for name in limited))):
        raise SoftHubertError(f"--combine {combine}: expected the name of a new split, such as train-960")
    splits: Dict[str, List[Entry]] = {}
    notes: Dict[str, str] = {}
    for subset in subsets:
        splits[subset], notes[subset] = find_subset(root, subset, download=download, partial=partial)
    training = [entry for subset in subsets if subset.startswith("train-") for entry in splits[subset]]
    if (combine or limited) and not training:
        raise SoftHubertError("--combine and --limited need a training subset; add one to --subsets, such as train-clean-100")
    if combine:
        splits[combine] = training
    if limited:
        listed = read_speakers(Path(root) / "LibriSpeech" / "SPEAKERS.TXT")
        splits.update({f"train-{name}": limited_set(training, listed, name) for name in limited})
    return _write(root, dest, splits, notes)


def write_speaker_splits(root: PathLike, dest: PathLike, *, subset: str, download: bool = False, partial: bool = False) -> str:
    """Split one subset into train, valid and test without common speakers.

    The speakers are sorted by number. The last tenth goes to test, the tenth before to valid, the others to train.

    Args:
        root: the folder that contains ``LibriSpeech/``.
        dest: folder to write to.
        subset: the subset to split.
        download: download the subset if it is missing.
        partial: accept speakers whose speech is incomplete.

    Returns:
        A line that says what was written, after warnings of splits that an earlier run wrote.

    Raises:
        SoftHubertError: as :func:`write_librispeech_manifests`, or the subset has fewer than three speakers.
    """
    entries, _ = find_subset(root, subset, download=download, partial=partial)
    split_of = splits_by_speaker([str(speaker) for speaker in sorted({entry.speaker for entry in entries})])
    splits: Dict[str, List[Entry]] = {"train": [], "valid": [], "test": []}
    for entry in sorted(entries, key=lambda entry: entry.speaker):  # stable: a speaker's utterances keep their order
        splits[split_of[str(entry.speaker)]].append(entry)
    return _write(root, dest, splits, {})


def _write(root: PathLike, dest: PathLike, splits: Dict[str, List[Entry]], notes: Dict[str, str]) -> str:
    utterances = {
        split: [entry.utterance._replace(speaker=str(entry.speaker), origin=str(entry.chapter)) for entry in entries]
        for split, entries in splits.items()
    }
    warnings = write_splits(dest, Path(root) / "LibriSpeech", utterances)
    summary = ", ".join(_split_summary(split, entries, notes.get(split)) for split, entries in splits.items())
    return "\n".join([*warnings, f"{dest}: {summary}"])


def _split_summary(split: str, entries: Sequence[Entry], note: Optional[str]) -> str:
    return f"{split} {len(entries)} utterances of {note or f'{len({entry.speaker for entry in entries})} speakers'}"
