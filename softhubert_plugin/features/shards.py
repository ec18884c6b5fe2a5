"""Read and write fairseq's feature shards, ``{split}_{rank}_{nshard}.npy`` with ``.len``, as streams.

A shard holds the frames of its utterances one after another, ``(frames, dimension)``; the ``.len`` file gives the number of frames of
each utterance. Our shards also have a ``.json`` that says what the features are. Shards of fairseq's own dump scripts lack it and can be
read too.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, NoReturn, Optional, Tuple

import numpy as np
from npy_append_array import NpyAppendArray, recover

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.array_files import open_rows
from softhubert_plugin.files import PathLike, disk_errors, write_json, write_text
from softhubert_plugin.text_files import read_json


def check_nshard(nshard: int) -> None:
    """Check a number of shards.

    Raises:
        SoftHubertError: there would be none.
    """
    if nshard < 1:
        raise SoftHubertError(f"NSHARD {nshard}: expected 1 or more shards")


def shard_range(total: int, nshard: int, rank: int) -> Tuple[int, int]:
    """The utterances ``[start, end)`` of a shard, by fairseq's rounding rule.

    Raises:
        SoftHubertError: there is no shard, ``rank`` is not within ``0 … nshard-1``, or there are more shards than utterances.
    """
    check_nshard(nshard)
    if not 0 <= rank < nshard:
        raise SoftHubertError(f"rank {rank} of {nshard} shards: expected a rank from 0 to {nshard - 1}")
    if nshard > total:
        raise SoftHubertError(f"{nshard} shards of {total} utterances would leave some empty; ask for at most {total}")
    return round(total / nshard * rank), round(total / nshard * (rank + 1))


@dataclass(frozen=True)
class FeatureShard:
    """One shard with memory-mapped frames.

    Attributes:
        path: the ``.npy`` file.
        frames: ``(frames, dimension)`` float16, float32 or float64, read from disk only when used.
        lengths: ``(utterances,)`` int64, frames of each utterance.
        info: what the features are (``kind``, ``frame_rate``, ``manifest_sha256`` …); empty for shards of fairseq's scripts.
    """

    path: Path
    frames: np.ndarray
    lengths: np.ndarray
    info: Dict[str, Any]

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def offsets(self) -> np.ndarray:
        """``(utterances + 1,)``: utterance ``i`` is ``frames[offsets[i]:offsets[i + 1]]``."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def utterance(self, index: int) -> np.ndarray:
        """The ``(frames, dimension)`` float32 features of one utterance.

        Raises:
            SoftHubertError: a value is NaN or infinite.
        """
        first, end = self.offsets[index : index + 2]
        return self._finite(index, self.frames[first:end])

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.utterance, range(len(self)))

    def _finite(self, index: int, frames: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # the check below reports it
            frames = np.asarray(frames, dtype=np.float32)
        if not np.isfinite(frames).all():
            self._refuse_utterance(index)
        return frames

    def refuse_row(self, row: int) -> NoReturn:
        """Report an unusable value in a row of :attr:`frames`, by the utterance that the row belongs to.

        Raises:
            SoftHubertError: always.
        """
        self._refuse_utterance(int(np.searchsorted(self.offsets, row, side="right")) - 1)

    def _refuse_utterance(self, index: int) -> NoReturn:
        first, end = self.offsets[index : index + 2]
        largest = np.abs(self.frames[first:end]).max()
        found = f"features as large as {largest:.3g}" if np.isfinite(largest) else "NaN or infinite features"
        raise SoftHubertError(
            f"{self.path}: {found} in utterance {index} (line {index + 1} of its .len file); check that audio file and dump the shard again"
        )


def shard_path(directory: PathLike, split: str, rank: int, nshard: int, suffix: str = ".npy") -> Path:
    """The path of a shard: ``DIR/{split}_{rank}_{nshard}{suffix}``."""
    return Path(directory) / f"{split}_{rank}_{nshard}{suffix}"


def counts_of_shards(lab_dir: PathLike, split: str, suffix: str) -> List[int]:
    """List the numbers of shards, as their names give them, of the shards of a split with this ending, such as ``.km``."""
    pattern = re.compile(re.escape(split) + r"_[0-9]+_([0-9]+)" + re.escape(suffix))
    folder = Path(lab_dir)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted({int(found.group(1)) for found in map(pattern.fullmatch, names) if found})


def _journal_path(path: Path) -> Path:
    """The journal of the writer of a shard: it is there while the shard is being written, and after an interruption."""
    return path.with_name(f".{path.stem}.len.partial")


def read_shard(directory: PathLike, split: str, rank: int, nshard: int) -> FeatureShard:
    """Open one shard and check that its parts belong together.

    Raises:
        SoftHubertError: a part is missing or damaged, ``.npy`` and ``.len`` disagree, or the shard's dump was interrupted.
    """
    path = shard_path(directory, split, rank, nshard)
    remedy = f"dump the shard again ('softhubert features ... {nshard} {rank} {directory}')"
    journal = _journal_path(path)
    # Without its description, what lies there would count as fairseq's own, whatever it was made of.
    if journal.exists() and not path.with_suffix(".json").exists():
        raise SoftHubertError(
            f"{path}: its dump was interrupted or is still running ({journal.name} is beside it); {remedy}, or "
            "remove that file if another program wrote the shard since"
        )
    frames, lengths = open_rows(path, what="feature shard", remedy=remedy)
    return FeatureShard(path=path, frames=frames, lengths=lengths, info=_read_info(path.with_suffix(".json"), remedy))


def _read_info(path: Path, remedy: str) -> Dict[str, Any]:
    """The description beside a shard; empty if there is none."""
    if not path.exists():
        return {}
    info = read_json(path, remedy=remedy)
    if not isinstance(info, dict):
        raise SoftHubertError(f"{path}: expected a description of features, found {str(info)[:60]!r}; {remedy}")
    rate = info.get("frame_rate", 1)
    if type(rate) not in (int, float) or not 0 < rate < 1e6:
        raise SoftHubertError(f"{path}: frame_rate is {str(rate)[:60]!r}, expected frames per second; {remedy}")
    return info


def read_shards(directory: PathLike, split: str, nshard: int) -> List[FeatureShard]:
    """Open all shards of a split.

    Raises:
        SoftHubertError: as :func:`read_shard`, or there is no shard, or the shards differ in dimension or kind.
    """
    check_nshard(nshard)
    shards = [read_shard(directory, split, rank, nshard) for rank in range(nshard)]
    for shard in shards[1:]:
        if shard.frames.shape[1] != shards[0].frames.shape[1] or shard.info != shards[0].info:
            raise SoftHubertError(
                f"{shard.path}: other features than {shards[0].path} (dimension {shard.frames.shape[1]} and "
                f"{shards[0].frames.shape[1]}, {shard.info} and {shards[0].info}); dump all shards of a split the same way"
            )
    return shards


def is_complete(directory: PathLike, split: str, rank: int, nshard: int, info: Dict[str, Any]) -> bool:
    """Whether this shard is already complete and from the same source, so that a rerun can skip it.

    Args:
        info: what its ``.json`` must say.
    """
    try:
        return read_shard(directory, split, rank, nshard).info == info
    except SoftHubertError:
        return False


class ShardWriter:
    """Writes one shard, one utterance at a time; the shard appears when the ``with`` block ends without an error.

    Until then the data is in hidden ``.partial`` files: the frames, and a journal of the description and the lengths. The journal is
    always written after the frames. With ``resume`` both files survive an interruption, and the next writer with the same description
    continues from them.

    Args:
        info: what the features are, kept in the ``.json`` beside the shard.
        dtype: the type to store, ``float32`` or ``float16``; ``None`` keeps the type of the features.
        resume: continue where an interrupted writer stopped; :attr:`lengths` then holds the lengths already written.
        made_with: settings that the bytes depend on but the description does not name; with other settings, a rerun starts anew.

    Raises:
        SoftHubertError: another process is writing the same shard, or the disk is full or may not be written.
    """

    # After this many utterances the frames are forced to disk, and then the journal records them.
    COMMIT_EVERY = 64

    def __init__(
        self,
        directory: PathLike,
        split: str,
        rank: int,
        nshard: int,
        info: Dict[str, Any],
        *,
        dtype: Optional[str] = None,
        resume: bool = False,
        made_with: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.path = shard_path(directory, split, rank, nshard)
        self.info = info
        self.dtype = dtype
        self.resume = resume
        self.made_with = made_with or {}
        self.lengths: List[int] = []
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._journal_path = _journal_path(self.path)
        self._pending: List[int] = []
        self._output: Optional[Any] = None

    def __enter__(self) -> ShardWriter:
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = open(self._journal_path, "a+", encoding="utf-8")
            try:
                fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._journal.close()
                raise SoftHubertError(f"{self.path}: another process is writing this shard; wait for it, or stop it first") from None
            # The old description is removed first and the new one is written last: an interrupted shard is never taken for complete.
            # Without its lengths too, the old shard is not taken for one of fairseq's own.
            self.path.with_suffix(".json").unlink(missing_ok=True)
            self.path.with_suffix(".len").unlink(missing_ok=True)
            self.rewind(self._written() if self.resume else 0)
        return self

    def _written(self) -> int:
        """The number of whole utterances that an interrupted run wrote; fills :attr:`lengths` from its journal."""
        try:
            self._journal.seek(0)
            description, *lines = self._journal.read().split("\n")[:-1] or [""]  # the last part is empty, or a line that was cut off
            if description != self._description or not self._partial.exists():
                return 0
            self.lengths = [int(line) for line in lines]
            with open(self._partial, "rb") as stream:
                bytes_a_frame = _bytes_a_frame(stream)
                frames = (os.fstat(stream.fileno()).st_size - stream.tell()) // bytes_a_frame
            return int(np.searchsorted(np.cumsum(self.lengths), frames, side="right"))
        except Exception:  # damaged: nothing of it can be used
            self.lengths = []
            return 0

    def rewind(self, utterances: int) -> None:
        """Keep only the first ``utterances`` utterances."""
        del self.lengths[utterances:]
        self._pending = []
        if self._output is not None:
            self._output.close()
        if not self.lengths:
            self._partial.unlink(missing_ok=True)
        else:
            with open(self._partial, "r+b") as stream:
                bytes_a_frame = _bytes_a_frame(stream)
                stream.truncate(stream.tell() + sum(self.lengths) * bytes_a_frame)
            recover(str(self._partial))  # writes the number of remaining frames into the header
        self._journal.truncate(0)
        self._journal.write("".join(f"{line}\n" for line in (self._description, *self.lengths)))
        self._journal.flush()
        self._output = NpyAppendArray(str(self._partial))

    @property
    def _description(self) -> str:
        return json.dumps([self.info, self.dtype, self.made_with], sort_keys=True)

    def add(self, frames: np.ndarray) -> None:
        """Append the ``(frames, dimension)`` features of the next utterance.

        Raises:
            SoftHubertError: a value is too large for float16, or the disk is full.
        """
        with np.errstate(over="ignore"):  # the check below reports it
            stored = np.ascontiguousarray(frames, dtype=self.dtype)
        if self.dtype == "float16" and np.isinf(stored).any() and np.isfinite(frames).all():
            raise SoftHubertError(
                f"{self.path}: utterance {len(self.lengths)} has values up to {np.abs(frames).max():.3g}, beyond float16's 65504; "
                "dump with --dtype float32"
            )
        assert self._output is not None, "used outside its 'with' block"
        with disk_errors(self.path):
            self._output.append(stored)
            self.lengths.append(len(frames))
            self._pending.append(len(frames))
            if len(self._pending) >= self.COMMIT_EVERY:
                self._commit()

    def _commit(self) -> None:
        """Force the frames to disk, then record their lengths in the journal."""
        if self._output is not None and self._output.fp is not None:
            self._output.fp.flush()
            os.fsync(self._output.fp.fileno())
        self._journal.write("".join(f"{length}\n" for length in self._pending))
        self._journal.flush()
        self._pending = []

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        with disk_errors(self.path):
            try:
                if error is None:
                    self._commit()
                if self._output is not None:
                    self._output.close()
                if error is None:
                    os.replace(self._partial, self.path)
                    write_text(self.path.with_suffix(".len"), "".join(f"{length}\n" for length in self.lengths))
                    write_json(self.path.with_suffix(".json"), self.info)
                elif not self.resume:
                    self._partial.unlink(missing_ok=True)
                if error is None or not self.resume:
                    self._journal_path.unlink(missing_ok=True)
            finally:
                self._journal.close()


def _bytes_a_frame(stream: BinaryIO) -> int:
    """The bytes per frame of a ``.npy`` file; reads its header and leaves ``stream`` at the data.

    Raises:
        ValueError: the header is damaged.
    """
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return int(np.prod(shape[1:])) * dtype.itemsize
