"""Parts of the encoder that are kept as they are, for good or for the first updates.

Frozen parts run in evaluation mode (no dropout, no layer drop) and without gradients, so that their time and memory really fall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, List

import torch

from softhubert_plugin.errors import SoftHubertError


@dataclass(frozen=True)
class Freezing:
    """What is frozen, and for how long.

    Attributes:
        feature_extractor: the convolutional front end.
        layers: the first so many transformer layers, and all that comes before them: no gradient can pass below a frozen layer.
        updates: until this update; 0: for good.
    """

    feature_extractor: bool = False
    layers: int = 0
    updates: int = 0

    def check(self, encoder_layers: int) -> None:
        """Raises :class:`SoftHubertError` for settings that cannot be meant."""
        if not 0 <= self.layers <= encoder_layers:
            raise SoftHubertError(f"model.freeze_layers={self.layers}: expected 0 to {encoder_layers}, the layers of the encoder")
        if self.updates < 0:
            raise SoftHubertError(f"model.freeze_updates={self.updates}: expected 0 (for good) or the update at which to thaw")
        if self.updates and not (self.layers or self.feature_extractor):
            raise SoftHubertError(
                f"model.freeze_updates={self.updates}, but nothing is frozen; set model.freeze_layers or model.freeze_feature_extractor"
            )

    def at(self, update: int) -> Freezing:
        """What is still frozen at an update."""
        return Freezing() if self.updates and update >= self.updates else self

    def modules(self, model: Any) -> List[torch.nn.Module]:
        """The frozen modules of a HuBERT."""
        if not self.layers:
            return [model.feature_extractor] if self.feature_extractor else []
        encoder = model.encoder
        below = [model.feature_extractor, model.layer_norm, model.post_extract_proj, model.dropout_input, encoder.pos_conv]
        if not encoder.layer_norm_first:
            below.append(encoder.layer_norm)
        return [module for module in (*below, *encoder.layers[: self.layers]) if module is not None]

    def parameters(self, model: Any) -> Iterator[torch.nn.Parameter]:
        """The frozen parameters of a HuBERT."""
        for module in self.modules(model):
            yield from module.parameters()
        if self.layers:
            yield model.mask_emb


def keep_frozen(model: Any, optimizer: Any) -> None:
    """Before a step of the optimizer: take the gradients of what is frozen for a while, so that weight decay leaves it alone.

    Args:
        optimizer: fairseq's.

    Raises:
        SoftHubertError: the optimizer holds all weights in one vector, of which no part can be kept.
    """
    frozen = getattr(model, "frozen", None)
    if frozen is None or not frozen.updates:
        return
    if hasattr(optimizer, "fp32_params") and getattr(optimizer, "has_flat_params", False):
        raise SoftHubertError(
            "model.freeze_updates does not go with common.fp16: its optimizer would decay the frozen weights; "
            "set common.fp16=false model.autocast_bf16=true, or common.memory_efficient_fp16=true"
        )
    for parameter in frozen.parameters(model):
        parameter.grad = None  # the exchange between processes may have filled in zeros
