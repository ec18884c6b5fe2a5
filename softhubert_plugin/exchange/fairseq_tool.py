"""Runs fairseq's own scripts from an installed fairseq, beside today's torch and torchaudio.

They were written to be started in fairseq's repository: ``infer.py`` says ``from examples.…``, which in a wheel is
``fairseq.examples``; reading audio imports ``torchaudio.sox_effects``, which torchaudio 2.9 dropped; stock checkpoints hold classes
that torch 2.6 no longer loads unasked; Python 3.11 refuses the defaults of ``infer.py``'s settings, and newer
hydra its path; the feature dumps insist on a GPU.
Here each finds what it looks for. ::

    softhubert fairseq-tool hubert/simple_kmeans/dump_mfcc_feature.py exp/data train 1 0 exp/mfcc
    softhubert fairseq-tool speech_recognition/new/infer.py --config-dir config/decode --config-name viterbi …
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import runpy
import sys
import types
from pathlib import Path
from typing import Any, Sequence

import hydra
import torch
import torchaudio

from softhubert_plugin.checkpoints.load import register_plugin
from softhubert_plugin.compat.safe_globals import accept_stock_checkpoints
from softhubert_plugin.errors import SoftHubertError


def run_tool(script: str, arguments: Sequence[str]) -> None:
    """Run a script of fairseq as if it had been started from the command line.

    Args:
        script: path below ``fairseq/examples``.

    Raises:
        SoftHubertError: fairseq ships no such script.
    """
    examples = importlib.import_module("fairseq.examples")
    folder = Path(str(examples.__file__)).parent
    path = folder / script
    if path.suffix != ".py" or not path.is_file():
        raise SoftHubertError(f"{script}: no such script in {folder}; give a path such as hubert/simple_kmeans/learn_kmeans.py")
    sys.modules["examples"] = examples
    if importlib.util.find_spec("torchaudio.sox_effects") is None:
        _stand_in_for_sox()
    if not torch.cuda.is_available():
        torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_args, **_kwargs: self  # type: ignore[method-assign,assignment]
    _accept_dataclasses_as_defaults()
    _accept_configuration_paths()
    accept_stock_checkpoints()
    register_plugin()
    _mark_as_imported(Path(str(importlib.import_module("fairseq").__file__)).parent)
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def _mark_as_imported(fairseq: Path) -> None:
    """``common.user_dir: softhubert_plugin`` is looked for beside fairseq, by a path that fairseq does not recognise as ours."""
    importer = importlib.import_module("fairseq.utils").import_user_module
    importer.memo = {*getattr(importer, "memo", ()), str(fairseq) + "/../softhubert_plugin"}


def _accept_dataclasses_as_defaults() -> None:
    """Python 3.11 takes a default for mutable where its class has no hash, as dataclasses have none; here they get one."""
    decorate = dataclasses.dataclass

    def dataclass(cls: Any = None, **settings: Any) -> Any:
        if cls is None:
            return lambda cls: dataclass(cls, **settings)
        for default in vars(cls).values():
            if dataclasses.is_dataclass(default) and type(default).__hash__ is None:
                type(default).__hash__ = object.__hash__  # type: ignore[method-assign]
        return decorate(cls, **settings)

    dataclasses.dataclass = dataclass


def _accept_configuration_paths() -> None:
    """hydra from 1.1 on takes where configurations are as a string only."""
    main = hydra.main

    def with_string(config_path: Any = None, **settings: Any) -> Any:
        return main(config_path=None if config_path is None else str(config_path), **settings)

    hydra.main = with_string


def _stand_in_for_sox() -> None:
    """fairseq imports it before it knows whether it needs it; for mono audio at the right rate it does not."""

    def apply_effects_tensor(*_args: Any, **_kwargs: Any) -> None:
        raise SoftHubertError("this torchaudio cannot resample or mix for fairseq; give audio with one channel at the rate asked for")

    module = types.ModuleType("torchaudio.sox_effects")
    module.apply_effects_tensor = apply_effects_tensor  # type: ignore[attr-defined]
    sys.modules[module.__name__] = torchaudio.sox_effects = module
