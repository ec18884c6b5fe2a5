"""Recognise checkpoints of other models by what they hold, so that a refusal can say what was given instead of a HuBERT."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import torch

HUBERTS = ("hubert", "soft_hubert", "distil_hubert")
FINE_TUNED = "hubert_ctc"
TASKS = ("hubert_pretraining", "soft_hubert_pretraining")

# (keys that are all there, what it is). More specific ones come first.
_PARTS: Tuple[Tuple[Tuple[str, ...], str], ...] = (
    (("dims", "model_state_dict"), "a Whisper of OpenAI's"),
    (("state_dict", "pytorch-lightning_version"), "a checkpoint of PyTorch Lightning"),
    (("state", "param_groups"), "the state of an optimizer"),
    (("optimizers", "schedulers", "reporter"), "a checkpoint of ESPnet"),
    (("Upstream_Config",), "a model of s3prl"),
    (("Config", "Transformer"), "a model of s3prl"),
)
# (beginning of a tensor's name, what it is a part of)
_TENSORS: Tuple[Tuple[str, str], ...] = (
    ("quantizer.", "the weights of a wav2vec 2.0"),
    ("w2v_encoder.", "the weights of a fine-tuned model of fairseq"),
    ("wav2vec2.", "the weights of a wav2vec 2.0 of transformers"),
    ("data2vec_audio.", "the weights of a data2vec of transformers"),
    ("wavlm.", "the weights of a WavLM of transformers"),
    ("hubert.", "the weights of a HuBERT of transformers"),
    ("feature_projection.", "weights in transformers' names"),
    ("encoder.feature_projection.", "weights of a model of torchaudio"),
    ("encoder.encoders.", "the weights of a model of ESPnet"),
    ("preprocessor.featurizer.", "the weights of a model of NeMo"),
    ("decoder.token_embedding.", "the weights of a Whisper"),
    ("label_embs_concat", "the weights of a HuBERT of fairseq"),
    ("post_extract_proj.", "the weights of a HuBERT or wav2vec 2.0 of fairseq"),
)
_OF_TRANSFORMERS = "give the folder that transformers saved it in, with its config.json"


def foreign_contents(state: Any) -> Optional[str]:
    """Say what a checkpoint is if it is not one of fairseq's HuBERT; ``None`` if it is one, or may be.

    Args:
        state: what :func:`~softhubert_plugin.checkpoints.plain_data.read_plain_data` returned.
    """
    if not isinstance(state, dict):
        return f"an object of type {type(state).__name__}"
    cfg, weights = state.get("cfg"), state.get("model")
    if isinstance(cfg, Mapping) and "model" in state:
        return _other_model(cfg, weights)
    return _other_toolkit(state)


def _other_model(cfg: Mapping[str, Any], weights: Any) -> Optional[str]:
    """The same for a checkpoint with a configuration and weights, as fairseq writes since 0.10."""
    task, model = _name(cfg.get("task")), _name(cfg.get("model"))
    lacking = [name for name in ("task", "model") if name not in cfg]
    if lacking:
        return _other_configuration(cfg, lacking, task or model)
    if model == FINE_TUNED:
        inner = cfg["model"].get("w2v_args")
        encoder = _name(inner.get("model") if isinstance(inner, Mapping) else None)
        if encoder is None or not _is_known(encoder, HUBERTS, "model"):
            return f"a {FINE_TUNED} around the model {encoder}" if encoder else f"a {FINE_TUNED} that lacks its encoder's configuration"
    elif model is None or not _is_known(model, HUBERTS, "model"):
        return f"the model {model or 'without a name'} of the task {task or 'without a name'}"
    if task is None or not _is_known(task, TASKS, "task"):
        return f"the model {model} of the task {task or 'without a name'}"
    if not isinstance(weights, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in weights.values()):
        return f"the model {model} with weights that are not a dictionary of tensors"
    return None


def _other_configuration(cfg: Mapping[str, Any], lacking: Sequence[str], name: Optional[str]) -> str:
    """Name a model whose configuration is not divided into task and model, as Microsoft's are."""
    if "relative_position_embedding" in cfg:
        return "a WavLM of Microsoft's"
    if "input_patch_size" in cfg:
        return "a BEATs of Microsoft's"
    return f"{name or 'a model of another toolkit'}, whose configuration has no {' and no '.join(lacking)}"


def _other_toolkit(state: Dict[Any, Any]) -> str:
    args = state.get("args")
    if isinstance(args, (argparse.Namespace, Mapping)) and "model" in state:
        known = vars(args) if isinstance(args, argparse.Namespace) else args
        kind = known.get("arch") or known.get("_name") or "without a name"
        return f"the model {kind} of a fairseq before 0.10 (task {known.get('task', 'unknown')}), which had no HuBERT"
    for keys, kind in _PARTS:
        if state.keys() >= set(keys):
            return kind
    if state and all(isinstance(value, torch.Tensor) for value in state.values()):
        return _bare_weights([str(name) for name in state])
    named = ", ".join(sorted(map(str, state))[:5])
    return f"a dictionary without a configuration (it holds {named})" if named else "an empty dictionary"


def _bare_weights(names: Sequence[str]) -> str:
    for beginning, kind in _TENSORS:
        if any(name.startswith(beginning) for name in names):
            return f"{kind} without a configuration" + (f"; {_OF_TRANSFORMERS}" if "transformers" in kind else "")
    return f"tensors without a configuration (the first: {names[0]})"


def _name(group: Any) -> Optional[str]:
    """The name of a task or model in its configuration."""
    name = group.get("_name") if isinstance(group, Mapping) else None
    return name if isinstance(name, str) else None


def _is_known(name: str, names: Tuple[str, ...], kind: str) -> bool:
    """Whether a task or model is one of ``names``, or registered with fairseq as a variant of HuBERT's."""
    if name in names:
        return True
    if kind == "model":
        from fairseq.models import MODEL_REGISTRY as registry
        from fairseq.models.hubert import HubertModel as base
    else:
        from fairseq.tasks import TASK_REGISTRY as registry
        from fairseq.tasks.hubert_pretraining import HubertPretrainingTask as base
    return isinstance(registry.get(name), type) and issubclass(registry[name], base)
