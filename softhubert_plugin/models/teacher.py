"""The teacher of a distillation: a HuBERT that gives the targets and is never trained.

The teacher is not part of the student: it is not in the student's parameters, its checkpoints, or the exchange between processes. The
requested layers come from one forward pass without gradients and without dropout. Layers above the deepest requested one are removed.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import torch

from softhubert_plugin.checkpoints.load import load_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.layers import are_transformer_layers, check_layers
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import project
from softhubert_plugin.models.transformer import layer_outputs


class Teacher:
    """A frozen HuBERT.

    Args:
        path: its checkpoint (stock, ours, fine-tuned or distilled), or a folder saved by transformers.
        layers: numbers of the layers to predict, from 1.

    Attributes:
        layers: numbers of the layers to predict.
        width: values per frame.
        normalize: whether it expects waveforms of zero mean and unit variance.
        front_end: kernel and stride of each convolution; these decide where its frames are in the audio.
        cfg: its model configuration, whose shape a student takes.

    Raises:
        SoftHubertError: the checkpoint is unusable, or lacks one of the layers.
    """

    def __init__(self, path: PathLike, layers: Sequence[int]) -> None:
        loaded = load_checkpoint(path, quiet=False)
        encoder = loaded.encoder.eval().requires_grad_(False)
        if not layers or min(layers) < 1:
            raise SoftHubertError(f"model.predicted_layers={list(layers)}: expected layer numbers from 1, as in [4,8,12]")
        try:
            check_layers(layers, len(encoder.encoder.layers))
        except SoftHubertError as error:
            raise SoftHubertError(f"{path}: {error}; change model.predicted_layers") from None
        if not are_transformer_layers(encoder.encoder.layers):
            raise SoftHubertError(f"{path}: a teacher needs transformer layers; conformer layers cannot be distilled")
        del encoder.encoder.layers[max(layers) :]
        self.layers = list(layers)
        self.width = int(encoder.encoder.embedding_dim)
        self.normalize = loaded.normalize
        self.front_end = [(kernel, stride) for _, kernel, stride in loaded.conv_layers]
        self.cfg: Any = loaded.encoder_cfg
        self.encoder = encoder
        self._placed: Optional[Tuple[torch.device, torch.dtype]] = None

    @torch.no_grad()
    def __call__(self, source: torch.Tensor, padding_mask: Optional[torch.Tensor] = None) -> List[torch.Tensor]:
        """Hidden states of a batch.

        Args:
            source: ``(B, samples)`` audio; the teacher moves to its device and precision.
            padding_mask: ``(B, samples)`` bool, true where padded, or ``None``.

        Returns:
            ``(B, frames, width)`` for each requested layer.
        """
        if self._placed != (source.device, source.dtype):
            self.encoder.to(device=source.device, dtype=source.dtype)
            self._placed = (source.device, source.dtype)
        encoder = self.encoder
        x = project(encoder, encoder.feature_extractor(source).transpose(1, 2))
        padded = None if padding_mask is None else encoder.forward_padding_mask(x, padding_mask)
        return layer_outputs(encoder.encoder, x, padded, self.layers)
