"""List the audio files below a folder, and say what was left out."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, printable
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


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden by its name, as macOS's ``._*`` files are, which hold no audio."""
    return name.startswith(".")


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
    for name in _files_below(root, problems, left_out):
        extension = os.path.splitext(name)[1][1:].lower()
        if extension in extensions:
            names.append(name)
        elif extension in AUDIO_EXTENSIONS:
            left_out[f".{extension}"] += 1
    kept = []
    for name in sorted(names, key=lambda name: name.split("/")):
        try:
            refuse_name(name, path=os.path.join(root, name))
            kept.append(name)
        except SoftHubertError as error:
            problems.append(str(error))
    return Listing(kept, problems, dict(left_out.most_common()))


def _files_below(root: str, problems: List[str], left_out: Counter[str]) -> Iterator[str]:
    """Yield the paths of all visible files, relative to the root: first of the folders that are really there, then of linked ones.

    Args:
        problems: a message for each folder that cannot be read is added here.
        left_out: what is left out is counted here.
    """
    waiting = [(False, "")]  # a heap: whether the folder was reached by a link, and its path
    seen: Set[Tuple[int, int]] = set()
    while waiting:
        linked, folder = heapq.heappop(waiting)
        try:
            status = os.stat(os.path.join(root, folder))
            with os.scandir(os.path.join(root, folder)) as found:
                entries = list(found)
        except OSError as error:
            where = printable(os.path.join(root, folder))
            problems.append(f"{where}: the folder cannot be read ({error.strerror}); change its permissions or remove it")
            continue
        if linked and (status.st_dev, status.st_ino) in seen:
            left_out["linked folder that is listed under another name"] += 1
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            name = os.path.join(folder, entry.name)
            if is_hidden(entry.name):
                left_out["hidden by a dot"] += 1
            elif _is_folder(entry):
                heapq.heappush(waiting, (linked or entry.is_symlink(), name))
            else:
                yield name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; opening it says so
        return False
