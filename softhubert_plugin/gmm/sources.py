"""The frames to label: from a feature shard on disk, or from audio, as MFCCs or through a checkpoint, without writing them in between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

import numpy as np

from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import LARGEST_VALUE, plan_chunks, refuse_unusable, stream_chunks
from softhubert_plugin.features.shards import FeatureShard, read_shard, shard_range
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest, read_manifest

Block = Tuple[np.ndarray, np.ndarray]
# The maximum number of frames in one block, and of values in it. Blocks are large enough that threads seldom wait for each other, and small
# enough that a few blocks per thread take little memory (25 MB each).
BLOCK_FRAMES = 32_768
BLOCK_NUMBERS = 8192 * 768


@dataclass(frozen=True)
class FrameStream:
    """Frames of the utterances of one shard, in order.

    Attributes:
        path: the file that error messages name.
        info: what the frames are, as in the ``.json`` of a feature shard.
        dimension: D.
        lengths: ``(utterances,)`` frames of each utterance.
        blocks: iterates over blocks of whole utterances: their frames ``(n, D)``, and the number of frames of each utterance.
    """

    path: Path
    info: Dict[str, Any]
    dimension: int
    lengths: np.ndarray
    blocks: Callable[[], Iterator[Block]]


def from_shard(feat_dir: PathLike, split: str, rank: int, nshard: int) -> FrameStream:
    """The frames of a feature shard.

    Raises:
        SoftHubertError: the shard is missing or damaged, or, while it is read, an utterance has NaN or infinity (it is named).
    """
    shard = read_shard(feat_dir, split, rank, nshard)
    return FrameStream(shard.path, shard.info, shard.frames.shape[1], shard.lengths, lambda: _shard_blocks(shard))


def _shard_blocks(shard: FeatureShard) -> Iterator[Block]:
    done = 0
    ends = np.cumsum(shard.lengths)
    frames = 0
    everything = [np.ones(len(shard), dtype=bool)]
    chunk_frames = _block_frames(shard.frames.shape[1])
    for chunk, rows in stream_chunks(plan_chunks([shard], everything, chunk_frames=chunk_frames, whole_utterances=True)):
        refuse_unusable(chunk, rows)
        frames += len(rows)
        utterances = int(np.searchsorted(ends, frames)) + 1 - done
        yield rows, shard.lengths[done : done + utterances]
        done += utterances


def _block_frames(dimension: int) -> int:
    return max(1, min(BLOCK_FRAMES, BLOCK_NUMBERS // dimension))


def from_mfcc(tsv_dir: PathLike, split: str, rank: int, nshard: int) -> FrameStream:
    """MFCCs, computed from audio as they are needed and never written to disk; the blocks are those of a feature shard.

    Args:
        tsv_dir: folder of manifests.
        rank, nshard: the shard of the manifest's utterances, from 0, and the number of shards.

    Raises:
        SoftHubertError: manifest or audio is not usable, or an utterance is shorter than one window.
    """
    from softhubert_plugin.features.mfcc_stream import MFCC_DIMENSION, WINDOW_SAMPLES, mfcc_features, mfcc_frames, mfcc_info

    manifest = read_manifest(f"{tsv_dir}/{split}.tsv")
    indices = range(*shard_range(len(manifest), nshard, rank))
    check_audio(manifest)
    check_long_enough(manifest, indices, WINDOW_SAMPLES)

    def blocks() -> Iterator[Block]:
        return _in_blocks(_usable(manifest, zip(indices, mfcc_features(manifest, indices))), MFCC_DIMENSION)

    return FrameStream(
        manifest.path, mfcc_info(manifest), MFCC_DIMENSION, mfcc_frames(manifest.sizes[indices.start : indices.stop]), blocks
    )


def from_audio(tsv_dir: PathLike, split: str, rank: int, nshard: int, checkpoint: PathLike, layer: int, device: str) -> FrameStream:
    """Hidden states of one layer, computed from audio as they are needed and never written to disk; the blocks are those of a shard.

    Args:
        tsv_dir: folder of manifests.
        rank, nshard: the shard of the manifest's utterances, from 0, and the number of shards.
        device: where to compute.

    Raises:
        SoftHubertError: manifest, audio or checkpoint is not usable, the model lacks the layer, or, while blocks are read, an utterance
            gives NaN or infinity.
    """
    from softhubert_plugin.checkpoints.inference import load_for_inference
    from softhubert_plugin.features.hidden_states import frames_of
    from softhubert_plugin.features.layer_stream import layer_features, model_info
    from softhubert_plugin.features.layers import check_layers
    from softhubert_plugin.front_end import receptive_field

    manifest = read_manifest(f"{tsv_dir}/{split}.tsv")
    indices = range(*shard_range(len(manifest), nshard, rank))
    loaded = load_for_inference(checkpoint)
    check_layers([layer], len(loaded.encoder.encoder.layers))
    check_audio(manifest)
    check_long_enough(manifest, indices, receptive_field(loaded.conv_layers))
    dimension = int(loaded.encoder.encoder.embedding_dim)
    lengths = np.asarray([frames_of(int(manifest.sizes[index]), loaded.conv_layers) for index in indices])

    def blocks() -> Iterator[Block]:
        states = layer_features(loaded, manifest, indices, [layer], device=device)
        return _in_blocks(_usable(manifest, ((index, found[layer]) for index, found in zip(indices, states))), dimension)

    return FrameStream(manifest.path, {**model_info(loaded, checkpoint, manifest), "layer": layer}, dimension, lengths, blocks)


def _usable(manifest: Manifest, utterances: Iterable[Tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """The frames of utterances.

    Raises:
        SoftHubertError: a value is NaN, infinite or absurdly large.
    """
    for index, frames in utterances:
        with np.errstate(invalid="ignore"):
            if not (np.abs(frames) <= LARGEST_VALUE).all():
                raise SoftHubertError(
                    f"{manifest.audio_path(index)}: gives NaN, infinite or absurdly large features; check it, and the model"
                )
        yield frames


def _in_blocks(utterances: Iterable[np.ndarray], dimension: int) -> Iterator[Block]:
    """Join utterances to the same blocks as :func:`_shard_blocks`: labels from audio and from a shard are then the same, bit for bit."""
    held: List[np.ndarray] = []
    for frames in utterances:
        if held and sum(map(len, held)) + len(frames) > _block_frames(dimension):
            yield np.concatenate(held), np.asarray([len(part) for part in held])
            held = []
        held.append(frames)
    yield np.concatenate(held), np.asarray([len(part) for part in held])
