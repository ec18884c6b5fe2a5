"""The model ``distil_hubert``: DistilHuBERT (Chang et al. 2022, arXiv 2110.01900), a two-layer HuBERT that predicts layers of a larger one.

The network is that of ``soft_hubert`` with a prediction head for every teacher layer in place of codewords. It starts from the teacher's
front end and first layers, and its heads are dropped after training: what remains is a small HuBERT like any other.
"""

# No postponed annotations here: omegaconf 2.0 reads the configuration's types, and knows no strings.
import contextlib
from typing import Any, Dict, Optional

import torch
from fairseq.models import register_model

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.front_end import parse_conv_feature_layers
from softhubert_plugin.models.soft_hubert import SoftHubertModel
from softhubert_plugin.models.teacher import Teacher
from softhubert_plugin.settings import DistilHubertConfig


@register_model("distil_hubert", dataclass=DistilHubertConfig)
class DistilHubertModel(SoftHubertModel):
    """A student and, while it is trained, its teacher.

    Args:
        cfg: the model's configuration, with ``teacher_embed_dim`` set.
        task_cfg: the task's, for its sample and frame rates.
    """

    def __init__(self, cfg: DistilHubertConfig, task_cfg: Any) -> None:
        super().__init__(cfg, task_cfg, None)
        self.target_glu = self.final_proj = None
        inner = int(cfg.encoder_embed_dim)
        self.teacher_width = width = int(cfg.teacher_embed_dim) or inner
        # As published: each head has a hidden layer of the student's width (s3prl, upstream/distiller, out_layer_type: expand-last).
        self.heads = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(inner, inner), torch.nn.GELU(), torch.nn.Linear(inner, width)) for _ in cfg.predicted_layers
        )
        self.front_end = [(kernel, stride) for _, kernel, stride in parse_conv_feature_layers(cfg.conv_feature_layers)]
        self.predicted_layers = list(cfg.predicted_layers)
        self.teacher: Optional[Teacher] = None

    @classmethod
    def build_model(cls, cfg: DistilHubertConfig, task: Any) -> "DistilHubertModel":
        with refuse_in_one_line():
            return cls(cfg, task.cfg)

    def learn_from(self, teacher: Teacher, *, normalize: bool) -> None:
        """Take a teacher.

        Args:
            normalize: whether the student is given waveforms of zero mean and unit variance.

        Raises:
            SoftHubertError: its frames, width, layers or audio are not the student's.
        """
        if teacher.front_end != self.front_end:
            raise SoftHubertError(
                f"the teacher's convolutions (kernel, stride) are {teacher.front_end}, the student's {self.front_end}: their frames do not "
                "coincide; set model.conv_feature_layers to the teacher's"
            )
        if (teacher.layers, teacher.width) != (self.predicted_layers, self.teacher_width):
            raise SoftHubertError(
                f"heads for layers {self.predicted_layers} of width {self.teacher_width}, but the teacher gives {teacher.layers} of width "
                f"{teacher.width}; leave model.teacher_embed_dim at 0"
            )
        if teacher.normalize != normalize:
            raise SoftHubertError(f"the teacher was trained with task.normalize={teacher.normalize}; set it for the student too")
        self.teacher = teacher

    def forward(  # type: ignore[override]  # its targets are the teacher's, not the batch's
        self,
        source: torch.Tensor,
        padding_mask: Optional[torch.Tensor] = None,
        mask: bool = True,
        features_only: bool = False,
        output_layer: Optional[int] = None,
        mask_indices: Optional[torch.Tensor] = None,
        mask_channel_indices: Optional[torch.Tensor] = None,
    ) -> Dict[str, Any]:
        """Predict the teacher's layers, or (``features_only``) encode as fairseq's HuBERT does.

        Args:
            source: ``(B, samples)`` audio.
            padding_mask: ``(B, samples)``, true where padded; ``None`` where nothing is.
            mask_indices, mask_channel_indices: what to hide from the student, as for ``soft_hubert``.

        Returns:
            ``predictions`` and ``targets``, each a list over the predicted layers of ``(B, frames, teacher's width)``; ``layers``, their
            numbers; ``features_pen``, the mean square of the convolutional features; ``padding_mask (B, frames)`` or ``None``.

        Raises:
            SoftHubertError: there is no teacher.
        """
        if features_only:
            return super().forward(source, padding_mask=padding_mask, mask=mask, features_only=True, output_layer=output_layer)
        if self.teacher is None:
            raise SoftHubertError("a distil_hubert without its teacher gives features only; set model.teacher to train it")
        with torch.autocast(source.device.type, torch.bfloat16, enabled=True) if self.autocast_bf16 else contextlib.nullcontext():
            targets = self.teacher(source, padding_mask)
            x, features_pen, padded = self._encode(source, padding_mask, mask_indices, mask_channel_indices)
            predictions = [head(x) for head in self.heads]
        return {
            "predictions": predictions,
            "targets": targets,
            "layers": self.predicted_layers,
            "features_pen": features_pen,
            "padding_mask": padded,
        }

    def remove_pretraining_modules(self) -> None:
        """Drop the prediction heads: what follows needs the encoder only."""
        super().remove_pretraining_modules()
        del self.heads
