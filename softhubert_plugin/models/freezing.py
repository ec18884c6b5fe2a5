"""Parts of the encoder that training leaves unchanged, for good or for the first updates.

Frozen parts run in evaluation mode (no dropout, no layer drop) and without gradients, so they take less time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, List

import torch

from softhubert_plugin.errors import SoftHubertError


@dataclass(frozen=True)
class Freezing:
    """Which parts are frozen, and for how long.

    Attributes:
        feature_extractor: freeze the convolutional front end.
        layers: freeze the first N transformer layers and everything before them, because no gradient passes below a frozen layer.
        updates: thaw at this update; 0: never.
    """

    feature_extractor: bool = False
    layers: int = 0
    updates: int = 0

    def check(self, encoder_layers: int) -> None:
        """Check that the settings make sense for an encoder.

        Args:
            encoder_layers: number of transformer layers of the encoder.

        Raises:
            SoftHubertError: a setting is out of range, or would have no effect.
        """
        if not 0 <= self.layers <= encoder_layers:
            raise SoftHubertError(f"model.freeze_layers={self.layers}: expected 0 to {encoder_layers}, the number of layers of the encoder")
        if self.updates < 0:
            raise SoftHubertError(f"model.freeze_updates={self.updates}: expected 0 (never thaw) or the update at which to thaw")
        if self.updates and not (self.layers or self.feature_extractor):
            raise SoftHubertError(
                f"model.freeze_updates={self.updates}, but nothing is frozen; set model.freeze_layers or model.freeze_feature_extractor"
            )

    def at(self, update: int) -> Freezing:
        """The settings of what is still frozen at an update."""
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
    """Remove the gradients of temporarily frozen parts before an optimizer step, so that weight decay leaves these parts unchanged.

    Args:
        model: the model that is trained; one without frozen parts is left alone.
        optimizer: fairseq's optimizer.

    Raises:
        SoftHubertError: the optimizer holds all weights in one vector, so it cannot leave a part of them unchanged.
    """
    frozen = getattr(model, "frozen", None)
    if frozen is None or not frozen.updates:
        return
    copies = getattr(optimizer, "fp32_params", None)
    if copies is not None and optimizer.has_flat_params:
        raise SoftHubertError(
            "model.freeze_updates does not work with common.fp16, whose optimizer would decay the frozen weights; set common.fp16=false "
            "model.autocast_bf16=true, or common.fp16_no_flatten_grads=true"
        )
    kept = {id(parameter) for parameter in frozen.parameters(model)}
    for parameter in frozen.parameters(model):
        parameter.grad = None  # the gradient exchange between processes may have filled in zeros
    if copies is not None:
        # The optimizer steps float32 copies, which fairseq gives gradients of zero where a parameter has none.
        for parameter, copy in zip(optimizer.fp16_params, copies):
            if id(parameter) in kept:
                copy.grad = None
