"""Hidden states of many utterances, straight from their audio, in the manifest's order and in bounded memory.

Both the feature dump (``features/hubert.py``) and labelling without a dump read from here.
"""

from __future__ import annotations

import collections
from concurrent.futures import Future
from typing import Any, Collection, Deque, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch

from softhubert_plugin.allocation import keep_freed_memory
from softhubert_plugin.audio.batching import batches_by_length
from softhubert_plugin.audio.check import check_long_enough
from softhubert_plugin.audio.read import read_waveform
from softhubert_plugin.audio.threads import soundfile_threads
from softhubert_plugin.checkpoints.load import LoadedModel, checkpoint_sha256
from softhubert_plugin.devices import usable_device
from softhubert_plugin.features.hidden_states import hidden_states, pieces
from softhubert_plugin.features.layers import are_transformer_layers, check_layers
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import receptive_field, total_stride
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

BATCH_SECONDS = 40.0
# Utterances are sorted by length only within windows of this many batches: enough to pad little, and few enough to hold all their layers.
BATCHES_A_WINDOW = 4


def windows(sizes: np.ndarray, indices: Sequence[int], batch_seconds: float) -> Iterator[List[int]]:
    """Cut utterances into windows: consecutive utterances that fill ``BATCHES_A_WINDOW`` batches, at least one utterance each.

    The windows depend only on the sizes, the first index and ``batch_seconds``.

    Args:
        sizes: ``(utterances,)`` samples of each utterance of the manifest.
        indices: consecutive utterances.
        batch_seconds: seconds of audio in one batch.
    """
    window: List[int] = []
    samples = 0
    for index in indices:
        if window and samples + sizes[index] > BATCHES_A_WINDOW * batch_seconds * SAMPLE_RATE:
            yield window
            window, samples = [], 0
        window.append(index)
        samples += int(sizes[index])
    if window:
        yield window


def model_rate(loaded: LoadedModel) -> float:
    """Frames per second that a model makes."""
    return SAMPLE_RATE / total_stride(loaded.conv_layers)


def model_info(loaded: LoadedModel, checkpoint: PathLike, manifest: Manifest) -> Dict[str, Any]:
    """The description of hidden states without their ``layer``, as their shards' ``.json`` and the mixture fitted on them record it."""
    return {
        "kind": "hubert",
        "frame_rate": model_rate(loaded),
        "checkpoint_sha256": checkpoint_sha256(checkpoint),
        "manifest_sha256": manifest.fingerprint,
    }


def layer_features(
    loaded: LoadedModel,
    manifest: Manifest,
    indices: Sequence[int],
    layers: Sequence[int],
    *,
    device: Optional[str] = None,
    batch_seconds: float = BATCH_SECONDS,
) -> Iterator[Dict[int, np.ndarray]]:
    """Features of utterances in the order of ``indices``, every layer from one forward pass.

    The batches depend only on the lengths of the utterances and on ``batch_seconds``, not on ``layers``: a layer's values are the same,
    bit for bit, alone and among others. Memory holds the requested layers of ``4 * batch_seconds`` seconds of audio (12 layers of HuBERT
    Base at the default: 300 MB).

    Args:
        loaded: the checkpoint; its encoder is moved to ``device``.
        manifest: says where the audio is. Check the audio first (:func:`~softhubert_plugin.audio.check.check_audio`); this function
            checks only lengths.
        indices: utterances of the manifest, usually a range.
        layers: 0 for the convolutional features, 1 to the model's last.
        device: as PyTorch names it; by default a GPU if there is one.
        batch_seconds: seconds of audio in one batch of the transformer, padding included; a longer utterance is a batch of its own.

    Yields:
        For each utterance ``{layer: (frames, D) float32}``; :func:`~softhubert_plugin.features.hidden_states.frames_of` gives ``frames``.

    Raises:
        SoftHubertError: the model lacks a layer, or an utterance is too short for one frame or has another length than in the manifest.
    """
    for _, states in layer_features_of(loaded, manifest, indices, layers, device=device, batch_seconds=batch_seconds):
        yield states


def layer_features_of(
    loaded: LoadedModel,
    manifest: Manifest,
    indices: Sequence[int],
    layers: Sequence[int],
    *,
    device: Optional[str] = None,
    batch_seconds: float = BATCH_SECONDS,
    wanted: Optional[Collection[int]] = None,
) -> Iterator[Tuple[int, Dict[int, np.ndarray]]]:
    """As :func:`layer_features`, with the number of each utterance, and for some of the utterances only.

    Batches are made of all ``indices``, and those with wanted utterances are run whole: the values do not depend on what is wanted.

    Args:
        wanted: utterances to yield; by default all.
    """
    check_layers(layers, len(loaded.encoder.encoder.layers))
    check_long_enough(manifest, indices, receptive_field(loaded.conv_layers))
    device = usable_device(device)
    loaded.encoder.to(device)
    if device == "cpu":
        keep_freed_memory()
    batch_seconds = batch_seconds if are_transformer_layers(loaded.encoder.encoder.layers) else 0.0
    with soundfile_threads(4) as pool:
        # The next window's audio is decoded while the model runs on this one.
        ready: Deque[Dict[int, Future[torch.Tensor]]] = collections.deque()
        for window in windows(manifest.sizes, indices, batch_seconds):
            if wanted is not None and not any(index in wanted for index in window):
                continue
            ready.append({index: pool.submit(read_waveform, manifest, index, normalize=loaded.normalize) for index in window})
            if len(ready) > 1:
                yield from _run_window(loaded, ready.popleft(), layers, device, batch_seconds, wanted)
        while ready:
            yield from _run_window(loaded, ready.popleft(), layers, device, batch_seconds, wanted)


def _run_window(
    loaded: LoadedModel,
    reading: Dict[int, Future[torch.Tensor]],
    layers: Sequence[int],
    device: str,
    batch_seconds: float,
    wanted: Optional[Collection[int]],
) -> Iterator[Tuple[int, Dict[int, np.ndarray]]]:
    """Run the utterances of one window, batched by length, and yield the wanted ones with their layers in the manifest's order."""
    waveforms = {index: future.result() for index, future in reading.items()}
    pieces_of = {index: pieces(len(waveform), loaded.conv_layers) for index, waveform in waveforms.items()}
    found: Dict[Tuple[int, int], Dict[int, np.ndarray]] = {}
    cut = [(index, piece) for index in pieces_of for piece in pieces_of[index]]
    for together in batches_by_length([piece.stop - piece.start for _, piece in cut], batch_seconds * SAMPLE_RATE):
        batch = [cut[position] for position in together]
        states = hidden_states(loaded.encoder, [waveforms[index][piece].to(device) for index, piece in batch], layers)
        for (index, piece), of_layer in zip(batch, _on_host(states)):
            found[index, piece.start] = of_layer
    for index in pieces_of:
        parts = [found.pop((index, piece.start)) for piece in pieces_of[index]]
        if wanted is not None and index not in wanted:
            continue
        yield index, {layer: parts[0][layer] if len(parts) == 1 else np.concatenate([part[layer] for part in parts]) for layer in layers}


def _on_host(states: Sequence[Dict[int, torch.Tensor]]) -> List[Dict[int, np.ndarray]]:
    """The hidden states of a batch as arrays; from a GPU in one copy."""
    tensors = [tensor for of_layer in states for tensor in of_layer.values()]
    if tensors[0].device.type == "cpu":
        return [{layer: tensor.numpy() for layer, tensor in of_layer.items()} for of_layer in states]
    together = torch.cat([tensor.reshape(-1) for tensor in tensors])
    host = torch.empty(together.shape, dtype=together.dtype, pin_memory=True)
    host.copy_(together)
    parts = iter(host.numpy()[start - tensor.numel() : start].reshape(tensor.shape) for start, tensor in zip(_ends(tensors), tensors))
    return [{layer: next(parts) for layer in of_layer} for of_layer in states]


def _ends(tensors: Sequence[torch.Tensor]) -> List[int]:
    return np.cumsum([tensor.numel() for tensor in tensors]).tolist()
