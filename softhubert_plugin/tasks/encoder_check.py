"""Checks the model to fine-tune, or to start from, before it is given to fairseq.

fairseq evaluates strings of a checkpoint and loads its pickles, and says of audio that does not fit only that it does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.contents import encoder_configuration
from softhubert_plugin.checkpoints.differences import setting_differences
from softhubert_plugin.checkpoints.foreign_contents import FINE_TUNED
from softhubert_plugin.checkpoints.load import read_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.front_end import parse_conv_feature_layers

# What must be as in pretraining, and what to do where it is not.
_AUDIO = {
    "normalize": "set {name}{then}",
    "sample_rate": "give it audio of that rate ('softhubert manifest' can resample), or a model that was pretrained on yours",
}


def relative_hint(path: str) -> str:
    """What to add to the message about a missing path, where hydra's change of the working directory may be the reason."""
    return "" if Path(path).is_absolute() else f" (in {Path.cwd()}, where fairseq-hydra-train works; give an absolute path)"


def check_there(name: str, path: str) -> None:
    """Check that a checkpoint is there, or a folder of one.

    Args:
        name: the setting that names it.

    Raises:
        SoftHubertError: it is not.
    """
    if not Path(path).exists():
        raise SoftHubertError(f"{path}: no such checkpoint{relative_hint(path)}; {name} takes one, or a folder saved by transformers")


def check_encoder(cfg: Any, *, sample_rate: Optional[int] = None) -> None:
    """Read the pretrained checkpoint of a ``hubert_ctc`` safely, and parse what fairseq would evaluate.

    Args:
        cfg: configuration of the fine-tuned model.
        sample_rate: samples per second of the audio to fine-tune on.

    Raises:
        SoftHubertError: the checkpoint is missing, holds more than plain data, is fine-tuned already, or was trained on other audio.
    """
    if getattr(cfg, "w2v_args", None) is not None:
        parse_conv_feature_layers(cfg.w2v_args.model.conv_feature_layers)
        return
    path = cfg.w2v_path
    if not Path(path).is_file():
        raise SoftHubertError(
            f"{path}: no such pretrained checkpoint{relative_hint(str(path))}; set model.w2v_path to one ('softhubert import transformers' "
            "makes one from a folder saved by transformers)"
        )
    saved = OmegaConf.create(read_checkpoint(path)["cfg"])
    if saved.model.get("_name") == FINE_TUNED:
        raise SoftHubertError(f"{path}: a fine-tuned model; set model.w2v_path to the pretrained one that it was made from, or to another")
    for each in setting_differences("task", saved.task, {"normalize": cfg.normalize, "sample_rate": sample_rate}, _AUDIO):
        remedy = _AUDIO[each.name[len("task.") : -1]].format(**each._asdict())
        raise SoftHubertError(f"{path}: was trained with {each.name}{each.then}, but here it is {each.now}; {remedy}")
    parse_conv_feature_layers(encoder_configuration(saved).conv_feature_layers)
