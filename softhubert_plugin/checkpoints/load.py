"""Load a fairseq checkpoint for inference, without any other file: ours or a stock HuBERT's, pretrained or fine-tuned.

A folder saved by transformers works too. Loading never runs code from the file: torch reads it with ``weights_only=True``, and the front
end's description is parsed before it reaches fairseq, which would evaluate it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterator, List, Mapping, Optional, Set

from omegaconf import OmegaConf, open_dict

from softhubert_plugin.checkpoints.contents import CTC_PREFIX, PRETRAINING_HEAD, encoder_configuration
from softhubert_plugin.checkpoints.foreign_contents import foreign_contents
from softhubert_plugin.checkpoints.plain_data import otherwise, read_plain_data
from softhubert_plugin.checkpoints.transformers import read_transformers, weights_file
from softhubert_plugin.compat.known_warnings import silence_known_warnings
from softhubert_plugin.compat.safe_globals import STOCK_MODULES, accept_stock_checkpoints
from softhubert_plugin.errors import SoftHubertError, blaming
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.front_end import ConvLayer, parse_conv_feature_layers

PLUGIN = Path(__file__).resolve().parents[1]
_WHAT = "checkpoint of fairseq's HuBERT"
_MISFIT = "the weights do not fit the configuration stored with them"
_ACCEPTED = "give a hubert, soft_hubert, distil_hubert or hubert_ctc checkpoint, or a folder that transformers saved a HuBERT in"


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
        SoftHubertError: the checkpoint is missing or damaged, holds anything but plain data, or is not that of a HuBERT; the message says
            what it is.
    """
    if Path(path).is_dir():
        return read_transformers(path)
    if not Path(path).is_file():
        raise SoftHubertError(f"{path}: no such checkpoint")
    state = read_plain_data(Path(path), _WHAT, _ACCEPTED, before=_accept)
    kind = foreign_contents(state)
    if kind is not None:
        raise SoftHubertError(f"{path}: {otherwise(_WHAT, kind, _ACCEPTED)}")
    return state


def _accept(modules: Set[str]) -> None:
    """Accept the two classes of stock checkpoints in a file that names them. Any other file is read without importing fairseq."""
    if modules & STOCK_MODULES:
        silence_known_warnings()  # before fairseq is imported
        accept_stock_checkpoints()


def checkpoint_sha256(path: PathLike) -> str:
    """SHA-256 of the file that holds a checkpoint's weights; it identifies the checkpoint."""
    if Path(path).is_dir():
        return sha256_of(weights_file(path))
    return sha256_of(path)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for inference.

    Attributes:
        model: the model in evaluation mode: a HuBERT, or a ``hubert_ctc`` around one. Its modules are fairseq's if :func:`load_checkpoint`
            loaded it, and have no prediction head if ``load_for_inference`` did.
        task: its fairseq task; ``None`` if the model was loaded without fairseq.
        encoder: the HuBERT itself.
        conv_layers: ``(channels, kernel, stride)`` of each convolution of the front end.
        normalize: whether the model expects waveforms of zero mean and unit variance.
        cfg: the complete configuration that it was trained with.
        updates: number of updates in its last training stage.
        symbols: the symbols that a fine-tuned model recognises, with fairseq's special symbols; ``None`` for a pretrained model.
    """

    model: Any
    task: Any
    encoder: Any
    conv_layers: List[ConvLayer]
    normalize: bool
    cfg: Any = None
    updates: int = 0
    symbols: Optional[List[str]] = None

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
    with built_from(path):
        cfg = OmegaConf.create(state["cfg"])
        encoder_cfg = encoder_configuration(cfg)
        conv_layers = parse_conv_feature_layers(encoder_cfg.conv_feature_layers)
        with open_dict(encoder_cfg):
            encoder_cfg.conv_feature_layers = repr(conv_layers)
        normalize = bool(cfg.task.normalize)
        updates = updates_of(state)
        check_depth(path, int(encoder_cfg.encoder_layers), state["model"])
        task = tasks.setup_task(cfg.task)
        task.load_state_dict(state.get("task_state", {}))
        model = task.build_model(cfg.model, from_checkpoint=True)
        if not any(name.startswith(PRETRAINING_HEAD) for name in state["model"]) and hasattr(model, "remove_pretraining_modules"):
            model.remove_pretraining_modules()
    with weights_that_fit(path):
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    if not hasattr(model, "w2v_encoder"):
        return LoadedModel(model.eval(), task, model, conv_layers, normalize, cfg, updates)
    encoder, symbols = model.w2v_encoder.w2v_model, list(task.target_dictionary.symbols)
    return LoadedModel(model.eval(), task, encoder, conv_layers, normalize, cfg, updates, symbols)


def built_from(path: PathLike) -> ContextManager[None]:
    """Blame a checkpoint for a configuration from which no model can be built."""
    return blaming(path, "no HuBERT can be built from the configuration stored in it", "train, copy or download it again")


@contextlib.contextmanager
def weights_that_fit(path: PathLike) -> Iterator[None]:
    """Blame a checkpoint for weights that its model refuses."""
    try:
        yield
    except RuntimeError as error:
        raise SoftHubertError(f"{path}: {_MISFIT} ({' '.join(str(error).split())[:300]})") from None


def updates_of(state: Mapping[str, Any]) -> int:
    """Number of updates in the last training stage of a checkpoint."""
    return int((state.get("optimizer_history") or [{}])[-1].get("num_updates", 0))


def check_depth(path: PathLike, layers: int, weights: Mapping[str, Any]) -> None:
    """Compare the configured number of layers with the weights, before a model of a billion layers is built.

    Raises:
        SoftHubertError: they differ.
    """
    numbers = (re.match(rf"(?:{re.escape(CTC_PREFIX)})?encoder\.layers\.(\d+)\.", name) for name in weights)
    found = len({number.group(1) for number in numbers if number})
    if found != layers:
        raise SoftHubertError(f"{path}: {_MISFIT} ({found} transformer layers, but encoder_layers is {layers})")
