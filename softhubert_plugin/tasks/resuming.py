"""Checks that a training goes on with what the checkpoint in its folder was trained on and with.

A changed setting would otherwise go unnoticed where the weights still fit: numbers of clusters and letters have no meaning of their own.
"""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Optional

from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.contents import encoder_configuration
from softhubert_plugin.checkpoints.differences import Difference, network_differences, setting_differences
from softhubert_plugin.errors import SoftHubertError, reason_of

# Settings that change which weights there are, or which of them the optimizer has a state of, but not what the encoder computes.
_OF_WEIGHTS = {
    "model": ("final_dim", "untie_final_proj", "target_glu", "predicted_layers", "teacher_embed_dim", "layer_type", "pos_enc_type"),
    "criterion": ("_name",),
}
_OF_OPTIMIZER = {
    "model": ("freeze_feature_extractor", "freeze_layers", "freeze_updates"),
    "optimizer": ("_name",),
    "criterion": ("_name",),
    "common": ("fp16", "bf16", "amp", "memory_efficient_fp16", "memory_efficient_bf16", "fp16_no_flatten_grads"),
}
# What a task keeps: its name in words, and how its entries are listed.
_KEPT = {
    "codewords": ("labels of as many clusters: ", ", "),
    "label_sources": ("labels of the clustering ", ", "),
    "label_mixtures": ("hard labels of the mixture ", ", "),
    "target_symbols": ("the dictionary ", " "),
}
_FINGERPRINT = 64  # letters of a SHA-256
_ELSEWHERE = "choose another hydra.run.dir, or restore the setting"


def check_resumed(path: str, state: Mapping[str, Any], task: Any, cfg: Any, error: Optional[Exception] = None) -> None:
    """Compare a checkpoint of this task with the training that is resumed from it. Checkpoints of other tasks are left alone.

    Args:
        path: the checkpoint.
        state: its ``cfg`` and ``task_state``.
        task: the task of this training.
        cfg: the whole configuration of this training.
        error: what loading it failed with; ``None`` before it is loaded.

    Raises:
        SoftHubertError: they differ in the labels, the letters, the audio or the network; or the weights, or the optimizer's state, do
            not fit.
    """
    saved = OmegaConf.create(state["cfg"])
    if not saved.get("task") or saved.task.get("_name") != cfg.task._name or cfg.task._name != "soft_hubert_pretraining":
        return
    path = os.path.abspath(path)  # fairseq's is relative to the folder where hydra works
    found = _training_differences(saved, cfg) + _state_differences(state["task_state"], task.state_dict())
    if error is None:
        if found:
            raise SoftHubertError(f"{path}: {_listed(found)}; {_ELSEWHERE}")
    elif str(error).startswith("Cannot load model parameters"):
        found += _by_section(saved, cfg, _OF_WEIGHTS)
        raise SoftHubertError(f"{path}: {_listed(found) if found else 'its weights do not fit this model'}; {_ELSEWHERE}")
    elif isinstance(error, (AssertionError, ValueError)):
        found = _by_section(saved, cfg, _OF_OPTIMIZER)
        why = _listed(found) if found else f"the state of its optimizer does not fit this training ({reason_of(error)})"
        raise SoftHubertError(f"{path}: {why}; restore the setting, or go on with the weights alone: checkpoint.reset_optimizer=true")


def _training_differences(saved: Any, cfg: Any) -> List[Difference]:
    before, now = encoder_configuration(saved), encoder_configuration(cfg)
    found = setting_differences("task", saved.task, cfg.task, ("normalize", "sample_rate"))
    return found + network_differences(before, now) + setting_differences("model", before, now, ("encoder_layers",))


def _by_section(saved: Any, cfg: Any, names: Mapping[str, Any]) -> List[Difference]:
    sections = [section for section in names if saved.get(section) and cfg.get(section)]
    return [each for section in sections for each in setting_differences(section, saved[section], cfg[section], names[section])]


def _state_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> List[Difference]:
    """Compare what two tasks keep; checkpoints of earlier versions do not name the clusterings."""
    found = []
    for name, (what, separator) in _KEPT.items():
        before, after = then.get(name), now.get(name)
        if before is not None and after is not None and list(before) != list(after):
            found.append(Difference(what, *(separator.join(map(_shortened, each)) for each in (before, after))))
    return found


def _shortened(entry: Any) -> str:
    """An entry of what a task keeps; of a fingerprint, its beginning and the word that may follow it."""
    text = str(entry)
    return text if len(text) < _FINGERPRINT else text[:12] + text[_FINGERPRINT:]


def _listed(found: List[Difference]) -> str:
    return "was trained with " + "; with ".join(f"{each.name}{each.then}, now {each.now}" for each in found)
