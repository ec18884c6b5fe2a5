"""Walk through folders that people made: with links, with macOS's ``._*`` files, and perhaps with folders that nobody may open."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from typing import Iterator, List, Set, Tuple

from softhubert_plugin.files import printable


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden by its name, as macOS's ``._*`` files are, which hold no audio."""
    return name.startswith(".")


def files_below(root: str, problems: List[str], left_out: Counter[str]) -> Iterator[str]:
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
