"""For users who only need features: a checkpoint as a module that takes waveforms, and soft units from a mixture on top. ::

    import softhubert_plugin

    model = softhubert_plugin.load("checkpoint_best.pt", mixture="gmm.safetensors")
    features, frames = model.extract_features([first, second], layer=6)      # (2, longest, D), (2,)
    posteriors, frames = model.posteriors([first, second])                   # (2, longest, K)

Every utterance gets the numbers that it would get alone, whatever it is batched with. They are also those of ``softhubert features
hubert``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn.functional as F

from softhubert_plugin.checkpoints.inference import load_for_inference
from softhubert_plugin.checkpoints.load import LoadedModel, checkpoint_sha256
from softhubert_plugin.checkpoints.transformers import MIXTURE
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.hidden_states import hidden_states, pieces
from softhubert_plugin.features.layers import are_transformer_layers, check_layers
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import receptive_field, total_stride
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import frame_by_frame, utterance_posteriors
from softhubert_plugin.manifests import SAMPLE_RATE

Waveforms = Union[torch.Tensor, np.ndarray, Sequence[Union[torch.Tensor, np.ndarray]]]


class Frames(NamedTuple):
    """A padded batch of frames.

    Attributes:
        values: ``(B, longest, D)`` float32, zero beyond the end of each utterance.
        lengths: ``(B,)`` int64, number of frames of each utterance.
    """

    values: torch.Tensor
    lengths: torch.Tensor


class SpeechEncoder(torch.nn.Module):
    """A HuBERT for inference; :func:`load` makes one.

    Attributes:
        encoder: a :class:`~softhubert_plugin.checkpoints.network.PlainHubert`; fairseq's module if the checkpoint needs fairseq.
        layers: number of transformer layers.
        dimension: values per frame.
        sample_rate: samples per second of the audio.
        frame_rate: frames per second of the features.
        mixture: the mixture for :meth:`posteriors`, or ``None``.
    """

    def __init__(self, loaded: LoadedModel, mixture: Optional[GaussianMixture] = None) -> None:
        super().__init__()
        self.encoder = loaded.encoder.eval().requires_grad_(False)
        self.layers = len(loaded.encoder.encoder.layers)
        self.dimension = int(loaded.encoder.encoder.embedding_dim)
        self.sample_rate = SAMPLE_RATE
        self.frame_rate = SAMPLE_RATE / total_stride(loaded.conv_layers)
        self.mixture = mixture
        self._conv_layers = loaded.conv_layers
        self._normalize = loaded.normalize

    def train(self, mode: bool = True) -> SpeechEncoder:
        """Stay in evaluation mode, even if a module around this one is set to training."""
        return super().train(False)

    def extract_features(self, waveforms: Waveforms, layer: Optional[int] = None, lengths: Optional[Sequence[int]] = None) -> Frames:
        """Hidden states of one layer.

        Args:
            waveforms: one utterance ``(samples,)``, a padded batch ``(B, samples)``, or a list of ``(samples,)``; float, one channel, at
                16 kHz, neither scaled nor normalised: this method normalises them if the model expects it.
            layer: 1 to ``layers``, after its residual and norm; 0 for the projected convolutional features; the last by default.
            lengths: number of samples of each utterance of a padded batch; all by default.

        Returns:
            ``values (B, longest, D)`` and ``lengths (B,)``.

        Raises:
            SoftHubertError: the model has no such layer, or a waveform has the wrong type, shape or length.
        """
        layer = self.layers if layer is None else layer
        return self.extract_layers(waveforms, [layer], lengths)[layer]

    @torch.inference_mode()
    def extract_layers(self, waveforms: Waveforms, layers: Sequence[int], lengths: Optional[Sequence[int]] = None) -> Dict[int, Frames]:
        """Hidden states of several layers from one forward pass.

        Args:
            waveforms, lengths: as for :meth:`extract_features`.
            layers: layer numbers, as ``layer`` there.

        Returns:
            For each of ``layers``, what :meth:`extract_features` returns.

        Raises:
            SoftHubertError: as for :meth:`extract_features`.
        """
        check_layers(layers, self.layers)
        utterances = self._utterances(waveforms, lengths)
        cut = [(row, utterance[piece]) for row, utterance in enumerate(utterances) for piece in pieces(len(utterance), self._conv_layers)]
        together = len(cut) if are_transformer_layers(self.encoder.encoder.layers) else 1
        parts: List[Dict[int, torch.Tensor]] = []
        for first in range(0, len(cut), together):
            parts.extend(hidden_states(self.encoder, [waveform for _, waveform in cut[first : first + together]], layers))
        found = {}
        for layer in layers:
            rows = [torch.cat([part[layer] for (row, _), part in zip(cut, parts) if row == number]) for number in range(len(utterances))]
            counts = torch.tensor([len(row) for row in rows], device=rows[0].device)
            found[layer] = Frames(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), counts)
        return found

    def posteriors(self, waveforms: Waveforms, lengths: Optional[Sequence[int]] = None, *, frame_wise: bool = False) -> Frames:
        """Soft units: the mixture's tempered posteriors of every frame, from the layer that the mixture was fitted on.

        A mixture with transitions hears whole utterances: a frame's posterior depends on the frames around it.

        Args:
            waveforms, lengths: as for :meth:`extract_features`.
            frame_wise: take frames one by one even if the mixture has transitions, at the temperature that was calibrated for that.

        Returns:
            ``values (B, longest, K)``, which sum to one over K at every frame of an utterance, and ``lengths (B,)``.

        Raises:
            SoftHubertError: there is no mixture, or a waveform has the wrong type, shape or length.
        """
        if self.mixture is None:
            raise SoftHubertError("posteriors need a mixture; give one: softhubert_plugin.load(checkpoint, mixture='gmm.safetensors')")
        features, frames = self.extract_features(waveforms, self.mixture.metadata["features"]["layer"], lengths)
        utterances = [rows[:count].cpu() for rows, count in zip(features, frames.tolist())]
        if self.mixture.transitions is not None and not frame_wise:
            posteriors = utterance_posteriors(self.mixture, utterances)
        else:
            alone = frame_by_frame(self.mixture)
            posteriors = [alone.predict_proba(rows) for rows in utterances]
        found = torch.nn.utils.rnn.pad_sequence(posteriors, batch_first=True)
        return Frames(found.to(features), frames)

    def _utterances(self, waveforms: Waveforms, lengths: Optional[Sequence[int]]) -> List[torch.Tensor]:
        """One ``(samples,)`` float32 tensor per utterance, normalised if the encoder expects it."""
        single = isinstance(waveforms, (torch.Tensor, np.ndarray)) and waveforms.ndim == 1
        rows = [waveforms] if single else list(waveforms)
        if not rows or (lengths is not None and len(lengths) != len(rows)):
            raise SoftHubertError(
                f"{len(rows)} waveforms{'' if lengths is None else f' and {len(lengths)} lengths'}; "
                "expected at least one waveform, and one length for each if lengths are given"
            )
        device = next(self.encoder.parameters()).device
        shortest = receptive_field(self._conv_layers)
        found = []
        for number, row in enumerate(rows):
            waveform = torch.as_tensor(row)
            if waveform.ndim != 1 or not waveform.is_floating_point():
                what = f"{waveform.dtype} of shape {tuple(waveform.shape)}"
                raise SoftHubertError(f"waveform {number}: {what}; expected floats (samples,), one channel at 16 kHz")
            if lengths is not None:
                if not 0 < int(lengths[number]) <= len(waveform):
                    raise SoftHubertError(f"waveform {number}: length {lengths[number]}, expected 1 to {len(waveform)} (its samples)")
                waveform = waveform[: int(lengths[number])]
            if len(waveform) < shortest:
                raise SoftHubertError(f"waveform {number}: {len(waveform)} samples, too short for a single frame ({shortest} samples)")
            waveform = waveform.to(device=device, dtype=torch.float32)
            found.append(F.layer_norm(waveform, waveform.shape) if self._normalize else waveform)
        return found


def load(path: PathLike, *, mixture: Optional[PathLike] = None, device: Union[str, torch.device] = "cpu") -> SpeechEncoder:
    """Open a model for inference.

    Args:
        path: a checkpoint (stock, ours, fine-tuned or distilled), or a folder saved by transformers; a mixture in the folder is used too.
        mixture: a mixture that ``softhubert gmm learn`` fitted on hidden states of this model, for :meth:`SpeechEncoder.posteriors`.
        device: where the encoder computes.

    Raises:
        SoftHubertError: a file is missing, damaged or unsafe, or the mixture was not fitted on hidden states of this model's size.
    """
    encoder = SpeechEncoder(load_for_inference(path))
    enclosed = Path(path) / MIXTURE
    if mixture is not None or enclosed.is_file():
        source = enclosed if mixture is None else mixture
        fitted = GaussianMixture.load(source)
        features: Dict[str, Any] = fitted.metadata.get("features", {})
        if features.get("kind") == "hubert" and "layer" in features:
            _check_mixture(fitted, features, encoder, path, source, strict=mixture is not None)
            encoder.mixture = fitted
        elif mixture is not None:
            raise SoftHubertError(
                f"{mixture}: fitted on {features.get('kind', 'unknown features')}, not on a layer of a model; "
                "fit one on the output of 'softhubert features hubert'"
            )
    return encoder.to(device)


def _check_mixture(
    mixture: GaussianMixture, features: Dict[str, Any], encoder: SpeechEncoder, path: PathLike, source: PathLike, *, strict: bool
) -> None:
    if mixture.input_dimension != encoder.dimension or features["layer"] > encoder.layers:
        raise SoftHubertError(
            f"{source}: fitted on layer {features['layer']} of {mixture.input_dimension} values, but {path} has {encoder.layers} layers of "
            f"{encoder.dimension}; give the mixture of this model"
        )
    recorded = features.get("checkpoint_sha256")
    if strict and recorded is not None and recorded != checkpoint_sha256(path):
        warnings.warn(
            f"{source}: fitted on another checkpoint ({recorded[:12]}) than {path}; its posteriors may mean little here", stacklevel=3
        )
