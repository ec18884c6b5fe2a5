"""Where probing gets its frames from: feature shards on disk, or audio, of which nothing is written.

Probing asks twice. For training and validation it wants a sample of the frames of all layers, which fits into memory. For testing it wants
whole utterances, one after another. The speakers of both are different, so audio is read and run through the model once.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.layer_stream import layer_features_of, model_rate
from softhubert_plugin.features.layers import parse_layers
from softhubert_plugin.features.mfcc_stream import MFCC_DIMENSION, MFCC_FRAME_RATE, WINDOW_SAMPLES, mfcc_features, mfcc_frames
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import receptive_field
from softhubert_plugin.manifests import Manifest
from softhubert_plugin.probing.layer_frames import Drawn, LayerFrames, LayerSource

# The rows of a layer ``(n, D)`` float32 in the first, second, … of some draws.
Sample = Callable[[int, int], np.ndarray]


class ShardSource(LayerSource):
    """Layers whose feature shards are on disk; rows are read when they are used.

    Args:
        frames: the shards of each layer, all of one frame rate and dimension.

    Raises:
        SoftHubertError: they are not of one model, or of other utterances.
    """

    def __init__(self, frames: Dict[int, LayerFrames]) -> None:
        self._frames = frames
        self._first = next(iter(frames.values()))
        for other in frames.values():
            other.check_same_model(self._first)
        self.layers, self.rate, self.dimension = list(frames), self._first.rate, self._first.dimension

    def length(self, index: int) -> int:
        return self._first.length(index)

    def sample(self, draws: Sequence[Drawn]) -> Sample:
        return lambda draw, layer: self._frames[layer].rows(draws[draw].utterances, draws[draw].frames)

    def stream(self, indices: Sequence[int]) -> Iterator[Tuple[int, Dict[int, np.ndarray]]]:
        for index in indices:
            yield index, {layer: frames.utterance(index) for layer, frames in self._frames.items()}


class AudioSource(LayerSource):
    """Layers computed from audio. A sample is held in memory: 4 bytes per value, 4.6 GB of 125,000 frames of HuBERT Base's 12 layers."""

    manifest: Manifest

    def sample(self, draws: Sequence[Drawn]) -> Sample:
        rows = {
            (number, layer): np.empty((len(draw.frames), self.dimension), dtype=np.float32)
            for number, draw in enumerate(draws)
            for layer in self.layers
        }
        drawn = sorted({int(index) for draw in draws for index in np.unique(draw.utterances)})
        for index, states in self.stream(drawn):
            for number, draw in enumerate(draws):
                start, stop = np.searchsorted(draw.utterances, [index, index + 1])
                for layer in self.layers:
                    rows[number, layer][start:stop] = states[layer][draw.frames[start:stop]]
        return lambda draw, layer: rows[draw, layer]

    def _finite(self, index: int, states: Dict[int, np.ndarray]) -> Dict[int, np.ndarray]:
        if not all(np.isfinite(frames).all() for frames in states.values()):
            raise SoftHubertError(f"{self.manifest.audio_path(index)}: gives NaN or infinite features; check this file, and the model")
        return states


class HubertSource(AudioSource):
    """Hidden states of a checkpoint, the same bits as those of float32 shards of the manifest in one piece.

    Args:
        checkpoint: the model.
        manifest: the utterances.
        layers: as :func:`~softhubert_plugin.features.layers.parse_layers` reads them.
        device: where to compute.

    Raises:
        SoftHubertError: checkpoint or audio is not usable, or the model lacks a layer.
    """

    def __init__(self, checkpoint: PathLike, manifest: Manifest, layers: str, device: str) -> None:
        from softhubert_plugin.checkpoints.inference import load_for_inference
        from softhubert_plugin.features.hidden_states import frames_of

        self.manifest = manifest
        self._loaded = load_for_inference(checkpoint)
        self._device = device
        self.layers: List[int] = parse_layers(layers, len(self._loaded.encoder.encoder.layers))
        self.rate = model_rate(self._loaded)
        self.dimension = int(self._loaded.encoder.encoder.embedding_dim)
        check_audio(manifest)
        check_long_enough(manifest, range(len(manifest)), receptive_field(self._loaded.conv_layers))
        self._lengths = [frames_of(int(size), self._loaded.conv_layers) for size in manifest.sizes]

    def length(self, index: int) -> int:
        return self._lengths[index]

    def stream(self, indices: Sequence[int]) -> Iterator[Tuple[int, Dict[int, np.ndarray]]]:
        everything = range(len(self.manifest))
        for index, states in layer_features_of(
            self._loaded, self.manifest, everything, self.layers, device=self._device, wanted=set(indices)
        ):
            yield index, self._finite(index, states)


class MfccSource(AudioSource):
    """MFCCs, as layer 0.

    Args:
        manifest: the utterances.

    Raises:
        SoftHubertError: the audio is not usable.
    """

    layers, rate, dimension = [0], MFCC_FRAME_RATE, MFCC_DIMENSION

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        check_audio(manifest)
        check_long_enough(manifest, range(len(manifest)), WINDOW_SAMPLES)
        self._lengths = mfcc_frames(manifest.sizes)

    def length(self, index: int) -> int:
        return int(self._lengths[index])

    def stream(self, indices: Sequence[int]) -> Iterator[Tuple[int, Dict[int, np.ndarray]]]:
        for index, frames in zip(indices, mfcc_features(self.manifest, indices)):
            yield index, self._finite(index, {0: frames})
