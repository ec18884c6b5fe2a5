"""What a checkpoint holds, and how one is put together without training: of an imported model, or of ours in stock fairseq's terms.

Such checkpoints hold plain types only. fairseq is imported where it is used, so that reading its constants from here costs nothing.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any, Dict, List, Optional

import torch
from omegaconf import OmegaConf

from softhubert_plugin.files import PathLike, atomic_path

# Parameters that only pretraining and distillation need; a checkpoint may come without them.
PRETRAINING_HEAD = ("label_embs_concat", "final_proj.", "target_glu.", "heads.")
# Where a fine-tuned model keeps its encoder's parameters.
CTC_PREFIX = "w2v_encoder.w2v_model."


def encoder_configuration(cfg: Any) -> Any:
    """A checkpoint's configuration → that of its HuBERT, which a fine-tuned model keeps inside."""
    return OmegaConf.select(cfg, "model.w2v_args.model") or cfg.model


def write_checkpoint(path: PathLike, state: Dict[str, Any]) -> None:
    """Save a checkpoint atomically."""
    with atomic_path(path) as temporary:
        torch.save(state, str(temporary))


def pretrained_checkpoint(
    settings: Dict[str, Any], weights: Dict[str, torch.Tensor], codewords: Optional[List[int]], *, normalize: bool
) -> Dict[str, Any]:
    """A ``soft_hubert`` checkpoint.

    Args:
        settings: of the model, where they differ from the defaults.
        weights: under fairseq's names.
        codewords: how many each label set has, or ``None`` for an encoder without prediction head.
    """
    return assemble(_pretraining_configuration(settings, normalize), weights, {"codewords": codewords})


def finetuned_checkpoint(
    settings: Dict[str, Any], encoder: Dict[str, torch.Tensor], projection: Dict[str, torch.Tensor], symbols: List[str], *, normalize: bool
) -> Dict[str, Any]:
    """A ``hubert_ctc`` checkpoint as our task's fine-tuning leaves it.

    Args:
        projection: ``weight`` and ``bias`` of the output layer.
        symbols: what it recognises, without fairseq's special symbols.
    """
    from fairseq.models.hubert.hubert_asr import HubertCtcConfig

    pretraining = _pretraining_configuration(settings, normalize)
    model = defaults(HubertCtcConfig(), {"_name": "hubert_ctc", "w2v_path": "", "normalize": normalize, "data": ""})
    model["w2v_args"] = pretraining
    task = {**pretraining["task"], "fine_tuning": True, "labels": ["ltr"], "single_target": True, "pad_audio": True, "random_crop": False}
    weights = {f"{CTC_PREFIX}{name}": tensor for name, tensor in encoder.items()}
    weights.update({f"w2v_encoder.proj.{name}": tensor for name, tensor in projection.items()})
    return assemble({**pretraining, "task": task, "model": model}, weights, {"target_symbols": symbols})


def assemble(cfg: Dict[str, Any], weights: Dict[str, torch.Tensor], task_state: Dict[str, Any], *, updates: int = 0) -> Dict[str, Any]:
    """The parts of a checkpoint that fairseq looks for."""
    history = {"criterion_name": "HubertCriterion", "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": updates}
    return {
        "args": None,
        "cfg": cfg,
        "model": weights,
        "criterion": {},
        "optimizer_history": [history],
        "task_state": task_state,
        "extra_state": {"epoch": 1},
    }


def whole_configuration(**groups: Dict[str, Any]) -> Dict[str, Any]:
    """fairseq's defaults of every group, with some groups given, all references to others resolved."""
    cfg = copy.deepcopy(_fairseq_defaults())
    # What the groups given here refer to: the task to the seed and the training split, the model to the task.
    referred = {name: cfg[name] for name in ("common", "dataset")}
    resolved = OmegaConf.to_container(OmegaConf.create({**referred, **groups}), resolve=True, enum_to_str=True)
    assert isinstance(resolved, dict)
    return {**cfg, **{str(name): group for name, group in resolved.items()}}


@lru_cache(maxsize=None)
def _fairseq_defaults() -> Dict[str, Any]:
    from fairseq.dataclass.configs import FairseqConfig

    cfg = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    resolved = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True, enum_to_str=True)
    assert isinstance(resolved, dict)
    return {str(name): group for name, group in resolved.items()}


def defaults(structure: Any, values: Dict[str, Any]) -> Dict[str, Any]:
    """A group's configuration: a dataclass of fairseq's and the values that differ from it."""
    names = set(structure.__dataclass_fields__)
    known = {name: value for name, value in values.items() if name in names or name == "_name"}
    merged = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(structure), known), enum_to_str=True)
    assert isinstance(merged, dict)
    return {str(name): value for name, value in merged.items()}


def _pretraining_configuration(settings: Dict[str, Any], normalize: bool) -> Dict[str, Any]:
    from softhubert_plugin.settings import SoftHubertConfig, SoftHubertPretrainingConfig

    task = {"_name": "soft_hubert_pretraining", "data": "", "labels": [], "label_rate": 50.0, "normalize": normalize}
    return whole_configuration(
        model=defaults(SoftHubertConfig(), {"_name": "soft_hubert", **settings}), task=defaults(SoftHubertPretrainingConfig(), task)
    )
