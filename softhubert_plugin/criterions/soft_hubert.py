"""KL divergence between target posteriors and predictions, over masked (and optionally unmasked) frames.

For a frame with target p and prediction q the loss is ``Σ p log p − Σ p log q`` in nats, summed over frames in float32. With one-hot
targets it equals fairseq's ``hubert`` criterion. As there, the sample size is the number of frames that carry weight.
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.ranges import check_ranges

REGIONS = ("masked", "unmasked")


@dataclass
class SoftHubertCriterionConfig(FairseqDataclass):
    """Settings of the criterion ``soft_hubert`` (``criterion.*``)."""

    pred_masked_weight: float = field(default=1.0, metadata={"help": "weight of the loss over masked frames"})
    pred_nomask_weight: float = field(default=0.0, metadata={"help": "weight of the loss over unmasked frames"})
    loss_weights: Optional[List[float]] = field(
        default=None, metadata={"help": "weights of the model's extra losses; HuBERT's recipe has [10], for its feature penalty"}
    )
    target_temperature: float = field(
        default=1.0, metadata={"help": "soften (above 1) or sharpen (below 1) targets over the components that labels keep: p ∝ p^(1/T)"}
    )
    confidence_weight: float = field(
        default=0.0,
        metadata={"help": "exponent c of a frame's weight (1 - H/ln K)^c, H its target's entropy: uncertain frames count less; 0: off"},
    )


def kl_divergence(
    logits: torch.Tensor, components: torch.Tensor, probabilities: torch.Tensor, *, target_temperature: float = 1.0
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """KL(p‖q) between sparse targets p and the predictions ``q = softmax(logits)``.

    Args:
        logits: ``(frames, K)``.
        components: ``(frames, entries)`` component ids; within a frame, an id has at most one entry above zero.
        probabilities: ``(frames, entries)``; rows are normalised here, and entries of zero have no effect.
        target_temperature: targets are raised to the power ``1 / target_temperature`` before they are normalised.

    Returns:
        ``(frames,)`` divergences in nats, ``(frames,)`` target entropies in nats, ``(frames, K)`` log predictions; all float32.
    """
    log_predictions = torch.log_softmax(logits.float(), dim=-1)
    targets = probabilities.float()
    if target_temperature != 1:
        # Scaled so that the largest is 1: at a low temperature the powers of all would underflow to zero, and 0 / 0 is no number.
        targets = (targets / targets.amax(-1, keepdim=True)).pow(1 / target_temperature)
    targets = targets / targets.sum(-1, keepdim=True)
    target_entropy = -torch.xlogy(targets, targets).sum(-1)
    cross_entropy = -(targets * log_predictions.gather(-1, components)).sum(-1)
    return cross_entropy - target_entropy, target_entropy, log_predictions


@register_criterion("soft_hubert", dataclass=SoftHubertCriterionConfig)
class SoftHubertCriterion(FairseqCriterion):
    """Masked prediction of soft targets.

    Logged: ``loss`` (bits per frame, as in fairseq), ``kl_masked`` (nats per frame), ``accuracy_masked`` against the target's argmax, the
    mean perplexities of targets and predictions, and ``codeword_usage``, the perplexity of the average prediction (1 if it has collapsed).
    """

    def __init__(
        self,
        task: Any,
        pred_masked_weight: float,
        pred_nomask_weight: float,
        loss_weights: Optional[List[float]] = None,
        target_temperature: float = 1.0,
        confidence_weight: float = 0.0,
    ) -> None:
        super().__init__(task)
        with refuse_in_one_line():
            weights = {"pred_masked_weight": pred_masked_weight, "pred_nomask_weight": pred_nomask_weight, "loss_weights": loss_weights}
            check_ranges("criterion", {**weights, "target_temperature": target_temperature, "confidence_weight": confidence_weight})
            if not pred_masked_weight and not pred_nomask_weight:
                raise SoftHubertError("criterion.pred_masked_weight and pred_nomask_weight are both 0, so no frame is scored; set one")
            if loss_weights is not None and len(loss_weights) > 1:
                raise SoftHubertError(
                    f"criterion.loss_weights={list(loss_weights)}: the model has one extra loss, its feature penalty; give one"
                )
        self.target_temperature = target_temperature
        self.confidence_weight = confidence_weight
        by_region = dict(zip(REGIONS, (pred_masked_weight, pred_nomask_weight)))
        self.region_weights = {region: weight for region, weight in by_region.items() if weight > 0}
        self.loss_weights = [] if loss_weights is None else list(loss_weights)

    def forward(self, model: torch.nn.Module, sample: Dict[str, Any], reduce: bool = True) -> Tuple[torch.Tensor, int, Dict[str, Any]]:
        """The loss summed over frames, the number of frames, and the values to log."""
        output = model(target_list=sample["target_list"], predict=tuple(self.region_weights), **sample["net_input"])
        loss = output["features_pen"].new_zeros((), dtype=torch.float32)
        sample_size = 0
        log: Dict[str, Any] = {"nsentences": sample["id"].numel()}
        for region, weight in self.region_weights.items():
            for label, prediction in enumerate(output["predictions"][region]):
                divergence, target_entropy, log_predictions = kl_divergence(**prediction, target_temperature=self.target_temperature)
                loss = loss + weight * (divergence * self._confidence(target_entropy, log_predictions.shape[-1])).sum()
                suffix = region if label == 0 else f"{region}_{label}"
                log.update(_statistics(suffix, prediction, divergence, target_entropy, log_predictions))
            sample_size += log[f"count_{region}"]
        for weight, penalty in zip(self.loss_weights, [output["features_pen"]]):
            if weight:
                loss = loss + weight * penalty.float() * sample_size
                log["features_pen"] = penalty.detach().float() * sample_size
        log.update(loss=loss.detach(), ntokens=sample_size, sample_size=sample_size)
        return loss, sample_size, log

    def _confidence(self, target_entropy: torch.Tensor, codewords: int) -> Union[torch.Tensor, float]:
        """``(frames,)`` weights of the loss; in the sample size every frame still counts as one."""
        if not self.confidence_weight:
            return 1.0
        return (1 - target_entropy / math.log(max(codewords, 2))).clamp(min=0).pow(self.confidence_weight)

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Average the logged values over frames, across batches and workers."""

        def total(key: str) -> Any:
            return sum(log.get(key, 0) for log in logging_outputs)

        sample_size = _at_least_one(total("sample_size"))
        metrics.log_scalar("loss", total("loss") / sample_size / math.log(2), sample_size, round=4)
        if "features_pen" in logging_outputs[0]:
            metrics.log_scalar("features_pen", total("features_pen") / sample_size, sample_size, round=4)
        for key in logging_outputs[0]:
            name, _, suffix = key.partition("/")
            if suffix:
                count = _at_least_one(total(f"count_{suffix}"))
                metrics.log_scalar(f"{name}_{suffix}" if name in ("kl", "accuracy") else name, total(key) / count, count, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """True: all logged values are sums over frames or utterances."""
        return True


def _at_least_one(count: Any) -> Any:
    """Raise a count to at least 1. Sums over several GPUs are tensors on the GPU; they stay there, without synchronisation."""
    return count.clamp(min=1) if isinstance(count, torch.Tensor) else max(count, 1)


def _statistics(
    suffix: str,
    prediction: Dict[str, torch.Tensor],
    divergence: torch.Tensor,
    target_entropy: torch.Tensor,
    log_predictions: torch.Tensor,
) -> Dict[str, Any]:
    """Sums over frames, under ``name/suffix``; :meth:`SoftHubertCriterion.reduce_metrics` turns them into means."""
    with torch.no_grad():
        frames = len(divergence)
        best = prediction["components"].gather(-1, prediction["probabilities"].argmax(-1, keepdim=True)).squeeze(-1)
        statistics: Dict[str, Any] = {
            f"count_{suffix}": frames,
            f"kl/{suffix}": divergence.sum(),
            f"accuracy/{suffix}": (log_predictions.argmax(-1) == best).sum(),
        }
        if suffix == REGIONS[0]:
            predictions = log_predictions.exp()
            predicted_entropy = -(predictions * log_predictions).sum(-1)
            average = predictions.mean(0)
            statistics[f"target_perplexity/{suffix}"] = target_entropy.exp().sum()
            statistics[f"predicted_perplexity/{suffix}"] = predicted_entropy.exp().sum()
            # The mean of no frames is NaN: a batch without masked frames must not poison the average.
            statistics[f"codeword_usage/{suffix}"] = torch.nan_to_num((-torch.xlogy(average, average).sum()).exp() * frames)
    return statistics
