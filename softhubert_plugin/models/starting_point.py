"""Start pretraining from the weights of another model: a stock HuBERT, a ``soft_hubert``, a fine-tuned model, or a DistilHuBERT.

The encoder is copied, for the layers that both models have. The prediction head is copied only if both score the same number of codewords.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import torch
from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.contents import CTC_PREFIX, PRETRAINING_HEAD, encoder_configuration
from softhubert_plugin.checkpoints.differences import network_differences, setting_differences
from softhubert_plugin.checkpoints.load import read_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike

LAYERS = "encoder.layers."


@dataclass(frozen=True)
class StartingPoint:
    """What :func:`start_from` did with each tensor.

    Attributes:
        loaded: names of the tensors copied from the checkpoint.
        fresh: names of the model's tensors that keep their random initialisation.
        ignored: names of the checkpoint's tensors that the model does not use.
    """

    loaded: List[str]
    fresh: List[str]
    ignored: List[str]

    def lines(self) -> List[str]:
        """The report for the log, one line per kind of tensor."""
        lines = [f"{len(self.loaded)} tensors loaded: {_summary(self.loaded)}"]
        if self.fresh:
            lines.append(f"{len(self.fresh)} tensors initialised afresh: {_summary(self.fresh)}")
        if self.ignored:
            lines.append(f"{len(self.ignored)} tensors of the checkpoint not used: {_summary(self.ignored)}")
        return lines


def start_from(model: torch.nn.Module, path: PathLike, *, settings: Any = None, normalize: Optional[bool] = None) -> StartingPoint:
    """Copy the weights of a checkpoint into a new model.

    Args:
        model: a ``soft_hubert`` or ``distil_hubert``; it is changed in place.
        path: the checkpoint, or a folder saved by transformers.
        settings: the model's configuration, and
        normalize: whether it is given waveforms of zero mean and unit variance; both are compared with the checkpoint's where given.

    Returns:
        What was done with each tensor.

    Raises:
        SoftHubertError: the checkpoint is unusable (see :func:`read_checkpoint`), its encoder has other sizes or computes something
            else with the same weights, or it holds no encoder.
    """
    state = read_checkpoint(path)
    saved = _encoder_state(state["model"])
    own = model.state_dict()
    same_head = "label_embs_concat" in own and all(
        name in saved and saved[name].shape == tensor.shape for name, tensor in own.items() if name.startswith(PRETRAINING_HEAD)
    )
    wanted = {name: tensor for name, tensor in own.items() if same_head or not name.startswith(PRETRAINING_HEAD)}
    loaded = {name: saved[name] for name in wanted if name in saved}
    odd = [name for name, tensor in loaded.items() if tensor.shape != own[name].shape]
    if odd:
        raise SoftHubertError(
            f"{path}: {odd[0]} is {tuple(loaded[odd[0]].shape)}, but this model's is {tuple(own[odd[0]].shape)} ({len(odd)} such tensors); "
            "model.init_from needs a checkpoint with the same front end, width and heads"
        )
    missing = [name for name in wanted if name not in loaded and not name.startswith(LAYERS)]
    first_layer = [name for name in wanted if name.startswith(f"{LAYERS}0.")]
    missing += [name for name in first_layer if name not in loaded]
    if missing:
        raise SoftHubertError(
            f"{path}: not the encoder of a HuBERT: it lacks {missing[0]} ({len(missing)} of {len(wanted)} tensors are missing); "
            "model.init_from takes a HuBERT, a soft_hubert or a DistilHuBERT checkpoint"
        )
    _check_settings(path, OmegaConf.create(state["cfg"]), settings, normalize)
    model.load_state_dict(loaded, strict=False)
    return StartingPoint(loaded=sorted(loaded), fresh=sorted(own.keys() - loaded.keys()), ignored=sorted(saved.keys() - loaded.keys()))


def _check_settings(path: PathLike, saved: Any, settings: Any, normalize: Optional[bool]) -> None:
    """Compare what the shapes of the weights do not show."""
    found = [] if settings is None else network_differences(encoder_configuration(saved), settings)
    if normalize is not None:
        found += setting_differences("task", saved.task, {"normalize": normalize}, ["normalize"])
    if found:
        # hydra wants a text with brackets in quotes, within those of the shell.
        restored = " ".join(f"\"{each.name}'{each.then}'\"" if "(" in each.then else f"{each.name}{each.then}" for each in found)
        fresh = "''" if settings is not None and "teacher" in settings else "null"
        raise SoftHubertError(
            f"{path}: its encoder has {found[0].name}{found[0].then}, but this model has {found[0].now}, and would compute something else "
            f"with the same weights; set {restored}, or model.init_from={fresh}"
        )


def _encoder_state(state: Dict[str, Any]) -> Dict[str, torch.Tensor]:
    """Remove the prefix that the encoder's names have in a fine-tuned model, which wraps its encoder."""
    if any(name.startswith(CTC_PREFIX) for name in state):
        state = {name[len(CTC_PREFIX) :] if name.startswith(CTC_PREFIX) else name: tensor for name, tensor in state.items()}
    return state


def _summary(names: List[str]) -> str:
    """Shorten names to their beginnings: ``encoder.layers.0-11, feature_extractor``."""
    layers = sorted({int(name[len(LAYERS) :].partition(".")[0]) for name in names if name.startswith(LAYERS)})
    others = sorted({_part(name) for name in names if not name.startswith(LAYERS)})
    return ", ".join([*(_ranges(layers)), *others])


def _part(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "encoder" else first


def _ranges(numbers: List[int]) -> List[str]:
    runs: List[Tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return [f"{LAYERS}{first}" if first == last else f"{LAYERS}{first}-{last}" for first, last in runs]
