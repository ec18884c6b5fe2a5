"""Read the rows of a table: CSV and its kin with any separator, or JSON lines. Every row comes with the number of its line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.corpora.listed import Faults, UtteranceFault
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.text_files import numbered_lines

WHAT = "a table: CSV, TSV or JSON lines"
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t"}  # those that are tried, by extension
ANY_DELIMITER = "\t,|;"


class Row(NamedTuple):
    """A row: where it is, and its values by the names of their columns."""

    where: str
    values: Dict[str, Any]


class TableLayout(NamedTuple):
    """How a table is written.

    Attributes:
        delimiter: the character between columns; ``None`` to find it out from the header.
        header: whether the first line names the columns; otherwise they are named 1, 2, …
        quoting: whether fields may be in quotation marks, as in CSV.
    """

    delimiter: Optional[str] = None
    header: bool = True
    quoting: bool = True


def read_rows(path: Path, layout: TableLayout, needed: Sequence[str], used: Sequence[str], faults: Faults) -> Iterator[Row]:
    """Iterate over the rows of a table.

    Args:
        path: the table; it is JSON lines if its first character is ``{``.
        layout: how it is written.
        needed: columns that it must have. They tell which delimiter it uses.
        used: columns that are read, which it cannot have twice.
        faults: takes the faults of single rows.

    Raises:
        SoftHubertError: the table cannot be read, or lacks a column.
    """
    lines = numbered_lines(path, WHAT)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        raise SoftHubertError(f"{path}: empty; expected {WHAT}")
    opening = first[1].lstrip()[:1]
    if opening == "{":
        yield from _json_rows(path, first, lines, faults)
    elif opening == "[" and path.suffix.startswith(".json"):
        raise SoftHubertError(f"{path}: one JSON array; expected JSON lines, one object per line: convert it with 'jq -c .[] {path.name}'")
    else:
        yield from _delimited_rows(path, first, lines, layout, needed, used, faults)


def _json_rows(path: Path, first: Tuple[int, str], lines: Iterator[Tuple[int, str]], faults: Faults) -> Iterator[Row]:
    for number, line in _chained(first, lines):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        with faults.tolerated():
            yield Row(where, _json_object(line, where))


def _json_object(line: str, where: str) -> Dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UtteranceFault(f"{where}: expected a JSON object, found {line[:60]!r} ({str(error)[:80]})") from None
    if not isinstance(value, dict):
        raise UtteranceFault(f"{where}: expected a JSON object, found {line[:60]!r}")
    return value


def _delimited_rows(
    path: Path,
    first: Tuple[int, str],
    lines: Iterator[Tuple[int, str]],
    layout: TableLayout,
    needed: Sequence[str],
    used: Sequence[str],
    faults: Faults,
) -> Iterator[Row]:
    delimiter = layout.delimiter or _delimiter(path, first[1], layout, needed)
    last = first[0]  # the line that was read last: a quoted field may have several

    def text() -> Iterator[str]:
        nonlocal last
        for number, line in _chained(first, lines):
            last = number
            yield f"{line}\n"

    reader = _reader(text(), delimiter, layout.quoting)
    names: List[str] = []
    start = first[0]
    try:
        for fields in reader:
            where, start = f"{path}, line {start}", last + 1
            if not names:
                names = _names(path, fields, layout, needed, used)
                if layout.header:
                    continue
            if not fields or not any(field.strip() for field in fields):
                continue
            with faults.tolerated():
                yield Row(where, _values(names, fields, delimiter, where))
    except csv.Error as error:
        remedy = "; if quotation marks are parts of the text, give --no-quoting" if layout.quoting else ""
        raise SoftHubertError(f"{path}, line {start}: not a row of a table ({error}); correct it{remedy}") from None


def _reader(lines: Iterator[str], delimiter: str, quoting: bool) -> Iterator[List[str]]:
    # strict: a quotation mark that is not closed is an error. Otherwise it would swallow the rows up to the next one.
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE, strict=quoting)


def _names(path: Path, fields: List[str], layout: TableLayout, needed: Sequence[str], used: Sequence[str]) -> List[str]:
    """The names of the columns.

    Raises:
        SoftHubertError: a needed column is not there, or one that is used is there twice.
    """
    names = [field.strip() for field in fields] if layout.header else [str(number) for number in range(1, len(fields) + 1)]
    for name in (*needed, *used):
        if names.count(name) > 1 or (name in needed and name not in names):
            found = "twice" if name in names else "not"
            shown = ", ".join(repr(each[:30]) for each in names[:12])
            raise SoftHubertError(
                f"{path}: the column {name!r} is {found} there; its columns are {shown}; name the right ones (--path, --text, …), "
                "or give --no-header or a --preset"
            )
    return names


def _values(names: List[str], fields: List[str], delimiter: str, where: str) -> Dict[str, Any]:
    if len(fields) != len(names):
        raise UtteranceFault(f"{where}: expected {len(names)} columns, found {len(fields)}")
    broken = next((field for field in fields if "\n" in field), None)
    if broken is not None and delimiter not in ",;":  # in a proper CSV a quoted field may have several lines
        raise UtteranceFault(f"{where}: a quoted field goes over several lines, from {broken[:40]!r} on; is --no-quoting right?")
    return dict(zip(names, fields))


def _delimiter(path: Path, header: str, layout: TableLayout, needed: Sequence[str]) -> str:
    """Find the delimiter with which the header has the needed columns; without a header, the one that gives most columns."""
    candidates = DELIMITERS.get(path.suffix.lower(), ANY_DELIMITER)
    found: Dict[str, List[str]] = {}
    for delimiter in candidates:
        try:
            found[delimiter] = [name.strip() for name in next(_reader(iter([header]), delimiter, layout.quoting), [])]
        except csv.Error:  # a quoted field that the next line goes on with
            found[delimiter] = header.split(delimiter)
    if layout.header:
        fitting = [delimiter for delimiter, names in found.items() if set(needed) <= set(names)]
        if fitting:
            return fitting[0]
    return max(candidates, key=lambda delimiter: len(found[delimiter]))


def _chained(first: Tuple[int, str], lines: Iterator[Tuple[int, str]]) -> Iterator[Tuple[int, str]]:
    yield first
    yield from lines
