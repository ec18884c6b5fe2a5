"""What a checkpoint holds, and how to assemble one without training: for an imported model, or for ours in stock fairseq's terms.

These checkpoints hold only plain types. fairseq is imported inside the functions that use it, so reading this module's constants is cheap.
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
# The symbols with which every dictionary of fairseq begins, in their order. The first is the CTC blank.
SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")


def encoder_configuration(cfg: Any) -> Any:
    """The configuration of the HuBERT in a checkpoint's configuration; a fine-tuned model keeps it nested in its own."""
    return OmegaConf.select(cfg, "model.w2v_args.model") or cfg.model


def write_checkpoint(path: PathLike, state: Dict[str, Any]) -> None:
    """Save a checkpoint atomically."""
    with atomic_path(path) as temporary:
        torch.save(state, str(temporary))


def pretrained_checkpoint(
    settings: Dict[str, Any], weights: Dict[str, torch.Tensor], codewords: Optional[List[int]], *, normalize: bool
) -> Dict[str, Any]:
    """Assemble a ``soft_hubert`` checkpoint.

    Args:
        settings: model settings that differ from the defaults.
        weights: tensors under fairseq's names.
        codewords: number of codewords of each label set, or ``None`` for an encoder without a prediction head.
        normalize: whether the model expects waveforms of zero mean and unit variance.
    """
    return assemble(_pretraining_configuration(settings, normalize), weights, {"codewords": codewords})


def finetuned_checkpoint(
    settings: Dict[str, Any], encoder: Dict[str, torch.Tensor], projection: Dict[str, torch.Tensor], symbols: List[str], *, normalize: bool
) -> Dict[str, Any]:
    """Assemble a ``hubert_ctc`` checkpoint like those of our task's fine-tuning.

    Args:
        settings: encoder settings that differ from the defaults.
        encoder: the encoder's tensors under fairseq's names.
        projection: ``weight`` and ``bias`` of the output layer.
        symbols: the symbols that the model recognises, without fairseq's special symbols.
        normalize: whether the model expects waveforms of zero mean and unit variance.
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
    """Put together the parts of a checkpoint that fairseq expects."""
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
    """A complete configuration: the given groups, fairseq's defaults for the others, and all references between groups resolved."""
    cfg = copy.deepcopy(_fairseq_defaults())
    # The given groups refer to these: the task to the seed and the training split, the model to the task.
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
    """A group's configuration: the defaults of one of fairseq's dataclasses with ``values`` over them; keys that it lacks are left out."""
    names = set(structure.__dataclass_fields__)
    known = {name: value for name, value in values.items() if name in names or name == "_name"}
    from softhubert_plugin.settings import complete_shape

    cfg = OmegaConf.merge(OmegaConf.structured(structure), known)
    complete_shape(cfg)  # of a student: its teacher is not here
    merged = OmegaConf.to_container(cfg, enum_to_str=True)
    assert isinstance(merged, dict)
    return {str(name): value for name, value in merged.items()}


def _pretraining_configuration(settings: Dict[str, Any], normalize: bool) -> Dict[str, Any]:
    from softhubert_plugin.settings import SoftHubertConfig, SoftHubertPretrainingConfig

    task = {"_name": "soft_hubert_pretraining", "data": "", "labels": [], "label_rate": 50.0, "normalize": normalize}
    return whole_configuration(
        model=defaults(SoftHubertConfig(), {"_name": "soft_hubert", **settings}), task=defaults(SoftHubertPretrainingConfig(), task)
    )
