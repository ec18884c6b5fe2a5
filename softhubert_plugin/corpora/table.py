"""Write manifests of a corpus that is described by a table with one row per utterance: LJSpeech, Common Voice, NeMo, or any other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, Optional, Sequence, Tuple

from softhubert_plugin.corpora.assemble import Wishes, write_corpus
from softhubert_plugin.corpora.listed import Faults, Listed, UtteranceFault, named_inputs, path_from, seconds_from, word_from
from softhubert_plugin.corpora.placing import OVERSHOOT_SECONDS
from softhubert_plugin.corpora.table_rows import Row, TableLayout, read_rows
from softhubert_plugin.errors import SoftHubertError

COLUMNS = ("path", "text", "speaker", "split", "start", "duration", "end")


@dataclass(frozen=True)
class TableForm:
    """How a kind of table is written and what its columns are.

    Attributes:
        layout: how it is written.
        columns: for each of :data:`COLUMNS` the column's own name. Those that are not named are used if the table has a column of the
            same name.
        pattern: what a value of the path column stands for, such as ``wavs/{}.wav``.
        optional: those of the named columns that a table may lack.
        split_is_file: each file is a split of its own name.
        converts: recordings are converted without being asked for, because this kind is never at 16 kHz.
    """

    layout: TableLayout = field(default_factory=TableLayout)
    columns: Dict[str, str] = field(default_factory=dict)
    pattern: str = "{}"
    optional: FrozenSet[str] = frozenset()
    split_is_file: bool = False
    converts: bool = False


PRESETS: Dict[str, TableForm] = {
    # id|text|text with numbers and abbreviations in words
    "ljspeech": TableForm(
        TableLayout(delimiter="|", header=False, quoting=False), {"path": "1", "text": "3"}, pattern="wavs/{}.wav", converts=True
    ),
    # Its sentences have quotation marks that are not quoting.
    "commonvoice": TableForm(
        TableLayout(delimiter="\t", quoting=False),
        {"path": "path", "text": "sentence", "speaker": "client_id"},
        pattern="clips/{}",
        split_is_file=True,
        converts=True,
    ),
    "nemo": TableForm(columns={"path": "audio_filepath", "start": "offset"}, optional=frozenset({"start"})),
}


def table_form(
    preset: Optional[str],
    columns: Dict[str, Optional[str]],
    *,
    delimiter: Optional[str] = None,
    header: bool = True,
    quoting: bool = True,
    pattern: Optional[str] = None,
) -> TableForm:
    """Combine a preset with what the user says, which counts more.

    Raises:
        SoftHubertError: the delimiter or the pattern is not usable, or both a duration and an end are named.
    """
    form = PRESETS[preset] if preset else TableForm()
    named = {column: name for column, name in columns.items() if name is not None}
    if "duration" in named and "end" in named:
        raise SoftHubertError("--duration and --end say the same; give one of them")
    if delimiter is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n\0':
            raise SoftHubertError(f"--delimiter {delimiter!r}: expected one character, or 'tab'")
    if pattern is not None and pattern.count("{}") != 1:
        raise SoftHubertError(f"--path-pattern {pattern}: expected one {{}} for the column's value, such as wavs/{{}}.wav")
    layout = TableLayout(delimiter or form.layout.delimiter, form.layout.header and header, form.layout.quoting and quoting)
    columns_now = {**form.columns, **named}
    return replace(form, layout=layout, columns=columns_now, pattern=pattern or form.pattern, optional=form.optional - set(named))


def write_table_manifests(files: Sequence[str], form: TableForm, wishes: Wishes) -> str:
    """Write manifests and transcripts of the utterances that tables list.

    Args:
        files: the tables, ``FILE`` or ``SPLIT=FILE``. Relative paths in a table start from its folder, unless ``wishes`` have a root.
        form: how the tables are written.
        wishes: what the user wants.

    Returns:
        A report: what was skipped, converted, cut and changed, and the size of each split.

    Raises:
        SoftHubertError: a table cannot be read or lacks a column, or :func:`write_corpus` refuses the corpus.
    """
    inputs = named_inputs(files)
    if form.split_is_file:
        inputs = [(split or path.stem, path) for split, path in inputs]
    for _, path in inputs:
        if path.suffix == ".tsv" and os.path.realpath(path.parent) == os.path.realpath(wishes.dest):
            raise SoftHubertError(f"{path}: is in the folder that is written to, where manifests are .tsv files too; give another --dest")
    if form.converts and wishes.resample_to is None:
        wishes = replace(wishes, resample_to=wishes.dest / "audio")
    faults = Faults(wishes.skip_unreadable)
    listed = (each for split, path in inputs for each in _listed(path, split, form, wishes.root, faults))
    root = inputs[0][1].parent if len({path.parent for _, path in inputs}) == 1 else None
    written = write_corpus(listed, wishes, faults, source=inputs[0][1], default_root=root)
    return "\n".join(written.report)


def _listed(path: Path, split: Optional[str], form: TableForm, root: Optional[Path], faults: Faults) -> Iterator[Listed]:
    if split is not None and "split" in form.columns:
        raise SoftHubertError(f"{split}={path}: --split names a column with the splits; give one or the other")
    columns = {column: form.columns.get(column, column) for column in COLUMNS}
    needed = list(dict.fromkeys([columns["path"], *(name for column, name in form.columns.items() if column not in form.optional)]))
    for row in read_rows(path, form.layout, needed, list(columns.values()), faults):
        with faults.tolerated():
            missing = [name for name in needed if name not in row.values]
            if missing:
                raise UtteranceFault(f"{row.where}: has no {missing[0]!r}, only {', '.join(map(str, row.values))[:80]}")
            yield _utterance(row, split, form, columns, root or path.parent)


def _utterance(row: Row, split: Optional[str], form: TableForm, columns: Dict[str, str], root: Path) -> Listed:
    text, speaker, named_split = (_text(row, columns[column], column) for column in ("text", "speaker", "split"))
    name = form.pattern.replace("{}", path_from(_text(row, columns["path"], "path") or "", row.where))
    start, end = _times(row, columns, form)
    stem = os.path.splitext(os.path.basename(name))[0]
    recording = os.path.splitext(os.path.relpath(name, root) if os.path.isabs(name) else name)[0]
    if start > 0 or end is not None:
        stem += f"-{round(start * 1000):08d}-" + ("end" if end is None else f"{round(end * 1000):08d}")
    return Listed(
        where=row.where,
        name=stem,
        recording=recording,
        audio=root / name,
        start=start,
        end=end,
        text=text,
        speaker=word_from(speaker, "speaker", row.where) if speaker else None,
        split=split or (named_split or "").strip() or None,
    )


def _times(row: Row, columns: Dict[str, str], form: TableForm) -> Tuple[float, Optional[float]]:
    values = {column: row.values.get(columns[column]) for column in ("start", "duration", "end")}
    given = {column: value for column, value in values.items() if value is not None and str(value).strip()}
    if "duration" in form.columns or "end" in form.columns:  # a table may have both: the one that the user named counts
        given.pop("end" if "duration" in form.columns else "duration", None)
    times = {column: seconds_from(value, column, row.where) for column, value in given.items()}
    start = times.get("start", 0.0)
    if "duration" in times and "end" in times and abs(start + times["duration"] - times["end"]) > OVERSHOOT_SECONDS:
        raise UtteranceFault(f"{row.where}: the duration and the end contradict each other; name one, with --duration or --end")
    if "duration" in times:
        if times["duration"] <= 0:
            raise UtteranceFault(f"{row.where}: expected a duration above 0 s, found {times['duration']:g}")
        return start, start + times["duration"]
    return start, times.get("end")


def _text(row: Row, column: str, what: str) -> Optional[str]:
    """A value as text; ``None`` if the row has none."""
    value: Any = row.values.get(column)
    if value is None or isinstance(value, str):
        return value
    if what in ("path", "text") or isinstance(value, (bool, dict, list)):
        raise UtteranceFault(f"{row.where}: expected text for the {what}, found {str(value)[:60]!r}")
    return str(value)
