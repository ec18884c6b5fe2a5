"""Where alignments come from: a folder with a file per utterance, a CTM, or a frame list. Each lists its alignments and reads them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from softhubert_plugin.alignments.clock import Clock, frame_list_clock, lab_clock, unit_name
from softhubert_plugin.alignments.formats import LabelledInterval, read_ctm, read_frame_list, read_lab, read_textgrid, runs_of
from softhubert_plugin.alignments.matching import key_of
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.folders import files_below
from softhubert_plugin.text_files import numbered_lines

FRAME_CENTRE = 0.0125


class AlignmentSource:
    """The alignments of some utterances.

    Attributes:
        keys: for each alignment what names its utterance (:func:`~softhubert_plugin.alignments.matching.key_of`).
        unnamed_unit: whether the files do not name their unit of time.
        aside: what was not read, for error messages.
    """

    keys: List[str]
    unnamed_unit = False
    aside = ""

    def where(self, number: int) -> str:
        """Name an alignment in an error message."""
        raise NotImplementedError

    def read(self, number: int) -> List[LabelledInterval]:
        """Read an alignment, in the source's own unit of time."""
        raise NotImplementedError

    def clock(self, ends: Sequence[float], seconds: Sequence[float]) -> Clock:
        """Find the unit of time.

        Args:
            ends: end of each alignment that is used.
            seconds: length of its audio.
        """
        return Clock()


def open_source(path: Path, units_per_second: Optional[float] = None) -> AlignmentSource:
    """Open a folder of TextGrids, ``.lab`` or ``.phn`` files, a CTM or a frame list.

    Args:
        units_per_second: unit of time of ``.lab`` and ``.phn`` files; by default it is detected.

    Raises:
        SoftHubertError: there is nothing of the kind, or a unit is given for a format that has its own.
    """
    if units_per_second is not None and not units_per_second > 0:
        raise SoftHubertError(f"--units-per-second {units_per_second:g}: expected a number above 0")
    if path.is_dir():
        source: AlignmentSource = _Folder(path, units_per_second)
    elif path.exists():
        source = _file(path)
    else:
        raise SoftHubertError(f"{path}: no such alignments; give a folder of .TextGrid or .lab files, a .ctm, or fairseq's frame list")
    if units_per_second is not None and not source.unnamed_unit:
        raise SoftHubertError(f"--units-per-second: is for .lab and .phn files, but {path} has times in a known unit; leave it out")
    return source


def _file(path: Path) -> AlignmentSource:
    lines = (line for _, line in numbered_lines(path, "alignments", utf16=True))
    line = next((line for line in lines if line.strip() and not line.lstrip().startswith(";;")), "")
    fields = line.split("\t")
    if len(fields) == 2 and (len(line.split()) == 2 or "," in fields[1]):
        return _FrameList(path)
    if len(line.split()) >= 5:
        return _Ctm(path)
    raise SoftHubertError(
        f"{path}: expected a CTM ('utterance channel start duration phone') or a frame list ('utterance<TAB>phone,phone,…'), "
        + (f"found {line[:40]!r}; give a file in one of these formats" if line else "found no line with an alignment; write the file again")
    )


class _Folder(AlignmentSource):
    """Files of one kind. If there are TextGrids, ``.lab`` files are not read: beside TextGrids they are often transcripts."""

    def __init__(self, path: Path, units_per_second: Optional[float]) -> None:
        self._path = path
        self._given = units_per_second
        textgrids: List[str] = []
        labs: List[str] = []
        for name in alignment_files(path):
            (textgrids if name.lower().endswith(".textgrid") else labs).append(name)
        self._files = textgrids or labs
        if not self._files:
            raise SoftHubertError(f"{path}: no .TextGrid, .lab or .phn files in it or below; give the folder of the alignments")
        self.unnamed_unit = not textgrids
        self.keys = [key_of(os.path.splitext(name)[0]) for name in self._files]
        if textgrids and labs:
            self.aside = f" ({len(labs)} .lab and .phn files were not read, because there are .TextGrid files)"

    def where(self, number: int) -> str:
        return str(self._path / self._files[number])

    def read(self, number: int) -> List[LabelledInterval]:
        path = self._path / self._files[number]
        try:
            return (read_lab if self.unnamed_unit else read_textgrid)(path)
        except FileNotFoundError:
            raise SoftHubertError(f"{path}: a link to a file that is not there; correct or remove it") from None

    def clock(self, ends: Sequence[float], seconds: Sequence[float]) -> Clock:
        if not self.unnamed_unit:
            return Clock()
        if self._given is not None:
            return Clock(self._given, unit_name(self._given))
        return lab_clock(ends, seconds, self._path)


class _Listed(AlignmentSource):
    """A file with the alignments of many utterances."""

    def __init__(self, path: Path, names: Sequence[str], read: Callable[[str], List[LabelledInterval]]) -> None:
        self._path = path
        self._names = list(names)
        self._read = read
        self.keys = [key_of(name) for name in self._names]

    def where(self, number: int) -> str:
        return f"{self._path}: {self._names[number]!r}"

    def read(self, number: int) -> List[LabelledInterval]:
        return self._read(self._names[number])


class _Ctm(_Listed):
    def __init__(self, path: Path) -> None:
        tracks = read_ctm(path)
        super().__init__(path, list(tracks), lambda name: tracks[name].intervals())


class _FrameList(_Listed):
    def __init__(self, path: Path) -> None:
        phones: Dict[str, str] = read_frame_list(path)
        super().__init__(path, list(phones), lambda name: runs_of(phones[name]))

    def clock(self, ends: Sequence[float], seconds: Sequence[float]) -> Clock:
        return frame_list_clock(ends, seconds, self._path, FRAME_CENTRE)


def alignment_files(folder: Path) -> List[str]:
    """Return the relative path of every ``.TextGrid``, ``.lab`` and ``.phn`` file at any depth, in linked folders too, sorted.

    Raises:
        SoftHubertError: a folder cannot be read.
    """
    problems: List[str] = []
    found = sorted(name for name in files_below(str(folder), problems, Counter()) if name.lower().endswith((".textgrid", ".lab", ".phn")))
    if problems:
        raise SoftHubertError(problems[0])
    return found
