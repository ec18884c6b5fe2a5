"""Read hypotheses and references: NIST's ``trn``, plain text line by line, or Kaldi's ``text``.

The content decides between ``trn`` (every line is ``WORDS (id)``) and plain text (no line is). A file that mixes the two is refused, and so
is what would be scored as words by mistake: plain text whose lines seem to begin with Kaldi's utterance names, and files of another
structure, such as CTM.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.scoring.structured import structure_of
from softhubert_plugin.text_files import read_lines_of

FORMS = ("trn", "lines", "kaldi")
COMMENT = ";;"  # of trn files, as in sclite
_NAME = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z_.\-])\S+")  # a first word such as 84-121123-0001 or utt1, but not 7 or SEVEN

Texts = Dict[str, str]


def read_pair(hypotheses: PathLike, references: PathLike, form: str = "auto") -> Tuple[Texts, Texts, str]:
    """Read hypotheses and references, and pair them.

    Args:
        hypotheses, references: the two files. The lines of plain text belong together by position; all others by their ids. As in sclite,
            ids may differ in case.
        form: one of :data:`FORMS`, or ``auto``.

    Returns:
        The text of each hypothesis and of each reference, both with the references' ids and in their order, and the form of the files.
        The lines of plain text get fairseq's names ``None-0``, ``None-1`` and so on.

    Raises:
        SoftHubertError: a file is missing or empty, a line is malformed, the files differ in form, or an id is missing in one file or
            occurs twice.
    """
    if form not in ("auto", *FORMS):
        raise SoftHubertError(f"--format {form}: expected auto, {', '.join(FORMS)}")
    lines_of = {path: _lines(path) for path in (hypotheses, references)}
    if form == "auto":
        form = _form(lines_of)
    if form == "lines":
        _same_length(hypotheses, lines_of[hypotheses], references, lines_of[references])
    read = {"trn": _trn, "lines": _by_position, "kaldi": _kaldi}[form]
    hypothesis_of, reference_of = (read(path, lines_of[path]) for path in (hypotheses, references))
    return _paired(hypotheses, hypothesis_of, references, reference_of), reference_of, form


def _lines(path: PathLike) -> List[str]:
    if Path(path).is_dir():
        raise SoftHubertError(f"{path}: is a folder; give a file in it, such as {Path(path) / 'hypo.word'}")
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; write it with 'softhubert decode'") from None
    if not any(line.strip() for line in lines):
        raise SoftHubertError(f"{path}: the file is empty; decode the split again")
    return lines


def _form(lines_of: Dict[PathLike, List[str]]) -> str:
    """Find the form of two files from their content."""
    first: Dict[bool, Tuple[PathLike, int, str]] = {}  # the first line with a name, and the first one without
    for path, lines in lines_of.items():
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if text and not text.startswith(COMMENT):
                first.setdefault(_split_trn(text) is not None, (path, number, text))
    if len(first) == 2:
        path, number, text = first[False]
        other, place, _ = first[True]
        raise SoftHubertError(
            f"{path}, line {number}: expected 'WORDS (id)' as in line {place} of {other}, found {text[:60]!r}; give both files in "
            "one form, or read every line as words with --format lines"
        )
    if False not in first:
        return "trn"
    _refuse_structures(lines_of)
    _refuse_names(lines_of)
    return "lines"


def _split_trn(text: str) -> Optional[Tuple[str, str]]:
    """Split ``WORDS (id)`` into words and id, which may have parentheses in pairs; ``None`` if it is anything else."""
    depth, start = 0, len(text)
    while start and text.endswith(")"):
        start -= 1
        depth += (text[start] == ")") - (text[start] == "(")
        if not depth:
            name = text[start + 1 : -1].strip()
            return (text[:start].rstrip(), name) if name else None
    return None


def _refuse_structures(lines_of: Dict[PathLike, List[str]]) -> None:
    """Refuse files that hold more than words.

    Raises:
        SoftHubertError: one does.
    """
    for path, lines in lines_of.items():
        structure = structure_of(lines)
        if structure is not None:
            raise SoftHubertError(
                f"{path}: looks like {structure}; give the words alone, one utterance a line, or 'WORDS (id)', or 'id WORDS' with --format "
                "kaldi; --format lines reads every line as words"
            )


def _refuse_names(lines_of: Dict[PathLike, List[str]]) -> None:
    """Refuse plain text whose lines all begin with a name of their own, the same names in both files.

    Raises:
        SoftHubertError: they do.
    """
    names = [[line.split()[0] for line in lines if line.strip()] for lines in lines_of.values()]
    distinct = all(len(set(side)) == len(side) and all(map(_NAME.fullmatch, side)) for side in names)
    if distinct and len(names[0]) > 1 and set(names[0]) & set(names[-1]):
        raise SoftHubertError(
            f"{next(iter(lines_of))}: its lines begin with what look like names of utterances, such as {names[0][0]!r}; read 'id WORDS' "
            "with --format kaldi, or every line as words with --format lines"
        )


def _trn(path: PathLike, lines: Sequence[str]) -> Texts:
    """Read ``WORDS (id)`` lines. Comments are skipped, as in sclite."""
    texts: Texts = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith(COMMENT):
            continue
        parts = _split_trn(text)
        if parts is None:
            raise SoftHubertError(f"{path}, line {number}: expected 'WORDS (id)', found {text[:60]!r}; correct it or decode again")
        _add(texts, parts[1], parts[0], path, number)
    if not texts:
        raise SoftHubertError(f"{path}: the file has only comments; decode the split again")
    return texts


def _kaldi(path: PathLike, lines: Sequence[str]) -> Texts:
    """Read ``id WORDS`` lines."""
    texts: Texts = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, *words = line.split(maxsplit=1)
            _add(texts, name, " ".join(words).rstrip(), path, number)
    return texts


def _add(texts: Texts, name: str, text: str, path: PathLike, number: int) -> None:
    if name in texts:
        raise SoftHubertError(
            f"{path}, line {number}: utterance {name!r} occurs twice; decode the split again, or read every line as words with "
            "--format lines"
        )
    texts[name] = text


def _by_position(path: PathLike, lines: Sequence[str]) -> Texts:
    """Name lines by their position."""
    return {f"None-{number}": line.strip() for number, line in enumerate(lines)}


def _same_length(hypotheses: PathLike, first: List[str], references: PathLike, second: List[str]) -> None:
    """Check that two files of plain text have one line per utterance. Blank lines that one has more at its end are removed.

    Raises:
        SoftHubertError: they differ in their number of lines.
    """
    longer, shorter = (first, second) if len(first) > len(second) else (second, first)
    while len(longer) > len(shorter) and not longer[-1].strip():
        longer.pop()
    if len(first) != len(second):
        raise SoftHubertError(
            f"{hypotheses}: {len(first)} lines, but {references} has {len(second)}; plain text needs one line for each utterance, empty "
            "where nothing was recognised"
        )


def _paired(hypotheses: PathLike, hypothesis_of: Texts, references: PathLike, reference_of: Texts) -> Texts:
    """Give the hypotheses the ids of the references, and their order."""
    if hypothesis_of.keys() != reference_of.keys():
        hypothesis_of = _renamed(hypothesis_of, reference_of)
    for here, there, where, other in (
        (hypothesis_of, reference_of, references, hypotheses),
        (reference_of, hypothesis_of, hypotheses, references),
    ):
        missing = [name for name in here if name not in there]
        if missing:
            raise SoftHubertError(
                f"{where}: {len(missing)} utterances of {other} are missing, the first {missing[0]!r}; give two files of the same split"
            )
    return {name: hypothesis_of[name] for name in reference_of}


def _renamed(hypothesis_of: Texts, reference_of: Texts) -> Texts:
    """Give the hypotheses' ids the case of the references' ids, unless two utterances of a file differ in case only."""
    spelling = {name.casefold(): name for name in reference_of}
    renamed = {spelling.get(name.casefold(), name): text for name, text in hypothesis_of.items()}
    return renamed if len(spelling) == len(reference_of) and len(renamed) == len(hypothesis_of) else hypothesis_of
