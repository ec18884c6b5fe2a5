"""Load a checkpoint to run its model, in a fraction of the time that importing fairseq takes.

The model is built from :mod:`softhubert_plugin.checkpoints.network`. fairseq is imported only for checkpoints that need it: those with
objects of fairseq inside, and those whose encoder the network cannot express. The checks are the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.contents import CTC_PREFIX, PRETRAINING_HEAD, SPECIAL_SYMBOLS, encoder_configuration
from softhubert_plugin.checkpoints.foreign_contents import FINE_TUNED, HUBERTS
from softhubert_plugin.checkpoints.load import (
    LoadedModel,
    built_from,
    check_depth,
    load_checkpoint,
    read_checkpoint,
    updates_of,
    weights_that_fit,
)
from softhubert_plugin.checkpoints.network import Architecture, PlainCtc, PlainHubert, architecture_of
from softhubert_plugin.checkpoints.transformers import convert_transformers
from softhubert_plugin.files import PathLike


@dataclass(frozen=True)
class _Contents:
    """What inference needs of a checkpoint.

    Attributes:
        cfg: its configuration.
        encoder_cfg: the configuration of the HuBERT itself.
        weights: tensors under fairseq's names.
        symbols: the symbols that a fine-tuned model recognises, with fairseq's special symbols; ``None`` for a pretrained model.
        normalize: whether the model expects waveforms of zero mean and unit variance.
        updates: number of updates in its last training stage.
    """

    cfg: Any
    encoder_cfg: Any
    weights: Dict[str, torch.Tensor]
    symbols: Optional[List[str]]
    normalize: bool
    updates: int = 0


def load_for_inference(path: PathLike) -> LoadedModel:
    """Rebuild a model from its checkpoint alone, without what only training needs.

    Args:
        path: the checkpoint, or a folder saved by transformers.

    Returns:
        The model in evaluation mode. Its ``task`` is ``None``, unless the model needed fairseq.

    Raises:
        SoftHubertError: as :func:`~softhubert_plugin.checkpoints.load.load_checkpoint`.
    """
    contents = _of_folder(path) if Path(path).is_dir() else _of_file(path)
    if contents is None:
        return load_checkpoint(path)
    with built_from(path):
        architecture = architecture_of(contents.encoder_cfg)
    if architecture is None:
        return load_checkpoint(path)
    check_depth(path, architecture.encoder_layers, contents.weights)
    with built_from(path):
        model = _empty_model(architecture, contents.symbols)
    with weights_that_fit(path):
        model.load_state_dict(_without_heads(contents.weights), strict=True, assign=True)
    model = model.float().eval()
    encoder = model if contents.symbols is None else model.w2v_encoder.w2v_model
    return LoadedModel(
        model, None, encoder, architecture.convolutions, contents.normalize, contents.cfg, contents.updates, symbols=contents.symbols
    )


def _of_file(path: PathLike) -> Optional[_Contents]:
    """The contents of a checkpoint; ``None`` if only fairseq can tell what it needs."""
    state = read_checkpoint(path)
    with built_from(path):
        cfg = OmegaConf.create(state["cfg"])
        is_fine_tuned = cfg.model._name == FINE_TUNED
        encoder_cfg = encoder_configuration(cfg)
        symbols = _symbols(state.get("task_state") or {}) if is_fine_tuned else None
        if encoder_cfg._name not in HUBERTS or (is_fine_tuned and symbols is None):
            return None
        return _Contents(cfg, encoder_cfg, state["model"], symbols, bool(cfg.task.normalize), updates_of(state))


def _symbols(task_state: Dict[str, Any]) -> Optional[List[str]]:
    """The symbols that a fine-tuned model recognises, from the state of our task or of fairseq's."""
    if "target_symbols" in task_state:
        return list(dict.fromkeys([*SPECIAL_SYMBOLS, *task_state["target_symbols"]]))
    symbols = getattr(task_state.get("target_dictionary"), "symbols", None)
    return None if symbols is None else list(symbols)


def _of_folder(path: PathLike) -> _Contents:
    """The contents of a folder saved by transformers."""
    found = convert_transformers(path)
    weights = found.encoder
    if found.symbols is not None:
        weights = {f"{CTC_PREFIX}{name}": tensor for name, tensor in found.encoder.items()}
        weights.update({f"w2v_encoder.proj.{name}": tensor for name, tensor in found.projection.items()})
    cfg = OmegaConf.create({"model": found.settings, "task": {"normalize": found.normalize}})
    symbols = None if found.symbols is None else [*SPECIAL_SYMBOLS, *found.symbols]
    return _Contents(cfg, cfg.model, weights, symbols, found.normalize)


def _empty_model(architecture: Architecture, symbols: Optional[List[str]]) -> Any:
    """The network without numbers: a checkpoint's tensors become its parameters, so nothing is drawn at random or copied."""
    with torch.device("meta"):
        return PlainHubert(architecture) if symbols is None else PlainCtc(architecture, len(symbols))


def _without_heads(weights: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """The tensors that do not belong to a prediction head."""
    heads = (*PRETRAINING_HEAD, *(f"{CTC_PREFIX}{name}" for name in PRETRAINING_HEAD))
    return {name: tensor for name, tensor in weights.items() if not name.startswith(heads)}
