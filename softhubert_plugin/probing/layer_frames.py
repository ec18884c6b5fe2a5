"""Frames of some layers with their phones, from feature shards: a sample in memory for training, utterance by utterance for testing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np

from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import FeatureShard, read_shards
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest


class LayerFrames:
    """Features of one kind (one layer, or MFCC) of a manifest's utterances, memory-mapped.

    Args:
        default_rate: frames a second, where the shards do not tell.

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
                "give the manifest they were dumped from (with --percent it lies in FEAT_DIR)"
            )
        self.rate = float(info.get("frame_rate", default_rate))
        self._place: List[Tuple[int, int, int]] = []  # shard, first row, rows of each utterance
        for number, shard in enumerate(self.shards):
            offsets = shard.offsets
            self._place.extend((number, int(offsets[row]), int(shard.lengths[row])) for row in range(len(shard)))

    @property
    def dimension(self) -> int:
        return int(self.shards[0].frames.shape[1])

    def length(self, index: int) -> int:
        """Frames of an utterance."""
        return self._place[index][2]

    def utterance(self, index: int) -> np.ndarray:
        """``(frames, D)`` float32.

        Raises:
            SoftHubertError: a value is NaN or infinite.
        """
        shard, first, rows = self._place[index]
        return self._finite(self.shards[shard].frames[first : first + rows])

    def rows(self, utterances: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """``(n, D)`` float32: chosen frames, given by utterance and frame, in ascending order of both."""
        found = np.empty((len(frames), self.dimension), dtype=np.float32)
        starts = np.searchsorted(utterances, np.unique(utterances))
        for start, stop in zip(starts, [*starts[1:], len(utterances)]):
            shard, first, _ = self._place[int(utterances[start])]
            found[start:stop] = self.shards[shard].frames[first + frames[start:stop]]
        return self._finite(found)

    def _finite(self, frames: np.ndarray) -> np.ndarray:
        frames = np.array(frames, dtype=np.float32)  # a copy: torch warns of memory-mapped arrays, which may not be written
        if not np.isfinite(frames).all():
            raise SoftHubertError(f"{self.directory}: NaN or infinite features; dump them again, in float32 if they overflowed")
        return frames


def layer_folders(directory: PathLike, split: str, nshard: int) -> Dict[int, Path]:
    """``FEAT_DIR/layer{N}`` that hold the split, by layer.

    Raises:
        SoftHubertError: there are none.
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


def speakers_of(manifest: Manifest) -> List[str]:
    """Each utterance's speaker: its name up to the first ``-`` or ``_``, as in ``19-198-0000`` and ``spk03-0011``."""
    return [re.split("[-_]", manifest.utterance_id(index), maxsplit=1)[0] for index in range(len(manifest))]


def probing_speakers(speakers: Sequence[str], seed: int) -> Dict[str, List[str]]:
    """Speakers to train on, to choose by (``valid``) and to test on: three, one and one fifth of them, none in two.

    Raises:
        SoftHubertError: there are fewer than three.
    """
    names = sorted(set(speakers))
    if len(names) < 3:
        raise SoftHubertError(
            f"{len(names)} speakers ({', '.join(names)}): probing trains, chooses and tests on different ones, so at least 3 are needed "
            "(a speaker is an utterance's name up to the first '-' or '_')"
        )
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    share = max(1, round(len(names) / 5))
    return {"test": sorted(shuffled[:share]), "valid": sorted(shuffled[share : 2 * share]), "train": sorted(shuffled[2 * share :])}


def labelled(source: LayerFrames, alignments: Alignments, indices: Sequence[int]) -> Iterator[Tuple[int, np.ndarray]]:
    """Each aligned utterance with the phones of its frames."""
    for index in indices:
        if alignments.has(index):
            yield index, alignments.frames(index, source.length(index), source.rate)


def draw_frames(
    source: LayerFrames, alignments: Alignments, indices: Sequence[int], maximum: int, rng: np.random.Generator
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labelled frames of some utterances, at random if there are more than ``maximum``.

    Returns:
        ``(n,)`` utterance, frame and phone of each, ascending.
    """
    parts = []
    for index, phones in labelled(source, alignments, indices):
        known = np.flatnonzero(phones != UNLABELLED)
        parts.append(np.stack([np.full(len(known), index), known, phones[known]]))
    found = np.concatenate(parts, axis=1) if parts else np.empty((3, 0), dtype=np.int64)
    if found.shape[1] > maximum:
        found = found[:, np.sort(rng.choice(found.shape[1], maximum, replace=False))]
    return found[0], found[1], found[2]
