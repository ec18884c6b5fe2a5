"""The model ``distil_hubert``: DistilHuBERT (Chang et al. 2022, arXiv 2110.01900), a two-layer HuBERT that predicts layers of a larger one.

The network is that of ``soft_hubert``, with one prediction head per predicted teacher layer instead of codewords. It has the teacher's
front end, width and attention heads unless it is told otherwise, and starts from the teacher's front end and first layers. After training
the prediction heads are dropped, and an ordinary small HuBERT remains.
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
import contextlib
from typing import Any, Dict, Optional

import torch
from fairseq.models import register_model

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.front_end import parse_conv_feature_layers
from softhubert_plugin.models.soft_hubert import SoftHubertModel
from softhubert_plugin.models.teacher import Teacher
from softhubert_plugin.settings import DistilHubertConfig, complete_shape


@register_model("distil_hubert", dataclass=DistilHubertConfig)
class DistilHubertModel(SoftHubertModel):
    """A student and, during training, its teacher.

    Args:
        cfg: the model's configuration, a :class:`DistilHubertConfig`, with the teacher's shape and ``teacher_embed_dim``. What it leaves
            open is as in HuBERT Base.
        task_cfg: the task's configuration, which gives the sample rate and the frame rate.

    Raises:
        SoftHubertError: as :class:`~softhubert_plugin.models.soft_hubert.SoftHubertModel`.
    """

    def __init__(self, cfg: Any, task_cfg: Any) -> None:
        complete_shape(cfg)
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
        """Build a model from its configuration; fairseq calls this."""
        with refuse_in_one_line():
            return cls(cfg, task.cfg)

    def learn_from(self, teacher: Teacher, *, normalize: bool) -> None:
        """Set the teacher.

        Args:
            teacher: a teacher of the layers that the student predicts.
            normalize: whether the student receives waveforms of zero mean and unit variance.

        Raises:
            SoftHubertError: the teacher's frames, width, layers or audio do not match the student's.
        """
        if teacher.front_end != self.front_end:
            raise SoftHubertError(
                f"the teacher's convolutions (kernel, stride) are {teacher.front_end}, but the student's are {self.front_end}, so their "
                "frames do not coincide; leave model.conv_feature_layers at null to take the teacher's"
            )
        if (teacher.layers, teacher.width) != (self.predicted_layers, self.teacher_width):
            raise SoftHubertError(
                f"the student has heads for layers {self.predicted_layers} of width {self.teacher_width}, but the teacher gives layers "
                f"{teacher.layers} of width {teacher.width}; leave model.teacher_embed_dim at 0"
            )
        if teacher.normalize != normalize:
            raise SoftHubertError(
                f"the teacher was trained with task.normalize={teacher.normalize}, but the student has {normalize}; take the "
                "teacher's value with task.normalize=null"
            )
        self.teacher = teacher

    def forward(  # type: ignore[override]  # targets come from the teacher, not from the batch
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
            padding_mask: ``(B, samples)`` bool, true where padded; ``None`` if nothing is.
            mask, output_layer: as in fairseq's HuBERT; used only with ``features_only``.
            mask_indices, mask_channel_indices: what to hide from the student, as for ``soft_hubert``.

        Returns:
            ``predictions`` and ``targets``: each a list over the predicted layers of ``(B, frames, teacher's width)``; ``layers``: the
            numbers of these layers; ``features_pen``: mean square of the convolutional features; ``padding_mask``: ``(B, frames)`` bool or
            ``None``.

        Raises:
            SoftHubertError: the model has no teacher.
        """
        if features_only:
            return super().forward(source, padding_mask=padding_mask, mask=mask, features_only=True, output_layer=output_layer)
        if self.teacher is None:
            raise SoftHubertError("this distil_hubert has no teacher, so it gives features only; set model.teacher to train it")
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
        """Drop the prediction heads: later stages need only the encoder."""
        super().remove_pretraining_modules()
        del self.heads
