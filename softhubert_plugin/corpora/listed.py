"""What a corpus lists: one entry per utterance, read from a table, a Kaldi directory or a cut set, before any audio was opened.

Faults of single utterances go to :class:`Faults`: the first one ends the command, or all are noted and their utterances left out.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.errors import SoftHubertError

SPLIT_NAME = re.compile(r"\w[\w.-]*")
# No manifest or .spk file can hold these: they end lines and columns.
_BREAKS = re.compile(r"[\t\n\r\0]")


class Listed(NamedTuple):
    """An utterance as its corpus lists it.

    Attributes:
        where: the file and the line (or utterance) that list it, for messages.
        name: the corpus's own name of the utterance.
        recording: the corpus's own name of the recording, without suffix; it may have folders in it.
        audio: the recording's file.
        start: where the utterance starts in the recording, in seconds.
        end: where it ends, in seconds; ``None`` for the end of the recording.
        channel: the channel of the recording, from 0; ``None`` for all of them.
        text: the words; ``None`` if the corpus has none.
        speaker: who speaks; ``None`` if the corpus does not say.
        split: the split it belongs to; ``None`` if the corpus does not say.
    """

    where: str
    name: str
    recording: str
    audio: Path
    start: float = 0.0
    end: Optional[float] = None
    channel: Optional[int] = None
    text: Optional[str] = None
    speaker: Optional[str] = None
    split: Optional[str] = None


class UtteranceFault(SoftHubertError):
    """A fault of one utterance. The message says where it is listed, what was expected and what was found."""


class Faults:
    """The faults of single utterances.

    Args:
        skip: note faults and go on, instead of ending with the first one.

    Attributes:
        noted: the messages so far.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.noted: List[str] = []

    def add(self, message: object) -> None:
        """Note a fault.

        Raises:
            SoftHubertError: faults are not to be skipped.
        """
        if not self.skip:
            raise SoftHubertError(f"{message}; correct it, or give --skip-unreadable to leave such utterances out")
        self.noted.append(str(message))

    @contextlib.contextmanager
    def tolerated(self) -> Iterator[None]:
        """Note a :class:`UtteranceFault` that is raised inside. Other errors pass."""
        try:
            yield
        except UtteranceFault as fault:
            self.add(fault)


def named_inputs(values: Sequence[str]) -> List[Tuple[Optional[str], Path]]:
    """Read arguments of the form ``PATH`` or ``SPLIT=PATH``.

    Returns:
        For each argument the split, or ``None``, and the path.

    Raises:
        SoftHubertError: some arguments name a split and others do not.

    >>> named_inputs(["train=a.csv"])
    [('train', PosixPath('a.csv'))]
    """
    found: List[Tuple[Optional[str], Path]] = []
    for value in values:
        split, equals, path = value.partition("=")
        if equals and path and SPLIT_NAME.fullmatch(split) and not os.path.exists(value):
            found.append((split, Path(path)))
        else:
            found.append((None, Path(value)))
    named = sum(split is not None for split, _ in found)
    if 0 < named < len(found):
        unnamed = next(path for split, path in found if split is None)
        raise SoftHubertError(f"{unnamed}: no split, but others have one; write SPLIT={unnamed}, or name none")
    return found


def seconds_from(value: object, what: str, where: str) -> float:
    """Read a time in seconds.

    Args:
        value: a number or its text.
        what: what the number is, for the message.
        where: where it is listed.

    Raises:
        UtteranceFault: it is not a finite number.
    """
    try:
        # float() would take 1_0 for ten, and True for one.
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UtteranceFault(f"{where}: expected the {what} in seconds, found {str(value)[:40]!r}")
    return number


def word_from(value: str, what: str, where: str) -> str:
    """Return a name, such as a path or a speaker, without space around it and byte order marks before it.

    Raises:
        UtteranceFault: it is empty, or the files that are to be written cannot hold it.
    """
    word = value.strip().lstrip("\ufeff").strip()
    if not word:
        raise UtteranceFault(f"{where}: expected a {what}, found none")
    if _BREAKS.search(word) or not is_utf8(word):
        raise UtteranceFault(f"{where}: expected a {what} without tabs, line breaks and broken characters, found {word[:60]!r}")
    return word


def path_from(value: str, where: str) -> str:
    """Return the path of a file.

    Raises:
        UtteranceFault: it is empty, too long for any file system, or the manifest cannot hold it.
    """
    path = word_from(value, "path of an audio file", where)
    if any(len(part.encode("utf-8")) > 255 for part in path.split("/")) or len(path.encode("utf-8")) > 4000:
        raise UtteranceFault(f"{where}: expected a path of an audio file, found {len(path)} characters: {path[:60]!r} …")
    return path


def is_utf8(text: str) -> bool:
    """Return whether text can be written as UTF-8. Escapes in JSON may stand for halves of characters, which cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
