"""The model ``soft_hubert``: fairseq's HuBERT with the same parameters and a faster forward pass.

Both passes run the encoder by :mod:`~softhubert_plugin.models.transformer`. Pretraining takes masks and sparse targets as the dataset made
them, and scores codewords only for the frames that carry weight (:mod:`~softhubert_plugin.models.codewords`). It never synchronises with
the GPU. Fine-tuning and ``extract_features`` give what fairseq's HuBERT gives, and draw masks as it does
(:mod:`~softhubert_plugin.models.masks`).
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
import contextlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from fairseq.models import register_model
from fairseq.models.hubert.hubert import HubertModel
from omegaconf import open_dict

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.features.layers import are_transformer_layers
from softhubert_plugin.front_end import parse_conv_feature_layers, project, total_stride
from softhubert_plugin.models.codewords import codeword_logits
from softhubert_plugin.models.dropout import dropout
from softhubert_plugin.models.freezing import Freezing
from softhubert_plugin.models.masks import channel_masks, frame_masks
from softhubert_plugin.models.transformer import drop_as_fairseq, encode, enter, walk_layer
from softhubert_plugin.ranges import check_ranges
from softhubert_plugin.settings import SoftHubertConfig, check_widths


def project_and_mask(
    model: Any, features: torch.Tensor, mask_indices: Optional[torch.Tensor], mask_channel_indices: Optional[torch.Tensor]
) -> torch.Tensor:
    """From convolutional features to what enters the encoder: projected, with dropout, masked frames and masked channels.

    Args:
        model: a HuBERT of fairseq.
        features: ``(B, channels, T)``.
        mask_indices: ``(B, T)`` bool, true where the mask embedding replaces the input; ``None`` masks no frame.
        mask_channel_indices: ``(B, D)`` bool, true where a channel is set to zero; ``None`` masks no channel.

    Returns:
        ``(B, T, D)``.
    """
    x = project(model, features.transpose(1, 2))
    x = dropout(x, model.dropout_input.p, training=model.dropout_input.training)
    # torch.where instead of an assignment: an assignment would synchronise with the GPU to count the masked frames.
    if mask_indices is not None:
        x = torch.where(mask_indices[..., None], model.mask_emb.to(x.dtype), x)
    return x if mask_channel_indices is None else x.masked_fill(mask_channel_indices[:, None], 0)


@register_model("soft_hubert", dataclass=SoftHubertConfig)
class SoftHubertModel(HubertModel):
    """HuBERT that predicts distributions over codewords.

    Args:
        cfg: the model's configuration.
        task_cfg: the task's configuration, which gives the sample rate and the frame rate.
        codewords: number of codewords of each label set, or ``None`` for an encoder without a prediction head.

    Raises:
        SoftHubertError: a number is out of range, ``conv_feature_layers`` is malformed or does not give the task's frame rate, or the width
            is not a multiple of the heads or of the positional convolution's groups.
    """

    def __init__(self, cfg: SoftHubertConfig, task_cfg: Any, codewords: Optional[Sequence[int]]) -> None:
        check_ranges("model", cfg)
        check_widths(cfg)
        layers = parse_conv_feature_layers(cfg.conv_feature_layers)
        frame_rate = getattr(task_cfg, "frame_rate", 50.0)
        stride = total_stride(layers)
        if stride * frame_rate != task_cfg.sample_rate:
            raise SoftHubertError(
                f"model.conv_feature_layers makes a frame every {stride} samples, {task_cfg.sample_rate / stride:g} per second, but "
                f"task.frame_rate is {frame_rate:g}; change one of them"
            )
        with open_dict(cfg):
            # fairseq evaluates this string as Python: give it the parsed list, never a checkpoint's own text.
            cfg.conv_feature_layers = repr(layers)
        label_sets = [None] if codewords is None else [range(count) for count in codewords]  # fairseq uses only their lengths
        self.freezing = Freezing()
        self.num_updates = 0
        super().__init__(cfg, task_cfg, label_sets)
        if not cfg.feature_layer_norm:
            self.layer_norm = torch.nn.Identity()
        if codewords is not None and str(cfg.codeword_init) == "normal":
            torch.nn.init.normal_(self.label_embs_concat)
        self.checkpoint_activations = bool(cfg.checkpoint_activations)
        self.autocast_bf16 = bool(cfg.autocast_bf16)
        self._project_and_mask, self._enter, self._walk_layer = project_and_mask, enter, walk_layer
        if cfg.compile:
            # Compile in place, part by part and layer by layer: parameter names stay the same, and any layer can be dropped.
            self.feature_extractor.compile(dynamic=True)
            self._project_and_mask, self._enter, self._walk_layer = (
                torch.compile(part, dynamic=True) for part in (project_and_mask, enter, walk_layer)
            )

    @classmethod
    def build_model(cls, cfg: SoftHubertConfig, task: Any) -> "SoftHubertModel":
        """Build a model from its configuration; fairseq calls this."""
        with refuse_in_one_line():
            return cls(cfg, task.cfg, task.codewords)

    def freeze(self, freezing: Freezing) -> None:
        """Keep parts of the encoder unchanged during training.

        Raises:
            SoftHubertError: the settings make no sense for this encoder.
        """
        freezing.check(len(self.encoder.layers))
        if freezing.layers and not are_transformer_layers(self.encoder.layers):
            raise SoftHubertError("model.freeze_layers needs model.layer_type=transformer; conformer layers cannot be frozen")
        self.freezing = freezing
        if not freezing.updates:
            # Frozen for good: the optimizer and the gradient exchange between processes can leave these parameters out.
            for parameter in freezing.parameters(self):
                parameter.requires_grad_(False)
        self.train(self.training)

    @property
    def frozen(self) -> Freezing:
        """What is frozen at the current update."""
        return self.freezing.at(self.num_updates)

    def train(self, mode: bool = True) -> "SoftHubertModel":
        """Set the training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen.modules(self):
            module.eval()
        return self

    def set_num_updates(self, num_updates: int) -> None:
        """Record the number of updates so far, and thaw parts whose time has come; fairseq calls this before each step."""
        super().set_num_updates(num_updates)
        before = self.frozen
        self.num_updates = num_updates
        if self.frozen != before:
            self.train(self.training)

    def forward(
        self,
        source: torch.Tensor,
        target_list: Optional[List[Dict[str, Dict[str, torch.Tensor]]]] = None,
        padding_mask: Optional[torch.Tensor] = None,
        mask: bool = True,
        features_only: bool = False,
        output_layer: Optional[int] = None,
        predict: Tuple[str, ...] = ("masked",),
        mask_indices: Optional[torch.Tensor] = None,
        mask_channel_indices: Optional[torch.Tensor] = None,
    ) -> Dict[str, Any]:
        """Predict codewords, or (``features_only``, or without targets) encode as fairseq's HuBERT does.

        Args:
            source: ``(B, samples)`` audio.
            target_list: for each label set and region (``masked``, ``unmasked``), the ``frames (n,)`` to score, as positions among the
                batch's frames, with their ``components (n, entries)`` and ``probabilities (n, entries)``.
            padding_mask: ``(B, samples)`` bool, true where padded; ``None`` if nothing is.
            mask: whether the model draws masks, as fairseq's HuBERT does; used only when it encodes.
            output_layer: the layer to return, from 1; ``None`` is the last one, with the final norm of a pre-norm encoder. Used only when
                the model encodes.
            predict: the regions to score.
            mask_indices: ``(B, frames)`` bool, true where the mask embedding replaces the input.
            mask_channel_indices: ``(B, D)`` bool, true where a channel is set to zero.

        Returns:
            ``predictions``: for each region, a list over label sets of ``logits (n, K)``, ``components (n, entries)`` and
            ``probabilities (n, entries)``; ``features_pen``: mean square of the convolutional features; ``padding_mask``:
            ``(B, frames)`` bool or ``None``. If the model encodes, ``x``: ``(B, frames, D)`` outputs of the layer; ``features``:
            ``(B, frames, D)`` inputs of the encoder; ``padding_mask``.
        """
        if features_only or target_list is None:
            return self._features(source, padding_mask, mask, output_layer)
        with torch.autocast(source.device.type, torch.bfloat16, enabled=True) if self.autocast_bf16 else contextlib.nullcontext():
            x, features_pen, padded = self._encode(source, padding_mask, mask_indices, mask_channel_indices)
        if self.autocast_bf16:
            x = x.float()
        x = x.flatten(0, 1)
        predictions: Dict[str, List[Dict[str, torch.Tensor]]] = {region: [] for region in predict}
        for label, regions in enumerate(target_list):
            for region in predict:
                targets = regions[region]
                predictions[region].append(
                    {
                        "logits": self.codeword_logits(x.index_select(0, targets["frames"]), label),
                        "components": targets["components"],
                        "probabilities": targets["probabilities"],
                    }
                )
        return {"predictions": predictions, "features_pen": features_pen, "padding_mask": padded}

    def _encode(
        self,
        source: torch.Tensor,
        padding_mask: Optional[torch.Tensor],
        mask_indices: Optional[torch.Tensor],
        mask_channel_indices: Optional[torch.Tensor],
    ) -> Tuple[torch.Tensor, torch.Tensor, Optional[torch.Tensor]]:
        """``(B, T, D)`` outputs of the encoder, mean square of the convolutional features, ``(B, T)`` bool of padded frames or ``None``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.frozen.feature_extractor or self.frozen.layers)):
            features = self.forward_features(source)
            features_pen = features.float().pow(2).mean()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen.layers):
            x = self._project_and_mask(self, features, mask_indices, mask_channel_indices)
            padded = None if padding_mask is None else self.forward_padding_mask(x, padding_mask)
        return self._transform(x, padded), features_pen, padded

    def _features(
        self, source: torch.Tensor, padding_mask: Optional[torch.Tensor], mask: bool, output_layer: Optional[int]
    ) -> Dict[str, Any]:
        """What fairseq's HuBERT returns with ``features_only``. fairseq overwrites its encoder's inputs where frames are padded."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.frozen.feature_extractor or self.frozen.layers)):
            convolved = self.forward_features(source)
        padded = None if padding_mask is None else self.forward_padding_mask(convolved.transpose(1, 2), padding_mask)
        masks = self._draw_masks(convolved, padded) if mask else (None, None)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen.layers):
            x = self._project_and_mask(self, convolved, *masks)
            # Padding is known on a CPU without waiting for a device. Attention without a mask is faster.
            hidden = None if padded is None or (padded.device.type == "cpu" and not padded.any()) else padded
            x = x if hidden is None else x.masked_fill(hidden[..., None], 0)
        encoded = self._transform(x, hidden, output_layer=output_layer, drop_layers=drop_as_fairseq)
        return {"x": encoded, "padding_mask": padded, "features": x}

    def _draw_masks(self, convolved: torch.Tensor, padded: Optional[torch.Tensor]) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor]]:
        """``(B, T)`` bool masked frames and ``(B, D)`` bool masked channels, on the model's device; ``None`` where none are drawn."""
        rows, _, width = convolved.shape
        drawn = frame_masks(self, rows, width, padded), channel_masks(self, rows, len(self.mask_emb))
        frames, channels = (None if each is None else torch.from_numpy(each).to(convolved.device) for each in drawn)
        return frames, channels

    def _transform(self, x: torch.Tensor, padded: Optional[torch.Tensor], **options: Any) -> torch.Tensor:
        """Run the transformer as this model is set: frozen, checkpointed, compiled or not; ``options`` are those of :func:`encode`."""
        return encode(
            self.encoder,
            x,
            padded,
            frozen_layers=self.frozen.layers,
            checkpoint_activations=self.checkpoint_activations,
            enter=self._enter,
            walk_layer=self._walk_layer,
            **options,
        )

    def codeword_logits(self, hidden: torch.Tensor, label: int) -> torch.Tensor:
        """Turn ``(n, D)`` encoder outputs into ``(n, K)`` logits of a label set; see :mod:`softhubert_plugin.models.codewords`."""
        weight, bias = self.final_proj.weight, self.final_proj.bias
        if self.untie_final_proj:
            weight, bias = weight.chunk(len(self.num_classes))[label], bias.chunk(len(self.num_classes))[label]
        codewords = self.label_embs_concat.split(self.num_classes, 0)[label]
        if self.target_glu is not None:
            codewords = self.target_glu(codewords)
        return codeword_logits(F.linear(hidden, weight, bias), codewords, self.logit_temp)

    def remove_pretraining_modules(self) -> None:
        """Drop the prediction head: fine-tuning keeps only the encoder."""
        super().remove_pretraining_modules()
        if hasattr(self, "label_embs_concat"):
            del self.label_embs_concat
