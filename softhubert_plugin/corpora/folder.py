"""Write manifests of any folder of audio, as fairseq's ``wav2vec_manifest.py`` does."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from softhubert_plugin.audio.check import audio_lengths, readable_lengths
from softhubert_plugin.corpora.earlier import refuse_strangers, shared_utterances
from softhubert_plugin.corpora.listing import Listing, list_audio, parse_extensions
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import refuse_name, write_manifest

Entries = List[Tuple[str, int]]


def write_folder_manifest(
    root: PathLike,
    dest: PathLike,
    *,
    extension: str = "flac",
    valid_percent: float = 0.01,
    seed: int = 42,
    skip_unreadable: bool = False,
    resample_to: Optional[PathLike] = None,
) -> str:
    """Write ``train.tsv`` and ``valid.tsv`` of all audio files below ``root``, sorted by path.

    Args:
        root: folder that contains the audio, at any depth. Linked folders are followed; hidden files are ignored.
        dest: folder to write to.
        extension: file name extension of the audio, in any case; or several, separated by commas.
        valid_percent: share of the files for validation, in [0, 1). It is a fraction, as in fairseq's option of this name.
        seed: seed of the choice of validation files.
        skip_unreadable: leave out files that cannot be read or are empty, and names that a manifest cannot hold, instead of refusing them.
        resample_to: folder for copies of the files at 16 kHz with one channel; the manifests then list the copies.

    Returns:
        A report: one line per file that was skipped, a line on what was left out, one on what was converted, and then the number of files
        in each manifest.

    Raises:
        SoftHubertError: there are no such files; a file is not usable; a manifest cannot hold a name; a split would be empty; or
            transcripts or speakers lie beside a manifest of other utterances that would be replaced.
    """
    if not 0 <= valid_percent < 1:
        raise SoftHubertError(f"--valid-percent {valid_percent}: expected a fraction from 0 to below 1, such as 0.01")
    extensions = parse_extensions(extension)
    if resample_to is not None:
        _check_apart(Path(root), Path(resample_to))
    listing = list_audio(root, extensions)
    if not listing.names and not listing.problems:
        raise SoftHubertError(f"{root}: no {_dotted(extensions)} files below it{_but(listing)}; check the folder and --ext")
    if listing.problems and not skip_unreadable:
        more = f" (and {len(listing.problems) - 1} more such names)" if len(listing.problems) > 1 else ""
        raise SoftHubertError(listing.problems[0] + more)
    if resample_to is None:
        entries, skipped = _lengths(Path(root), listing.names, skip_unreadable)
        report: List[str] = []
    else:
        entries, skipped, converted = _convert(Path(root), listing.names, resample_to, skip_unreadable)
        report = [converted]
    skipped = listing.problems + skipped
    if not entries:
        raise SoftHubertError(f"{root}: none of {len(skipped)} files can be read; the first: {skipped[0]}")
    written = _write(dest, root if resample_to is None else resample_to, entries, valid_percent, seed)
    if listing.left_out:
        report.insert(0, "left out: " + ", ".join(f"{count} × {kind}" for kind, count in listing.left_out.items()))
    return "\n".join([*(f"skipped {problem}" for problem in skipped), *report, written + (f", {len(skipped)} skipped" if skipped else "")])


def _lengths(root: Path, names: List[str], skip_unreadable: bool) -> Tuple[Entries, List[str]]:
    paths = [root / name for name in names]
    if not skip_unreadable:
        return list(zip(names, audio_lengths(paths))), []
    readable, skipped = readable_lengths(paths)
    return [(name, readable[path]) for name, path in zip(names, paths) if path in readable], skipped


def _convert(root: Path, names: List[str], dest: PathLike, skip_unreadable: bool) -> Tuple[Entries, List[str], str]:
    from softhubert_plugin.audio.resample import convert_files, describe

    converted, skipped = convert_files({name: root / name for name in names}, dest, skip_unreadable=skip_unreadable)
    return [(one.name, one.samples) for one in converted.values()], skipped, f"{dest}: {describe(converted.values())}"


def _write(dest: PathLike, root: PathLike, entries: Entries, valid_percent: float, seed: int) -> str:
    """Draw the validation files and write both manifests. Return warnings, and a line that says what was written."""
    wanted = round(len(entries) * valid_percent) or (1 if valid_percent > 0 else 0)
    if wanted == len(entries):
        raise SoftHubertError(
            f"{root}: all {len(entries)} file(s) go to validation, none to training; give more audio or --valid-percent 0"
        )
    chosen = set(random.Random(seed).sample(range(len(entries)), wanted))
    splits = {"train": [entry for number, entry in enumerate(entries) if number not in chosen]}
    if chosen:
        splits["valid"] = [entries[number] for number in sorted(chosen)]
    for split, found in splits.items():
        refuse_strangers(Path(dest) / f"{split}.tsv", found)
    for split, found in splits.items():
        write_manifest(Path(dest) / f"{split}.tsv", root, found)
    warnings = shared_utterances(dest, root, {split: [name for name, _ in found] for split, found in splits.items()})
    written = f"{dest}: {len(splits['train'])} files in train.tsv" + (f", {len(chosen)} in valid.tsv" if chosen else "")
    return "\n".join([*warnings, written])


def _check_apart(root: Path, copies: Path) -> None:
    """Refuse a folder for copies that contains the originals or is among them: they could replace each other or be listed together."""
    refuse_name(os.path.abspath(copies), of_root=True)
    one, other = os.path.realpath(root), os.path.realpath(copies)
    if os.path.commonpath([one, other]) in (one, other):
        raise SoftHubertError(f"--resample-to {copies}: overlaps with {root}, where the originals are; give a folder beside it")


def _dotted(extensions: List[str]) -> str:
    return " or ".join(f".{one}" for one in extensions)


def _but(listing: Listing) -> str:
    """Name the audio files that were found instead."""
    others: Dict[str, int] = {kind: count for kind, count in listing.left_out.items() if kind.startswith(".")}
    return ", but " + ", ".join(f"{count} {kind}" for kind, count in others.items()) if others else ""
