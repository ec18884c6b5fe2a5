"""Checks that model and criterion are made for each other, and that something is left to learn from, before a training starts."""

from __future__ import annotations

from typing import Any

from softhubert_plugin.errors import SoftHubertError

CRITERIA = {"soft_hubert": "soft_hubert", "distil_hubert": "distil_hubert", "hubert_ctc": "ctc"}
_STOCK = "hubert"  # fairseq's own criterion, which needs fairseq's own task
_REGIONS = {"skip_masked": "pred_masked_weight", "skip_nomask": "pred_nomask_weight"}


def check_objective(model_cfg: Any, criterion_cfg: Any) -> None:
    """Check the criterion of a training. Models and criteria that are not of this package are left alone.

    Args:
        model_cfg: the model's settings.
        criterion_cfg: the criterion's settings; ``None`` if nothing is trained.

    Raises:
        SoftHubertError: the criterion is that of another model, no frame is scored, or a setting asks for what only fairseq's model does.
    """
    model, criterion = getattr(model_cfg, "_name", None), getattr(criterion_cfg, "_name", None)
    fitting = CRITERIA.get(str(model))
    if fitting is None or criterion not in (*CRITERIA.values(), _STOCK):
        return
    if criterion != fitting:
        raise SoftHubertError(f"criterion._name={criterion} does not train model._name={model}; set criterion._name={fitting}")
    if model == "soft_hubert":
        _check_regions(model_cfg, criterion_cfg)


def _check_regions(model_cfg: Any, criterion_cfg: Any) -> None:
    # What a configuration leaves out has the default of the criterion, whose frames are the masked ones.
    weights = {"pred_masked_weight": 1.0, "pred_nomask_weight": 0.0}
    weights.update({name: criterion_cfg[name] for name in weights if name in criterion_cfg})
    for skip, weight in _REGIONS.items():
        if getattr(model_cfg, skip, False) and weights[weight]:
            raise SoftHubertError(
                f"model.{skip}=true has no effect in soft_hubert; set criterion.{weight}=0, and leave model.{skip} at false"
            )
    if not model_cfg.mask_prob and not weights["pred_nomask_weight"]:
        raise SoftHubertError(
            "model.mask_prob=0 hides no frame, and criterion.pred_nomask_weight=0 scores only hidden ones, so nothing would be learned; "
            "set model.mask_prob=0.8, or criterion.pred_nomask_weight=1"
        )
