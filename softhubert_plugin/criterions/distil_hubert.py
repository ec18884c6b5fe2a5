"""The loss of DistilHuBERT: ``|h − ĥ|₁ / D − λ log σ(cos(h, ĥ))`` for every frame and predicted layer (Chang et al. 2022, equation 1).

The loss is summed over frames and averaged over layers, in float32. The sample size is the number of frames, so the gradient is that of the
mean over frames. Padded frames do not count.
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

import torch
import torch.nn.functional as F
from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass

from softhubert_plugin.errors import refuse_in_one_line
from softhubert_plugin.ranges import check_ranges


@dataclass
class DistilHubertCriterionConfig(FairseqDataclass):
    """Settings of the criterion ``distil_hubert`` (``criterion.*``)."""

    cosine_weight: float = field(default=1.0, metadata={"help": "λ, the weight of the cosine term"})
    features_weight: float = field(default=0.0, metadata={"help": "weight of the penalty on convolutional features; the paper has none"})


def layer_distances(predictions: torch.Tensor, targets: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Distance of each prediction from its target.

    Args:
        predictions, targets: ``(frames, D)``.

    Returns:
        Mean absolute differences and cosine similarities, each ``(frames,)`` float32.
    """
    predictions, targets = predictions.float(), targets.float()
    return (predictions - targets).abs().mean(-1), F.cosine_similarity(predictions, targets, dim=-1)


@register_criterion("distil_hubert", dataclass=DistilHubertCriterionConfig)
class DistilHubertCriterion(FairseqCriterion):
    """Regression of a teacher's layers.

    Logged: ``loss`` per frame, and for every predicted layer N ``l1_N``, the mean absolute difference of prediction and target, and
    ``cosine_N``, their mean similarity.
    """

    def __init__(self, task: Any, cosine_weight: float = 1.0, features_weight: float = 0.0) -> None:
        super().__init__(task)
        with refuse_in_one_line():
            check_ranges("criterion", {"cosine_weight": cosine_weight, "features_weight": features_weight})
        self.cosine_weight = cosine_weight
        self.features_weight = features_weight

    def forward(self, model: torch.nn.Module, sample: Dict[str, Any], reduce: bool = True) -> Tuple[torch.Tensor, int, Dict[str, Any]]:
        """The loss summed over frames, the number of frames, and the values to log."""
        with refuse_in_one_line():
            output = model(**sample["net_input"])
        padded = output["padding_mask"]
        batch, width = output["predictions"][0].shape[:2]
        weights = output["predictions"][0].new_ones(batch * width, dtype=torch.float32) if padded is None else (~padded).flatten().float()
        frames = sample["frames"]  # counted where batches are made, so that the host does not wait for a GPU
        loss = weights.new_zeros(())
        log: Dict[str, Any] = {"nsentences": sample["id"].numel()}
        for layer, prediction, target in zip(output["layers"], output["predictions"], output["targets"]):
            difference, similarity = layer_distances(prediction.flatten(0, 1), target.flatten(0, 1))
            terms = difference - self.cosine_weight * F.logsigmoid(similarity)
            loss = loss + (weights @ terms) / len(output["layers"])
            log[f"l1/{layer}"] = weights @ difference.detach()
            log[f"cosine/{layer}"] = weights @ similarity.detach()
        if self.features_weight:
            loss = loss + self.features_weight * output["features_pen"].float() * frames
        log.update(loss=loss.detach(), ntokens=frames, sample_size=frames)
        return loss, frames, log

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Average the logged values over frames, across batches and workers."""
        frames = sum(log.get("sample_size", 0) for log in logging_outputs)
        for key in logging_outputs[0]:
            name, _, layer = key.partition("/")
            if layer or key == "loss":
                mean = sum(log[key] for log in logging_outputs) / frames
                metrics.log_scalar(f"{name}_{layer}" if layer else name, mean, frames, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """True: all logged values are sums over frames or utterances."""
        return True
