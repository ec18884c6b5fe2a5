"""Checks that the model to fine-tune is safe to give to fairseq, which evaluates strings of a checkpoint and loads its pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.contents import encoder_configuration
from softhubert_plugin.checkpoints.load import read_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.front_end import parse_conv_feature_layers


def check_encoder(cfg: Any) -> None:
    """Read the pretrained checkpoint of a ``hubert_ctc`` safely, and parse what fairseq would evaluate.

    Args:
        cfg: configuration of the fine-tuned model.

    Raises:
        SoftHubertError: the checkpoint is missing, or holds more than plain data.
    """
    if getattr(cfg, "w2v_args", None) is not None:
        parse_conv_feature_layers(cfg.w2v_args.model.conv_feature_layers)
        return
    if not Path(cfg.w2v_path).is_file():
        raise SoftHubertError(
            f"{cfg.w2v_path}: no such pretrained checkpoint; set model.w2v_path to one ('softhubert import transformers' "
            "makes one from a folder saved by transformers)"
        )
    parse_conv_feature_layers(encoder_configuration(OmegaConf.create(read_checkpoint(cfg.w2v_path)["cfg"])).conv_feature_layers)
