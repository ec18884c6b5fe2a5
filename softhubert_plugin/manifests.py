"""Read, write and check fairseq's manifests, transcripts and dictionaries. All formats are exactly fairseq's own.

A manifest ``{split}.tsv`` has the audio root on its first line, then one line ``relative path<TAB>samples`` per utterance. Transcripts are
in the same folder, with one line per utterance in the same order: ``{split}.wrd`` (words) and ``{split}.ltr`` (letters with ``|`` between
words). ``dict.ltr.txt`` lists the letters.
"""

from __future__ import annotations

import collections
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, printable, write_text
from softhubert_plugin.text_files import read_lines_of

SAMPLE_RATE = 16_000
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are not UTF-8


@dataclass(frozen=True)
class Manifest:
    """One split's audio files.

    Attributes:
        path: the ``.tsv`` file.
        root: the folder that ``names`` are relative to.
        names: relative audio paths, one per utterance.
        sizes: ``(utterances,)`` int64, length of each utterance in samples.
    """

    path: Path
    root: Path
    names: List[str]
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def audio_path(self, index: int) -> Path:
        """Return the path of the audio file of utterance ``index``."""
        return self.root / self.names[index]

    def utterance_id(self, index: int) -> str:
        """Return the file name without folder and extension, such as ``84-121123-0001``."""
        return Path(self.names[index]).stem

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the utterances' names, lengths and order. The root is left out, so that labels still fit a corpus that was moved."""
        digest = hashlib.sha256()
        for name, size in zip(self.names, self.sizes):
            digest.update(f"{name}\t{size}\n".encode())
        return digest.hexdigest()


def read_manifest(path: PathLike) -> Manifest:
    """Read ``{split}.tsv``.

    Raises:
        SoftHubertError: the file is missing, has no utterance, or has a malformed line; the message names the line.
    """
    path = Path(path)
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(
            f"{path}: no such manifest; write one with 'softhubert manifest folder AUDIO_DIR --dest {path.parent}'"
        ) from None
    names: List[str] = []
    sizes: List[int] = []
    for number, line in enumerate(lines[1:], start=2):
        name, tab, samples = line.rpartition("\t")
        if not tab or not name or not (samples.isascii() and samples.isdigit()) or len(samples) > 18 or int(samples) == 0:
            raise SoftHubertError(f"{path}, line {number}: expected 'path<TAB>samples', found {line!r}; write the manifest again")
        names.append(name)
        sizes.append(int(samples))
    if not names:
        raise SoftHubertError(f"{path}: the manifest is empty (no utterances); check the folder and --ext it was made from")
    return Manifest(path=path, root=Path(lines[0]), names=names, sizes=np.asarray(sizes, dtype=np.int64))


def refuse_name(name: str, *, path: Optional[PathLike] = None, of_root: bool = False) -> None:
    """Refuse a name that a manifest cannot hold.

    fairseq reads manifests with universal line ends, splits lines at tabs, and strips white space from both ends of a line. Readers here
    drop byte order marks at the beginning of a line.

    Args:
        name: a path relative to the root.
        path: what the message names; by default ``name``.
        of_root: it is the root itself, which has a line of its own.

    Raises:
        SoftHubertError: the name is not UTF-8, has a line end or a tab, or has white space where it would be stripped.
    """
    problem = None
    if _NOT_UTF8.search(name):
        problem = "is not UTF-8"
    elif set(name) & set("\n\r" if of_root else "\n\r\t"):
        problem = "has a line end or a tab"
    elif name.startswith("\ufeff"):
        problem = "begins with a byte order mark"
    elif name != (name.strip() if of_root else name.lstrip()):
        problem = "begins or ends with white space" if of_root else "begins with white space"
    if problem is not None:
        kind = "folder" if of_root else "file"
        shown = printable(name if path is None else path)
        raise SoftHubertError(f"{shown}: the name {problem}, which a manifest cannot hold; rename the {kind}")


def write_manifest(path: PathLike, root: PathLike, entries: Iterable[Tuple[str, int]]) -> None:
    """Write ``{split}.tsv`` from ``(relative path, samples)`` pairs. ``root`` is written as an absolute path.

    Raises:
        SoftHubertError: a manifest cannot hold one of the names.
    """
    lines = [os.path.abspath(root)]
    refuse_name(lines[0], of_root=True)
    for name, samples in entries:
        refuse_name(name)
        lines.append(f"{name}\t{samples}")
    write_text(path, "\n".join(lines) + "\n")


def letters(words: str) -> str:
    """Convert words to fairseq's letter transcript: ``"GO ON"`` becomes ``"G O | O N |"``."""
    return " ".join("|" if character == " " else character for character in " ".join(words.split()) + " ")


def write_transcripts(directory: PathLike, split: str, texts: Sequence[str]) -> None:
    """Write ``{split}.wrd`` and ``{split}.ltr``, one line per utterance in the manifest's order.

    Raises:
        SoftHubertError: a transcript is empty.
    """
    for number, text in enumerate(texts, start=1):
        if not text.split():
            raise SoftHubertError(f"{split}: the transcript of utterance {number} is empty; remove the utterance or give its words")
    write_text(Path(directory) / f"{split}.wrd", "".join(" ".join(text.split()) + "\n" for text in texts))
    write_text(Path(directory) / f"{split}.ltr", "".join(letters(text) + "\n" for text in texts))


def write_letter_dictionary(directory: PathLike, texts: Iterable[str]) -> None:
    """Write ``dict.ltr.txt``: every letter of ``texts`` with its count, the most frequent first (fairseq's order)."""
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(letters(text).split())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    write_text(Path(directory) / "dict.ltr.txt", "".join(f"{letter} {count}\n" for letter, count in ordered))


def write_cluster_dictionary(directory: PathLike, label: str, clusters: int) -> None:
    """Write ``dict.{label}.txt`` for hard labels ``0 … clusters-1``, as fairseq's recipe does."""
    write_text(Path(directory) / f"dict.{label}.txt", "".join(f"{cluster} 1\n" for cluster in range(clusters)))


def read_dictionary(path: PathLike) -> List[str]:
    """Read the symbols of a fairseq dictionary, in order, without the four special symbols that fairseq adds.

    Raises:
        SoftHubertError: the file is missing or empty, has a line that is not ``symbol count``, or a symbol twice.
    """
    path = Path(path)
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such dictionary; expected a file with one 'symbol count' per line, beside the labels") from None
    symbols: Dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        symbol, _, count = line.rstrip().rpartition(" ")
        if not symbol or not count.isdigit():
            raise SoftHubertError(f"{path}, line {number}: expected 'symbol count', found {line!r}; correct the line")
        if symbol in symbols:
            raise SoftHubertError(f"{path}: {symbol!r} is in line {symbols[symbol]} and in line {number}; write the dictionary again")
        symbols[symbol] = number
    if not symbols:
        raise SoftHubertError(f"{path}: the dictionary is empty, so every label would be unknown; write it again from the labels")
    return list(symbols)


def read_lines(path: PathLike, *, expected: int, of: PathLike) -> List[str]:
    """Read a text file with one line per utterance (``.ltr``, ``.wrd``, ``.km``).

    Args:
        path: the file.
        expected: number of utterances in the manifest.
        of: the manifest's path, for the error message.

    Raises:
        SoftHubertError: the file is missing or has another number of lines.
    """
    path = Path(path)
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; expected one line for each of the {expected} utterances of {of}") from None
    if len(lines) != expected:
        raise SoftHubertError(
            f"{path}: {len(lines)} lines for the {expected} utterances of {of}; use a file and a manifest from the same run "
            "(were all shards merged?)"
        )
    return lines
