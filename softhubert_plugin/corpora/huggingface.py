"""Write manifests of a data set that Hugging Face's ``datasets`` saved on the disk (``save_to_disk``), whose audio is inside its tables."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import soundfile

from softhubert_plugin.audio.threads import soundfile_threads
from softhubert_plugin.corpora.assemble import Wishes, write_corpus
from softhubert_plugin.corpora.listed import SPLIT_NAME, Faults, Listed, UtteranceFault, word_from
from softhubert_plugin.corpora.segments import WORKERS, Outcome, convert_bytes, target_in
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import refuse_name
from softhubert_plugin.requirements import how_to_install

_ROWS_AT_A_TIME = 64  # their audio is in memory together


class DatasetColumns(NamedTuple):
    """The names of a data set's columns; ``None`` for the usual name, which it may lack."""

    audio: str = "audio"
    text: Optional[str] = None
    speaker: Optional[str] = None


def write_huggingface_manifests(folder: Path, columns: DatasetColumns, wishes: Wishes) -> str:
    """Write the audio of a data set as 16 kHz FLAC with one channel to ``DEST/audio``, and its manifests and transcripts.

    Args:
        folder: the data set; each of its splits becomes one here.
        columns: its columns.
        wishes: what the user wants.

    Returns:
        A report: what was skipped and changed, and the size of each split.

    Raises:
        SoftHubertError: datasets is not installed, the folder has no such data set, a column is missing, or :func:`write_corpus` refuses
            the corpus.
    """
    refuse_name(os.path.abspath(wishes.dest), of_root=True)
    splits = _open(folder)
    faults = Faults(wishes.skip_unreadable)
    listed = (each for split, table in splits.items() for each in _listed(folder, split, table, columns, wishes.dest, faults))
    written = write_corpus(listed, wishes, faults, source=folder, default_root=wishes.dest)
    return "\n".join(written.report)


def _open(folder: Path) -> Dict[Optional[str], Any]:
    """Open the tables of a data set's splits."""
    try:
        import datasets
    except ImportError as error:
        raise SoftHubertError(f"datasets cannot be imported ({error}); {how_to_install('huggingface')}") from None
    if not os.path.isdir(folder):
        raise SoftHubertError(f"{folder}: no such folder; give one that datasets' save_to_disk wrote")
    try:
        found = datasets.load_from_disk(os.path.abspath(folder))
    except Exception as error:  # datasets checks little: what is malformed raises whatever it leads to
        summary = " ".join(str(error).split())[:120]
        raise SoftHubertError(f"{folder}: not a data set that datasets' save_to_disk wrote ({summary}); save it again") from None
    if not isinstance(found, dict):
        return {None: found}
    for split in found:
        if not SPLIT_NAME.fullmatch(str(split)):
            raise SoftHubertError(f"{folder}: expected splits named by letters, digits, '-', '_' and '.'; found {str(split)[:60]!r}")
    return dict(found)


def _listed(folder: Path, split: Optional[str], table: Any, columns: DatasetColumns, dest: Path, faults: Faults) -> Iterator[Listed]:
    names = _columns_of(folder, table, columns)
    undecoded = _undecoded(folder, table, columns.audio)
    numbered = enumerate(undecoded.select_columns([columns.audio, *names.values()]))
    with soundfile_threads(WORKERS) as pool:
        while True:
            rows: List[Tuple[int, Dict[str, Any]]] = list(itertools.islice(numbered, _ROWS_AT_A_TIME))
            if not rows:
                return
            places = [f"{folder}, {split + ', ' if split else ''}row {number}" for number, _ in rows]
            targets = [target_in(dest / "audio", split or "all", f"{split or 'all'}-{number:07d}") for number, _ in rows]
            audio = pool.map(_write_audio, places, targets, [row[columns.audio] for _, row in rows])
            for (_, row), where, target, found in zip(rows, places, targets, audio):
                with faults.tolerated():
                    if found.problem:
                        raise UtteranceFault(found.problem)
                    yield _utterance(row, where, target, names, split)


def _columns_of(folder: Path, table: Any, columns: DatasetColumns) -> Dict[str, str]:
    """The columns for text and speaker that a table has.

    Raises:
        SoftHubertError: a column that was named is missing, or that of the audio.
    """
    there = list(table.column_names)
    wanted = {"audio": columns.audio, "text": columns.text, "speaker": columns.speaker}
    for what, name in wanted.items():
        if name is not None and name not in there:
            raise SoftHubertError(f"{folder}: no column {name!r}; its columns are {', '.join(there)[:200]}; give another --{what}")
    return {what: wanted[what] or what for what in ("text", "speaker") if (wanted[what] or what) in there}


def _undecoded(folder: Path, table: Any, column: str) -> Any:
    """The table with the bytes of its audio files, not with samples that datasets would decode; or with samples, if it has only those."""
    import datasets

    feature = table.features[column]
    if isinstance(feature, dict) and {"array", "sampling_rate"} <= set(feature):
        return table
    try:
        return table.cast_column(column, datasets.Audio(decode=False))
    except Exception as error:  # as above
        summary = " ".join(str(error).split())[:120]
        raise SoftHubertError(f"{folder}: the column {column!r} is not audio ({summary}); give another --audio") from None


def _write_audio(where: str, target: Path, audio: Any) -> Outcome:
    if not isinstance(audio, dict):
        return Outcome(problem=f"{where}: expected audio, found none")
    if audio.get("array") is not None:
        try:
            return convert_bytes(_as_wav(audio["array"], audio.get("sampling_rate")), where, target)
        except (TypeError, ValueError, OverflowError, soundfile.SoundFileError) as error:
            return Outcome(problem=f"{where}: expected samples at a sampling rate ({' '.join(str(error).split())[:80]})")
    data = audio.get("bytes")
    if data is None:
        path = audio.get("path")
        if not path or not os.path.isfile(path):
            return Outcome(problem=f"{where}: expected audio in the data set, found only its path ({str(path)[:80]!r}), and no such file")
        data = Path(path).read_bytes()
    return convert_bytes(data, where, target)


def _as_wav(array: Any, rate: Any) -> bytes:
    """A WAV file of samples that are in the table as numbers: ``(samples,)`` or, as datasets decodes it, ``(channels, samples)``."""
    stream = io.BytesIO()
    soundfile.write(stream, np.asarray(array, dtype=np.float32).T, int(rate), format="WAV", subtype="FLOAT")
    return stream.getvalue()


def _utterance(row: Dict[str, Any], where: str, target: Path, names: Dict[str, str], split: Optional[str]) -> Listed:
    text = row[names["text"]] if "text" in names else None
    speaker = row[names["speaker"]] if "speaker" in names else None
    if text is not None and not isinstance(text, str):
        raise UtteranceFault(f"{where}: expected text in the column {names['text']!r}, found {str(text)[:60]!r}")
    return Listed(
        where=where,
        name=target.stem,
        recording=target.stem,
        audio=target,
        text=text,
        speaker=None if speaker is None else word_from(str(speaker), "speaker", where),
        split=split,
    )
