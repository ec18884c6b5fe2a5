"""Hidden states of a HuBERT encoder: any set of layers from one forward pass over a batch.

An utterance's values are the same as if it were run alone. Layer 0 is the projected output of the convolutional front end; layers from 1
are taken after the layer's residual and norm, as in fairseq's ``dump_hubert_feature.py``. The front end runs utterance by utterance,
because its group norm averages over time and would include padding. The transformer runs on the batch, where padding is masked and
changes nothing.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch

from softhubert_plugin.checkpoints.network import PlainTransformer
from softhubert_plugin.devices import exact_convolutions
from softhubert_plugin.front_end import ConvLayer, project, receptive_field, total_stride

# Longer utterances are cut into pieces of this many samples (100 s), as in fairseq's script: attention grows with the square of the length.
MAX_PIECE = 1_600_000


def pieces(samples: int, conv_layers: List[ConvLayer]) -> List[slice]:
    """The pieces in which an utterance of ``samples`` samples is run: one, unless it is longer than :data:`MAX_PIECE`.

    A remainder that is too short for one frame is left out (fairseq's script fails on it).
    """
    shortest = receptive_field(conv_layers)
    starts = range(0, samples, MAX_PIECE)
    return [slice(start, min(start + MAX_PIECE, samples)) for start in starts if min(MAX_PIECE, samples - start) >= shortest]


def frames_of(samples: int, conv_layers: List[ConvLayer]) -> int:
    """The number of frames that an utterance of ``samples`` samples gives; 0 if it is too short for one frame."""
    field, stride = receptive_field(conv_layers), total_stride(conv_layers)
    return sum(1 + (piece.stop - piece.start - field) // stride for piece in pieces(samples, conv_layers))


@exact_convolutions()
@torch.inference_mode()
def hidden_states(encoder: Any, waveforms: Sequence[torch.Tensor], layers: Sequence[int]) -> List[Dict[int, torch.Tensor]]:
    """Outputs of several layers for a batch of utterances.

    Args:
        encoder: a HuBERT in evaluation mode: fairseq's, or a :class:`~softhubert_plugin.checkpoints.network.PlainHubert`.
        waveforms: ``(samples,)`` each, at 16 kHz, normalised if the model expects it, on the encoder's device, long enough for one frame.
        layers: layer numbers, from 0 to the model's last.

    Returns:
        For each utterance ``{layer: (frames, D) float32}`` on the encoder's device. The values equal those of the utterance alone, up to
        the rounding of float32.
    """
    projected = [project(encoder, encoder.feature_extractor(waveform[None]).transpose(1, 2))[0] for waveform in waveforms]
    lengths = [len(features) for features in projected]
    found: Dict[int, torch.Tensor] = {}
    if 0 in layers:
        found[0] = torch.nn.utils.rnn.pad_sequence(projected, batch_first=True)
    if max(layers) > 0:
        batch = torch.nn.utils.rnn.pad_sequence(projected, batch_first=True)
        padded = None
        if min(lengths) < max(lengths):
            padded = (torch.arange(batch.shape[1]) >= torch.tensor(lengths)[:, None]).to(batch.device)
        found.update(_transformer_layers(encoder.encoder, batch, padded, [layer for layer in layers if layer > 0]))
    # fairseq itself pads the batch to an even length; everything beyond an utterance's end is cut off.
    return [{layer: found[layer][row, :length].float() for layer in layers} for row, length in enumerate(lengths)]


def _transformer_layers(
    transformer: Any, batch: torch.Tensor, padded: Optional[torch.Tensor], layers: Sequence[int]
) -> Dict[int, torch.Tensor]:
    """``(B, T, D)`` outputs of layers from 1, for a batch ``(B, T, D)`` whose frames are ``padded`` where true, ``(B, T)``."""
    if isinstance(transformer, PlainTransformer):
        return dict(zip(layers, transformer.layer_outputs(batch, padded, layers)))
    captured: Dict[int, torch.Tensor] = {}
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(transformer.layers[layer - 1].register_forward_hook(_keep(captured, layer)).remove)
        # The encoder stops after the deepest layer asked for.
        transformer.extract_features(batch, padding_mask=padded, tgt_layer=max(layers) - 1)
    return captured


def _keep(captured: Dict[int, torch.Tensor], layer: int) -> Callable[..., None]:
    """A forward hook that stores a layer's output in ``captured``."""

    def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        captured[layer] = output[0].transpose(0, 1)  # fairseq's layers return (x of (frames, batch, D), …)

    return hook
