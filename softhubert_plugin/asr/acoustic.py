"""The acoustic side of recognition: waveforms in, a score of every symbol at every frame out.

An utterance's scores never depend on its batch. Each waveform goes through the convolutions alone; only the later layers run in batches,
with a padding mask. fairseq pads waveforms before the convolutions, whose normalisation runs over time: there the scores do depend on the
batch, and frames of padding are decoded too.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import torch

from softhubert_plugin.allocation import keep_freed_memory
from softhubert_plugin.audio.batching import batches_by_length
from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.audio.read import read_waveform
from softhubert_plugin.checkpoints.contents import SPECIAL_SYMBOLS
from softhubert_plugin.checkpoints.inference import load_for_inference
from softhubert_plugin.checkpoints.network import PlainTransformer
from softhubert_plugin.devices import exact_convolutions, usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import project, receptive_field, total_stride
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

GPU_BATCH_SECONDS = 160.0


def utterance_batches(
    manifest: Manifest, device: str, max_seconds: Optional[float], indices: Optional[Sequence[int]] = None
) -> List[List[int]]:
    """Group utterances into batches of similar length, the longest first, so that padding is small and processes end at the same time.

    Args:
        indices: the utterances; by default all.
        max_seconds: seconds of audio per batch, including padding; by default one utterance per batch on a CPU, and
            :data:`GPU_BATCH_SECONDS` on other devices.

    Returns:
        The utterance indices of each batch.
    """
    if max_seconds is None:
        max_seconds = 0.0 if device == "cpu" else GPU_BATCH_SECONDS
    chosen = range(len(manifest)) if indices is None else indices
    lengths = [int(manifest.sizes[index]) for index in chosen]
    return [[chosen[position] for position in batch] for batch in batches_by_length(lengths, max_seconds * SAMPLE_RATE)]


class AcousticModel:
    """A fine-tuned ``hubert_ctc``, ready to score audio.

    Attributes:
        symbols: the symbols that the model scores, in order, including fairseq's special symbols.
        blank: index of the CTC blank in ``symbols``.
        end: index of ``</s>`` in ``symbols``; fairseq never prints this symbol.
        device: the device that the model runs on.
        frame_seconds: time from one frame to the next, in seconds.

    Raises:
        SoftHubertError: the checkpoint is not usable or not fine-tuned, or the device does not exist.
    """

    def __init__(self, checkpoint: PathLike, device: Optional[str] = None) -> None:
        device = usable_device(device)
        if device == "cpu":
            keep_freed_memory()
        loaded = load_for_inference(checkpoint)
        if loaded.symbols is None:
            raise SoftHubertError(
                f"{checkpoint}: a {loaded.cfg.model.get('_name') or 'hubert'}, not a fine-tuned hubert_ctc model; fine-tune it first"
            )
        self._model: Any = loaded.model.to(device)
        self.symbols: List[str] = loaded.symbols
        blank, _, end, _ = SPECIAL_SYMBOLS
        self.blank, self.end = self.symbols.index(blank), self.symbols.index(end)
        self.device = device
        self._loaded = loaded
        self.frame_seconds = total_stride(loaded.conv_layers) / SAMPLE_RATE
        self._shortest = receptive_field(loaded.conv_layers)

    def check(self, manifest: Manifest) -> None:
        """Check that every utterance can be scored.

        Raises:
            SoftHubertError: an audio file is missing or damaged, has another sample rate or length, or is too short for one frame.
        """
        check_audio(manifest)
        check_long_enough(manifest, range(len(manifest)), self._shortest)

    def read(self, manifest: Manifest, index: int) -> torch.Tensor:
        """Read the ``(samples,)`` waveform of an utterance, normalised if the model expects that."""
        return read_waveform(manifest, index, normalize=self._loaded.normalize)

    @exact_convolutions()
    @torch.inference_mode()
    def logits(self, waveforms: Sequence[torch.Tensor]) -> List[torch.Tensor]:
        """Score waveforms.

        Args:
            waveforms: one ``(samples,)`` tensor per utterance.

        Returns:
            For each waveform its unnormalised log probabilities, ``(frames, symbols)``, float32 on the CPU.
        """
        encoder = self._model.w2v_encoder.w2v_model
        features = [encoder.feature_extractor(waveform[None].to(self.device))[0].T for waveform in waveforms]
        frames = [len(each) for each in features]
        x = project(encoder, torch.nn.utils.rnn.pad_sequence(features, batch_first=True))
        padded = None
        if len(set(frames)) > 1:
            padded = (torch.arange(x.shape[1]) >= torch.tensor(frames)[:, None]).to(x.device)
        x = _encoded(encoder.encoder, x, padded)
        scores = self._model.w2v_encoder.proj(x).float().cpu()
        return [row[:count] for row, count in zip(scores, frames)]


def _encoded(transformer: Any, x: torch.Tensor, padded: Optional[torch.Tensor]) -> torch.Tensor:
    """``(B, T, D)`` output of the transformer for projected features ``(B, T, D)``, which are ``padded`` where true, ``(B, T)``."""
    if isinstance(transformer, PlainTransformer):
        plain: torch.Tensor = transformer(x, padded)
        return plain
    from softhubert_plugin.models.transformer import encode

    return encode(transformer, x, padded)
