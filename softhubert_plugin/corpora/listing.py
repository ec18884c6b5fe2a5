"""List the audio files below a folder, and say what was left out."""

from __future__ import annotations

import os
from collections import Counter
from typing import Dict, List, NamedTuple, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, printable
from softhubert_plugin.folders import files_below
from softhubert_plugin.manifests import refuse_name

# Files with these extensions are mentioned if they are not asked for.
_OF_LIBSNDFILE = [
    "aif",
    "aifc",
    "aiff",
    "au",
    "caf",
    "flac",
    "mp2",
    "mp3",
    "nist",
    "oga",
    "ogg",
    "opus",
    "rf64",
    "snd",
    "sph",
    "w64",
    "wav",
]
_OF_OTHERS = ["3gp", "aac", "ac3", "amr", "ape", "m4a", "m4b", "mka", "mp4", "shn", "tta", "webm", "wma", "wv"]
AUDIO_EXTENSIONS = {*_OF_LIBSNDFILE, *_OF_OTHERS}


class Listing(NamedTuple):
    """What was found below a folder.

    Attributes:
        names: paths relative to the folder, sorted folder by folder.
        problems: one message per file or folder that cannot be listed, which says why.
        left_out: how many of each kind were left out on purpose.
    """

    names: List[str]
    problems: List[str]
    left_out: Dict[str, int]


def parse_extensions(text: str) -> List[str]:
    """Read file name extensions, separated by commas or spaces, with or without their dots, such as ``wav,.FLAC``.

    Raises:
        SoftHubertError: there is none.
    """
    extensions = [one.strip().lstrip(".").lower() for one in text.replace(",", " ").split()]
    if not extensions or not all(extensions):
        raise SoftHubertError(f"--ext {text!r}: expected file name extensions such as flac, or several such as wav,flac")
    return list(dict.fromkeys(extensions))


def list_audio(root: PathLike, extensions: Sequence[str]) -> Listing:
    """List the files below a folder that have one of the extensions, in any case. Linked folders are followed.

    Hidden files and folders are left out. A link to a folder that is listed under another name, such as a folder above it, is left out.

    Args:
        root: the folder.
        extensions: file name extensions without dots, in small letters.

    Raises:
        SoftHubertError: there is no such folder, or a manifest cannot hold its name.
    """
    root = os.fspath(root)
    if not os.path.isdir(root):
        raise SoftHubertError(f"{printable(root)}: no such folder; give the folder that contains the audio")
    refuse_name(os.path.abspath(root), of_root=True)
    names: List[str] = []
    problems: List[str] = []
    left_out: Counter[str] = Counter()
    for name in files_below(root, problems, left_out):
        extension = os.path.splitext(name)[1][1:].lower()
        if extension in extensions:
            names.append(name)
        elif extension in AUDIO_EXTENSIONS:
            left_out[f".{extension}"] += 1
        elif os.path.splitext(name.rstrip(". "))[1][1:].lower() in {*extensions, *AUDIO_EXTENSIONS}:
            left_out["name that ends in a dot or a space"] += 1
    kept = []
    for name in sorted(names, key=lambda name: name.split("/")):
        try:
            refuse_name(name, path=os.path.join(root, name))
            kept.append(name)
        except SoftHubertError as error:
            problems.append(str(error))
    return Listing(kept, problems, dict(left_out.most_common()))
