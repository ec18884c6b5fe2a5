"""The model ``soft_hubert``: fairseq's HuBERT, parameter for parameter, with a codeword head that is one matrix product.

The encoder is fairseq's own. Only pretraining's forward pass is ours: it takes sparse target distributions, and scores all
codewords at once instead of expanding them for every frame (fairseq's ``compute_nce``).
"""

# No postponed annotations here: omegaconf 2.0 reads the configuration's types, and knows no strings.
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from omegaconf import open_dict

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.features.conv_layers import parse_conv_feature_layers, total_stride


@dataclass
class SoftHubertConfig(HubertConfig):
    codeword_init: ChoiceEnum(["uniform", "normal"]) = field(  # type: ignore[valid-type]
        default="uniform",
        metadata={"help": "initial codewords: HuBERT's uniform on [0, 1), or normal, with which small models leave the plateau"},
    )


@register_model("soft_hubert", dataclass=SoftHubertConfig)
class SoftHubertModel(HubertModel):
    """HuBERT that predicts distributions over codewords.

    Args:
        cfg: the model's configuration.
        task_cfg: the task's, for its sample and frame rates.
        codewords: how many codewords each label set has, or ``None`` for an encoder without pretraining head.
    """

    def __init__(self, cfg: SoftHubertConfig, task_cfg: Any, codewords: Optional[Sequence[int]]) -> None:
        layers = parse_conv_feature_layers(cfg.conv_feature_layers)
        frame_rate = getattr(task_cfg, "frame_rate", 50.0)
        stride = total_stride(layers)
        if stride * frame_rate != task_cfg.sample_rate:
            raise SoftHubertError(
                f"model.conv_feature_layers makes a frame every {stride} samples, {task_cfg.sample_rate / stride:g} a second, but "
                f"task.frame_rate is {frame_rate:g}; set one to fit the other"
            )
        with open_dict(cfg):
            # fairseq evaluates this string: hand it the parsed list, never a checkpoint's own words.
            cfg.conv_feature_layers = repr(layers)
        label_sets = [None] if codewords is None else [range(count) for count in codewords]  # fairseq takes only their lengths
        super().__init__(cfg, task_cfg, label_sets)
        if codewords is not None and str(cfg.codeword_init) == "normal":
            torch.nn.init.normal_(self.label_embs_concat)

    @classmethod
    def build_model(cls, cfg: SoftHubertConfig, task: Any) -> "SoftHubertModel":
        with refuse_in_one_line():
            return cls(cfg, task.cfg, task.codewords)

    def forward(
        self,
        source: torch.Tensor,
        target_list: Optional[List[Dict[str, torch.Tensor]]] = None,
        padding_mask: Optional[torch.Tensor] = None,
        mask: bool = True,
        features_only: bool = False,
        output_layer: Optional[int] = None,
        predict: Tuple[str, ...] = ("masked",),
    ) -> Dict[str, Any]:
        """Predict codewords, or (``features_only``, or without targets) encode as fairseq's HuBERT does.

        Args:
            source: ``(B, samples)`` audio.
            target_list: for each label set ``components`` (int64) and ``probabilities``, both ``(B, frames, entries)``; a frame whose
                probabilities are all zero has no target and carries no weight.
            padding_mask: ``(B, samples)``, true where padded.
            predict: the regions to score, of ``masked`` and ``unmasked``.

        Returns:
            ``predictions``: for each region, a list over label sets of ``logits (n, K)``, ``components (n, entries)`` and
            ``probabilities (n, entries)``; ``features_pen``: mean square of the convolutional features; ``padding_mask``.
        """
        if features_only or target_list is None:
            return super().forward(source, padding_mask=padding_mask, mask=mask, features_only=True, output_layer=output_layer)
        features = self.forward_features(source)
        features_pen = features.float().pow(2).mean()
        x = self.layer_norm(features.transpose(1, 2))
        frames = x.shape[1]
        padded = x.new_zeros(x.shape[:2], dtype=torch.bool)
        if padding_mask is not None:
            padded = self.forward_padding_mask(x, padding_mask)
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        x = self.dropout_input(x)
        masked = torch.zeros_like(padded)
        if mask:
            x, drawn = self.apply_mask(x, padded, None)
            masked = masked if drawn is None else drawn
        x, _ = self.encoder(x, padding_mask=padded)

        regions = {"masked": masked, "unmasked": ~masked}
        predictions: Dict[str, List[Dict[str, torch.Tensor]]] = {region: [] for region in predict}
        for label, targets in enumerate(target_list):
            components, probabilities = (self._fit(targets[name], frames) for name in ("components", "probabilities"))
            usable = ~padded & (probabilities.sum(-1) > 0)
            for region in predict:
                chosen = regions[region] & usable
                predictions[region].append(
                    {
                        "logits": self.codeword_logits(x[chosen], label),
                        "components": components[chosen],
                        "probabilities": probabilities[chosen],
                    }
                )
        return {"predictions": predictions, "features_pen": features_pen, "padding_mask": padded}

    @staticmethod
    def _fit(targets: torch.Tensor, frames: int) -> torch.Tensor:
        """Targets cover whole strides of audio and the model's frames do not quite: cut, or pad with frames without target."""
        if targets.shape[1] >= frames:
            return targets[:, :frames]
        return F.pad(targets, (0, 0, 0, frames - targets.shape[1]))

    def codeword_logits(self, hidden: torch.Tensor, label: int) -> torch.Tensor:
        """Cosine similarity of projected frames to every codeword of a label set, over the logit temperature (Hsu et al. 2021, eq. 3).

        Args:
            hidden: ``(n, D)`` encoder outputs.

        Returns:
            ``(n, K)`` logits.
        """
        projected = self.final_proj(hidden)
        if self.untie_final_proj:
            projected = projected.chunk(len(self.num_classes), dim=-1)[label]
        codewords = self.label_embs_concat.split(self.num_classes, 0)[label]
        if self.target_glu is not None:
            codewords = self.target_glu(codewords)
        return F.normalize(projected, dim=-1) @ F.normalize(codewords, dim=-1).T / self.logit_temp

    def remove_pretraining_modules(self) -> None:
        """Drop the prediction head: fine-tuning keeps the encoder only."""
        super().remove_pretraining_modules()
        if hasattr(self, "label_embs_concat"):
            del self.label_embs_concat
