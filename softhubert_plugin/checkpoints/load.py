"""Load a fairseq checkpoint for inference, without any other file: ours or a stock HuBERT's, pretrained or fine-tuned.

A folder saved by transformers works too. Loading never runs code from the file: torch reads it with ``weights_only=True``, and the front
end's description is parsed before it reaches fairseq, which would evaluate it.
"""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import torch
from omegaconf import OmegaConf, open_dict

from softhubert_plugin.checkpoints.contents import PRETRAINING_HEAD, encoder_configuration
from softhubert_plugin.checkpoints.transformers import read_transformers, weights_file
from softhubert_plugin.compat.known_warnings import silence_known_warnings
from softhubert_plugin.compat.safe_globals import accept_stock_checkpoints
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.front_end import ConvLayer, parse_conv_feature_layers

PLUGIN = Path(__file__).resolve().parents[1]


def register_plugin(*, quiet: bool = True) -> None:
    """Make the plugin's tasks, models, criteria and optimizers known to fairseq.

    fairseq imports the folder of tasks, as it does for ``--user-dir``. This module imports no task by name, because tasks depend on this
    module: they read checkpoints of a teacher, or of a model to start from.

    Args:
        quiet: make fairseq log only warnings.
    """
    if quiet:
        logging.getLogger("fairseq").setLevel(logging.WARNING)
    silence_known_warnings()  # before fairseq is imported, which prints some of them
    from fairseq import tasks

    tasks.import_tasks(str(PLUGIN / "tasks"), f"{PLUGIN.name}.tasks")


def read_checkpoint(path: PathLike) -> Dict[str, Any]:
    """Read a checkpoint's contents safely. A folder saved by transformers is converted to the same form.

    Raises:
        SoftHubertError: the checkpoint is missing, truncated, holds anything but plain data, or lacks the parts of a hydra-era checkpoint.
    """
    if Path(path).is_dir():
        return read_transformers(path)
    if not Path(path).is_file():
        raise SoftHubertError(f"{path}: no such checkpoint")
    silence_known_warnings()  # before fairseq is imported, here by accept_stock_checkpoints
    accept_stock_checkpoints()
    try:
        state = torch.load(str(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise SoftHubertError(f"{path}: refused, it holds more than plain data or is damaged ({reason})") from None
    except (RuntimeError, EOFError, OSError) as error:
        raise SoftHubertError(
            f"{path}: truncated or not a checkpoint ({str(error).partition(chr(10))[0] or 'empty'}); train or copy it again"
        ) from None
    if not isinstance(state, dict) or not {"cfg", "model"} <= state.keys() or state["cfg"] is None:
        raise SoftHubertError(f"{path}: not a checkpoint of fairseq ≥ 0.10 (no configuration inside)")
    return state


def checkpoint_sha256(path: PathLike) -> str:
    """SHA-256 of the file that holds a checkpoint's weights; it identifies the checkpoint."""
    if Path(path).is_dir():
        return sha256_of(weights_file(path))
    return sha256_of(path)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for inference.

    Attributes:
        model: the model as trained, in evaluation mode: a HuBERT, or a ``hubert_ctc`` around one.
        task: its fairseq task, with the target dictionary of a fine-tuned model.
        encoder: the HuBERT itself.
        conv_layers: ``(channels, kernel, stride)`` of each convolution of the front end.
        normalize: whether the model expects waveforms of zero mean and unit variance.
        cfg: the complete configuration that it was trained with.
        updates: number of updates in its last training stage.
    """

    model: Any
    task: Any
    encoder: Any
    conv_layers: List[ConvLayer]
    normalize: bool
    cfg: Any = None
    updates: int = 0

    @property
    def encoder_cfg(self) -> Any:
        """The configuration of the HuBERT itself."""
        return encoder_configuration(self.cfg)


def load_checkpoint(path: PathLike, *, quiet: bool = True) -> LoadedModel:
    """Rebuild a model from its checkpoint alone.

    Args:
        path: the checkpoint, or a folder saved by transformers.
        quiet: make fairseq log only warnings from now on; a program that trains sets this to false.

    Raises:
        SoftHubertError: as :func:`read_checkpoint`, or the weights do not fit the configuration.
    """
    register_plugin(quiet=quiet)  # first, because it silences warnings of the import
    from fairseq import tasks

    state = read_checkpoint(path)
    cfg = OmegaConf.create(state["cfg"])
    encoder_cfg = encoder_configuration(cfg)
    conv_layers = parse_conv_feature_layers(encoder_cfg.conv_feature_layers)
    with open_dict(encoder_cfg):
        encoder_cfg.conv_feature_layers = repr(conv_layers)
    task = tasks.setup_task(cfg.task)
    task.load_state_dict(state.get("task_state", {}))
    model = task.build_model(cfg.model, from_checkpoint=True)
    if not any(name.startswith(PRETRAINING_HEAD) for name in state["model"]) and hasattr(model, "remove_pretraining_modules"):
        model.remove_pretraining_modules()
    try:
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise SoftHubertError(
            f"{path}: the weights do not fit the configuration stored with them ({' '.join(str(error).split())[:300]})"
        ) from None
    encoder = model.w2v_encoder.w2v_model if hasattr(model, "w2v_encoder") else model
    updates = int((state.get("optimizer_history") or [{}])[-1].get("num_updates", 0))
    return LoadedModel(model.eval(), task, encoder, conv_layers, bool(cfg.task.normalize), cfg, updates)
