"""Frames of some layers with their phones: a sample in memory for training, one utterance at a time for testing."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import FeatureShard, read_shards
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest

# What the descriptions of layers of one model differ in.
_OF_ONE_LAYER = ("layer", "dtype")


class Drawn(NamedTuple):
    """The utterance, the frame and the phone of some frames, ``(n,)`` each, in ascending order of utterance and frame."""

    utterances: np.ndarray
    frames: np.ndarray
    phones: np.ndarray


class LayerSource(ABC):
    """Frames of some layers of a manifest's utterances, all layers at one rate and of one dimension.

    Attributes:
        layers: their numbers.
        rate: frames per second.
        dimension: D.
    """

    layers: List[int]
    rate: float
    dimension: int

    @abstractmethod
    def length(self, index: int) -> int:
        """The number of frames of an utterance."""

    @abstractmethod
    def sample(self, draws: Sequence[Drawn]) -> Callable[[int, int], np.ndarray]:
        """Get the drawn frames of all layers: the result gives the rows ``(n, D)`` float32 of a draw, by its place, in a layer.

        Raises:
            SoftHubertError: a value is NaN or infinite, now or when rows are asked for.
        """

    @abstractmethod
    def stream(self, indices: Sequence[int]) -> Iterator[Tuple[int, Dict[int, np.ndarray]]]:
        """Yield utterances with their ``(frames, D)`` float32 of each layer.

        Args:
            indices: in ascending order.

        Raises:
            SoftHubertError: a value is NaN or infinite.
        """


class LayerFrames:
    """Memory-mapped features of one kind (one layer, or MFCC) of a manifest's utterances.

    Args:
        default_rate: frames per second, for shards that do not record it.

    Raises:
        SoftHubertError: shards are missing or damaged, or belong to another manifest.
    """

    def __init__(self, directory: PathLike, split: str, nshard: int, manifest: Manifest, *, default_rate: float = 50.0) -> None:
        self.directory = Path(directory)
        self.shards: List[FeatureShard] = read_shards(directory, split, nshard)
        info = self.shards[0].info
        total = sum(map(len, self.shards))
        if total != len(manifest) or info.get("manifest_sha256", manifest.fingerprint) != manifest.fingerprint:
            raise SoftHubertError(
                f"{self.directory}: features of {total} utterances of another manifest than {manifest.path} ({len(manifest)} utterances); "
                "give the manifest they were dumped from (with --percent it is in FEAT_DIR)"
            )
        self.rate = float(info.get("frame_rate", default_rate))
        self._place: List[Tuple[int, int, int]] = []  # shard, first row, rows of each utterance
        for number, shard in enumerate(self.shards):
            offsets = shard.offsets
            self._place.extend((number, int(offsets[row]), int(shard.lengths[row])) for row in range(len(shard)))

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.shards[0].frames.shape[1])

    def length(self, index: int) -> int:
        """The number of frames of an utterance."""
        return self._place[index][2]

    def check_same_model(self, other: LayerFrames) -> None:
        """Check that these are other hidden states of the same model, of the same utterances, as far as both tell.

        Raises:
            SoftHubertError: they are not.
        """
        made_of, of_other = (
            {name: value for name, value in each.shards[0].info.items() if name not in _OF_ONE_LAYER} for each in (self, other)
        )
        known = bool(made_of) and bool(of_other)
        lengths, of_others = (np.concatenate([shard.lengths for shard in each.shards]) for each in (self, other))
        if self.dimension != other.dimension or self.rate != other.rate or (known and made_of != of_other):
            raise SoftHubertError(
                f"{self.directory}: features of another model than {other.directory} (dimension {self.dimension} and {other.dimension}, "
                f"{made_of} and {of_other}); dump all layers in one run, or remove the folder that is not wanted"
            )
        if not np.array_equal(lengths, of_others):
            raise SoftHubertError(
                f"{self.directory}: utterances of other lengths than in {other.directory}; dump all layers in one run, or remove the "
                "folder that is not wanted"
            )

    def utterance(self, index: int) -> np.ndarray:
        """The frames of an utterance, ``(frames, D)`` float32.

        Raises:
            SoftHubertError: a value is NaN or infinite.
        """
        shard, first, rows = self._place[index]
        return self._finite(self.shards[shard].frames[first : first + rows])

    def rows(self, utterances: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Chosen frames, ``(n, D)`` float32.

        Args:
            utterances: ``(n,)`` utterance numbers, in ascending order.
            frames: ``(n,)`` frame numbers within those utterances, in ascending order for each utterance.

        Raises:
            SoftHubertError: a value is NaN or infinite.
        """
        found = np.empty((len(frames), self.dimension), dtype=np.float32)
        starts = np.searchsorted(utterances, np.unique(utterances))
        for start, stop in zip(starts, [*starts[1:], len(utterances)]):
            shard, first, _ = self._place[int(utterances[start])]
            found[start:stop] = self.shards[shard].frames[first + frames[start:stop]]
        return self._finite(found)

    def _finite(self, frames: np.ndarray) -> np.ndarray:
        frames = np.array(frames, dtype=np.float32)  # a copy: PyTorch warns about memory-mapped arrays, which are read-only
        if not np.isfinite(frames).all():
            raise SoftHubertError(f"{self.directory}: NaN or infinite features; dump them again, in float32 if they overflowed")
        return frames


def layer_folders(directory: PathLike, split: str, nshard: int) -> Dict[int, Path]:
    """The folders ``FEAT_DIR/layer{N}`` that hold the split, by layer number.

    Raises:
        SoftHubertError: there is no such folder.
    """
    found = {}
    for path in Path(directory).glob("layer*"):
        match = re.fullmatch(r"layer(\d+)", path.name)
        if match and (path / f"{split}_0_{nshard}.npy").exists():
            found[int(match.group(1))] = path
    if not found:
        raise SoftHubertError(
            f"{directory}: no layer{{N}}/{split}_0_{nshard}.npy in it; dump several layers at once with "
            f"'softhubert features hubert ... all {nshard} RANK {directory}'"
        )
    return dict(sorted(found.items()))


def probing_speakers(speakers: Sequence[str], seed: int, *, source: str = "") -> Dict[str, List[str]]:
    """Divide the speakers: three fifths to train on, one fifth to choose by (``valid``), one fifth to test on.

    Args:
        speakers: of each utterance.
        seed: of the draw.
        source: where the speakers come from, in words, for the error message.

    Returns:
        The names in ``train``, ``valid`` and ``test``; each name is in one of them only.

    Raises:
        SoftHubertError: there are fewer than three speakers.
    """
    names = sorted(set(speakers))
    if len(names) < 3:
        raise SoftHubertError(
            f"{len(names)} speakers ({', '.join(names)}): probing trains, chooses and tests on different speakers, so at least 3 are "
            f"needed{source and f' (speakers {source}); give more speakers, or tell them with --speaker-from or a .spk file'}"
        )
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    share = max(1, round(len(names) / 5))
    return {"test": sorted(shuffled[:share]), "valid": sorted(shuffled[share : 2 * share]), "train": sorted(shuffled[2 * share :])}


def frames_without_phone(source: LayerSource, alignments: Alignments) -> Tuple[int, int]:
    """Count the frames of all aligned utterances that are outside their alignments, and all frames of these utterances."""
    without = total = 0
    for _, phones in labelled(source, alignments, range(len(alignments.manifest))):
        without += int((phones == UNLABELLED).sum())
        total += len(phones)
    return without, total


def labelled(source: LayerSource, alignments: Alignments, indices: Sequence[int]) -> Iterator[Tuple[int, np.ndarray]]:
    """Yield each aligned utterance's number with the phones ``(frames,)`` of its frames."""
    for index in indices:
        if alignments.has(index):
            yield index, alignments.frames(index, source.length(index), source.rate)


def draw_frames(source: LayerSource, alignments: Alignments, indices: Sequence[int], maximum: int, rng: np.random.Generator) -> Drawn:
    """The frames of some utterances that have a phone; a random draw if there are more than ``maximum``."""
    # Counted first, so that memory holds the drawn frames only, and not those of a whole corpus.
    counts = {index: int((phones != UNLABELLED).sum()) for index, phones in labelled(source, alignments, indices)}
    ends = np.cumsum([0, *counts.values()])
    total = int(ends[-1])
    drawn = np.arange(total) if total <= maximum else np.sort(rng.choice(total, maximum, replace=False))
    parts = [np.empty((3, 0), dtype=np.int64)]
    for index, begin, places in zip(counts, ends, np.split(drawn, np.searchsorted(drawn, ends[1:-1]))):
        if len(places):
            [(_, phones)] = labelled(source, alignments, [index])
            known = np.flatnonzero(phones != UNLABELLED)[places - begin]
            parts.append(np.stack([np.full(len(known), index), known, phones[known]]))
    found = np.concatenate(parts, axis=1)
    return Drawn(found[0], found[1], found[2])
