"""fairseq's feature shards ``{split}_{rank}_{nshard}.npy`` with ``.len``: stream in, stream out.

A shard holds the frames of its utterances one after another, ``(frames, dimension)``; the ``.len`` file says how many belong to
each. Ours also leave ``.json`` beside them saying what the features are; shards of fairseq's own dump scripts, which lack it, are
read just as well.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, NoReturn, Tuple

import numpy as np
from npy_append_array import NpyAppendArray

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path, write_json, write_text


def shard_range(total: int, nshard: int, rank: int) -> Tuple[int, int]:
    """The utterances ``[start, end)`` of a shard, by fairseq's rounding rule.

    Raises:
        SoftHubertError: ``rank`` is not within ``0 … nshard-1``, or there are more shards than utterances.
    """
    if not 0 <= rank < nshard:
        raise SoftHubertError(f"rank {rank} of {nshard} shards: expected a rank from 0 to {nshard - 1}")
    if nshard > total:
        raise SoftHubertError(f"{nshard} shards of {total} utterances would leave some empty; ask for at most {total}")
    return round(total / nshard * rank), round(total / nshard * (rank + 1))


@dataclass(frozen=True)
class FeatureShard:
    """One shard, its frames memory-mapped.

    Attributes:
        path: the ``.npy`` file.
        frames: ``(frames, dimension)`` float16, float32 or float64, on disk until touched.
        lengths: ``(utterances,)`` int64, frames of each utterance.
        info: what the features are (``kind``, ``frame_rate``, ``manifest_sha256`` …); empty for shards of fairseq's scripts.
    """

    path: Path
    frames: np.ndarray
    lengths: np.ndarray
    info: Dict[str, Any]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> np.ndarray:
        """``(utterances + 1,)``: utterance ``i`` is ``frames[offsets[i]:offsets[i + 1]]``."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def utterance(self, index: int) -> np.ndarray:
        """The ``(frames, dimension)`` float32 features of one utterance.

        Raises:
            SoftHubertError: a value is NaN or infinite.
        """
        start = int(self.lengths[:index].sum())
        return self._finite(index, self.frames[start : start + int(self.lengths[index])])

    def __iter__(self) -> Iterator[np.ndarray]:
        offsets = self.offsets
        for index in range(len(self)):
            yield self._finite(index, self.frames[offsets[index] : offsets[index + 1]])

    def _finite(self, index: int, frames: np.ndarray) -> np.ndarray:
        frames = np.asarray(frames, dtype=np.float32)
        if not np.isfinite(frames).all():
            self._refuse_utterance(index)
        return frames

    def refuse_row(self, row: int) -> NoReturn:
        """Report NaN or infinity in a row of :attr:`frames` by the utterance it belongs to."""
        self._refuse_utterance(int(np.searchsorted(self.offsets, row, side="right")) - 1)

    def _refuse_utterance(self, index: int) -> NoReturn:
        raise SoftHubertError(
            f"{self.path}: NaN or infinite features in utterance {index} (line {index + 1} of its .len file); "
            "check that audio file and dump the shard again"
        )


def shard_path(directory: PathLike, split: str, rank: int, nshard: int, suffix: str = ".npy") -> Path:
    """``DIR/{split}_{rank}_{nshard}{suffix}``."""
    return Path(directory) / f"{split}_{rank}_{nshard}{suffix}"


def read_shard(directory: PathLike, split: str, rank: int, nshard: int) -> FeatureShard:
    """Open one shard and check that its parts belong together.

    Raises:
        SoftHubertError: a part is missing, truncated, or ``.npy`` and ``.len`` disagree.
    """
    path = shard_path(directory, split, rank, nshard)
    lengths_path = path.with_suffix(".len")
    remedy = f"dump the shard again ('softhubert features ... {nshard} {rank} {directory}')"
    for part in (path, lengths_path):
        if not part.exists():
            raise SoftHubertError(f"{part}: no such feature file; {remedy}")
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
        lengths = np.asarray([int(line) for line in lengths_path.read_text().split()], dtype=np.int64)
    except (ValueError, EOFError) as error:
        raise SoftHubertError(f"{path}: truncated or not a feature shard ({error}); {remedy}") from None
    if frames.ndim != 2 or frames.dtype.kind != "f":
        raise SoftHubertError(f"{path}: expected (frames, dimension) floats, found {frames.dtype} {frames.shape}; {remedy}")
    if not len(lengths) or lengths.min() < 1:
        raise SoftHubertError(f"{lengths_path}: no utterances, or one without frames; {remedy}")
    if lengths.sum() != len(frames):
        raise SoftHubertError(f"{path}: {len(frames)} frames, but {lengths_path.name} counts {lengths.sum()}; {remedy}")
    info_path = path.with_suffix(".json")
    info = json.loads(info_path.read_text()) if info_path.exists() else {}
    return FeatureShard(path=path, frames=frames, lengths=lengths, info=info)


def read_shards(directory: PathLike, split: str, nshard: int) -> List[FeatureShard]:
    """Open all shards of a split.

    Raises:
        SoftHubertError: as :func:`read_shard`, or shards of different dimensions or kinds lie together.
    """
    shards = [read_shard(directory, split, rank, nshard) for rank in range(nshard)]
    for shard in shards[1:]:
        if shard.frames.shape[1] != shards[0].frames.shape[1] or shard.info != shards[0].info:
            raise SoftHubertError(
                f"{shard.path}: other features than {shards[0].path} (dimension {shard.frames.shape[1]} and "
                f"{shards[0].frames.shape[1]}, {shard.info} and {shards[0].info}); dump all shards of a split the same way"
            )
    return shards


def is_complete(directory: PathLike, split: str, rank: int, nshard: int, info: Dict[str, Any]) -> bool:
    """Whether this shard was already written whole, from the same source (so that a rerun skips it)."""
    try:
        return read_shard(directory, split, rank, nshard).info == info
    except SoftHubertError:
        return False


class ShardWriter:
    """Writes one shard, an utterance at a time; the shard appears when the ``with`` block ends without an error.

    Args:
        info: what the features are, kept in the ``.json`` beside the shard.
    """

    def __init__(self, directory: PathLike, split: str, rank: int, nshard: int, info: Dict[str, Any]) -> None:
        self.path = shard_path(directory, split, rank, nshard)
        self.info = info
        self.lengths: List[int] = []
        self._open = ExitStack()

    def __enter__(self) -> ShardWriter:
        # The old description goes first and the new one comes last: a shard whose writing broke off is never taken for complete.
        self.path.with_suffix(".json").unlink(missing_ok=True)
        temporary = self._open.enter_context(atomic_path(self.path))
        temporary.unlink()
        self._output = self._open.enter_context(NpyAppendArray(str(temporary)))
        return self

    def add(self, frames: np.ndarray) -> None:
        """Append the ``(frames, dimension)`` features of the next utterance."""
        self._output.append(np.ascontiguousarray(frames))
        self.lengths.append(len(frames))

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._open.__exit__(kind, error, traceback)
        if error is None:
            write_text(self.path.with_suffix(".len"), "".join(f"{length}\n" for length in self.lengths))
            write_json(self.path.with_suffix(".json"), self.info)
