"""Choose the frames that a mixture is fitted on and the held-out frames that measure it: whole utterances, drawn by a seed."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import Chunk, plan_chunks, read_chunk, refuse_unusable
from softhubert_plugin.features.shards import FeatureShard
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.soft_layout import MOST_CLUSTERS
from softhubert_plugin.version import __version__

HELD_OUT_SHARE = 0.1
MAX_HELD_OUT_FRAMES = 10_000
# What follows what is learnt on this many frames: many times the parameters that transitions have.
MAX_WHOLE_FRAMES = 200_000


@dataclass(frozen=True)
class TrainingData:
    """The data of a fit.

    Attributes:
        chunks: the frames to fit on.
        held_out: ``(n, D)`` float32 frames of other utterances, at most :data:`MAX_HELD_OUT_FRAMES`.
        held_out_lengths: ``(utterances,)`` how many of them each utterance has, in order.
        whole: utterances to fit on, at most :data:`MAX_WHOLE_FRAMES` and at least one, in chunks of whole utterances.
    """

    chunks: List[Chunk]
    held_out: np.ndarray
    held_out_lengths: np.ndarray
    whole: List[Chunk]

    @property
    def frames(self) -> int:
        """The number of frames to fit on."""
        return sum(chunk.frames for chunk in self.chunks)


def check_division(n_components: int, percent: float) -> None:
    """Check the options of :func:`divide` before anything is read.

    Raises:
        SoftHubertError: an option is out of range.
    """
    if not 1 <= n_components <= MOST_CLUSTERS:
        raise SoftHubertError(f"{n_components} components: expected 1 to {MOST_CLUSTERS}, because labels store component ids in 16 bits")
    if percent > 1 or percent == 0:
        raise SoftHubertError(f"--percent {percent:g}: expected a share of the utterances in (0, 1], such as 0.1, or -1 for all")


def divide(shards: Sequence[FeatureShard], feat_dir: PathLike, split: str, *, n_components: int, percent: float, seed: int) -> TrainingData:
    """Draw the utterances to fit on and the held-out utterances.

    Args:
        shards: all feature shards of the split.
        feat_dir, split: what error messages name.
        n_components: K.
        percent: share of the utterances to use, in (0, 1]; negative for all.
        seed: of the draw.

    Raises:
        SoftHubertError: an option is out of range, there are fewer frames than components, or a held-out value is NaN, infinite or absurdly
            large; the message names shard and utterance.
    """
    check_division(n_components, percent)
    lengths = np.concatenate([shard.lengths for shard in shards])
    order = np.random.default_rng(seed).permutation(len(lengths))
    if percent > 0:
        order = order[: int(np.ceil(len(lengths) * percent))]
    frames = np.cumsum(lengths[order])
    wanted = min(HELD_OUT_SHARE * frames[-1], MAX_HELD_OUT_FRAMES)
    utterances = min(int(np.searchsorted(frames, wanted)) + 1, len(order) - 1)
    aside, fitted = order[:utterances], order[utterances:]
    chunks = plan_chunks(shards, _chosen(shards, fitted))
    total = sum(chunk.frames for chunk in chunks)
    if total < n_components:
        raise SoftHubertError(
            f"{feat_dir}: {total} frames of {split} to fit {n_components} components; give more speech (--percent) "
            "or ask for fewer components"
        )
    # A single utterance leaves nothing to hold out: the mixture is then measured on what it was fitted on.
    measured = plan_chunks(shards, _chosen(shards, aside if len(aside) else fitted))
    held_out = []
    for chunk in measured:
        rows = read_chunk(chunk)
        refuse_unusable(chunk, rows)
        held_out.append(rows)
    ends = np.cumsum(lengths[np.sort(aside if len(aside) else fitted)]).clip(max=MAX_HELD_OUT_FRAMES)
    held_out_lengths = np.diff(ends, prepend=0)
    some = fitted[: max(1, int(np.searchsorted(np.cumsum(lengths[fitted]), MAX_WHOLE_FRAMES, side="right")))]
    return TrainingData(
        chunks,
        np.concatenate(held_out)[:MAX_HELD_OUT_FRAMES],
        held_out_lengths[held_out_lengths > 0],
        plan_chunks(shards, _chosen(shards, some), whole_utterances=True),
    )


def provenance(shards: Sequence[FeatureShard], frames: int, *, seed: int, options: Mapping[str, Any]) -> Dict[str, Any]:
    """What the metadata of a mixture say about the data and the settings that it was made from.

    Args:
        shards: the feature shards.
        frames: how many of their frames were used.
        options: the other settings of the command, as JSON values.
    """
    return {
        "features": shards[0].info,
        "dimension": shards[0].frames.shape[1],
        "frames": frames,
        "seed": seed,
        "options": dict(options),
        "versions": {"softhubert": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def check_same_features(learnt_from: Mapping[str, Any], found: Mapping[str, Any], path: PathLike, gmm_path: PathLike, remedy: str) -> None:
    """Check that features are of the kind that a mixture was fitted on, as far as both record it.

    How the features were stored, and from which manifest, does not matter.

    Args:
        learnt_from: what the mixture's metadata say about its features.
        found: the description of the features.
        path, gmm_path: the files of both, for the error message.
        remedy: what to do.

    Raises:
        SoftHubertError: they are not.
    """
    one, other = ({key: value for key, value in info.items() if key not in ("manifest_sha256", "dtype")} for info in (learnt_from, found))
    if one and other and one != other:
        raise SoftHubertError(f"{path}: features {other}, but {gmm_path} was fitted on {one}; {remedy}")


def _chosen(shards: Sequence[FeatureShard], utterances: np.ndarray) -> List[np.ndarray]:
    """Turn utterance numbers that run through all shards into one mask per shard, ``(utterances,)`` bool."""
    mask = np.zeros(sum(map(len, shards)), dtype=bool)
    mask[utterances] = True
    return np.split(mask, np.cumsum([len(shard) for shard in shards])[:-1])
