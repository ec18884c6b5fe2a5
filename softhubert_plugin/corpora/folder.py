"""Write manifests of any folder of audio, as fairseq's ``wav2vec_manifest.py`` does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import List

from softhubert_plugin.audio.check import audio_lengths, readable_lengths
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import write_manifest


def write_folder_manifest(
    root: PathLike,
    dest: PathLike,
    *,
    extension: str = "flac",
    valid_percent: float = 0.01,
    seed: int = 42,
    skip_unreadable: bool = False,
) -> str:
    """Write ``train.tsv`` and ``valid.tsv`` of all audio files below ``root``, sorted by path.

    Args:
        root: folder that contains the audio, at any depth.
        dest: folder to write to.
        extension: file name extension of the audio.
        valid_percent: share of the files for validation, in [0, 1). It is a fraction, as in fairseq's option of this name.
        seed: seed of the choice of validation files.
        skip_unreadable: leave out files that cannot be read or are empty, instead of refusing them.

    Returns:
        A report: one line per file that was left out, then the number of files in each manifest.

    Raises:
        SoftHubertError: there are no such files; a file is unreadable, empty or not at 16 kHz; or a split would be empty.
    """
    if not 0 <= valid_percent < 1:
        raise SoftHubertError(f"--valid-percent {valid_percent}: expected a fraction from 0 to below 1, such as 0.01")
    paths = sorted(path for path in Path(root).rglob(f"*.{extension.lstrip('.')}") if path.is_file())
    if not paths:
        raise SoftHubertError(f"{root}: no .{extension.lstrip('.')} files below it; check the folder and --ext")
    skipped: List[str] = []
    if skip_unreadable:
        readable, skipped = readable_lengths(paths)
        if not readable:
            raise SoftHubertError(f"{root}: none of {len(paths)} files can be read; the first: {skipped[0]}")
        paths, lengths = list(readable), list(readable.values())
    else:
        lengths = audio_lengths(paths)
    wanted = round(len(paths) * valid_percent) or (1 if valid_percent > 0 else 0)
    if wanted == len(paths):
        raise SoftHubertError(f"{root}: all {len(paths)} file(s) go to validation, none to training; give more audio or --valid-percent 0")
    chosen = set(random.Random(seed).sample(range(len(paths)), wanted))
    entries = [(str(path.relative_to(root)), length) for path, length in zip(paths, lengths)]
    write_manifest(Path(dest) / "train.tsv", root, (entry for number, entry in enumerate(entries) if number not in chosen))
    if chosen:
        write_manifest(Path(dest) / "valid.tsv", root, (entries[number] for number in sorted(chosen)))
    report = f"{dest}: {len(paths) - len(chosen)} files in train.tsv" + (f", {len(chosen)} in valid.tsv" if chosen else "")
    return "\n".join([*(f"skipped {problem}" for problem in skipped), report + (f", {len(skipped)} skipped" if skipped else "")])
