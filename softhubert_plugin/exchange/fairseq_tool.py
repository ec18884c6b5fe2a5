"""Runs fairseq's own scripts from an installed fairseq, with today's torch and torchaudio.

The scripts were written to be started in fairseq's repository, and fail elsewhere for these reasons, which this module removes:

* ``infer.py`` imports from ``examples``, which in a wheel is ``fairseq.examples``.
* Reading audio imports ``torchaudio.sox_effects``, which torchaudio 2.9 dropped.
* Stock checkpoints hold classes that torch 2.6 no longer loads by default.
* Python 3.11 refuses the defaults of ``infer.py``'s settings, and newer hydra refuses its configuration path.
* The feature dumps insist on a GPU.
* scikit-learn turns half-precision features into double precision to cluster them, at four times their memory.

Examples::

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
from typing import Any, Callable, Sequence

import hydra
import numpy as np
import torch
import torchaudio

from softhubert_plugin.checkpoints.load import register_plugin
from softhubert_plugin.compat.safe_globals import accept_stock_checkpoints
from softhubert_plugin.errors import SoftHubertError


def run_tool(script: str, arguments: Sequence[str]) -> None:
    """Run a script of fairseq as if it had been started from the command line.

    Args:
        script: its path below ``fairseq/examples``.
        arguments: its command-line arguments.

    Raises:
        SoftHubertError: fairseq has no such script.
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
    if path.name == "learn_kmeans.py":
        _cluster_half_precision_in_single()
    _accept_dataclasses_as_defaults()
    _accept_configuration_paths()
    accept_stock_checkpoints()
    register_plugin()
    _mark_as_imported(Path(str(importlib.import_module("fairseq").__file__)).parent)
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def _cluster_half_precision_in_single() -> None:
    """Give k-means half-precision features in single precision."""
    from sklearn.cluster import MiniBatchKMeans

    def in_single(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(model: Any, features: np.ndarray, *arguments: Any, **settings: Any) -> Any:
            return method(model, features.astype(np.float32) if features.dtype == np.float16 else features, *arguments, **settings)

        return call

    MiniBatchKMeans.fit, MiniBatchKMeans.score = in_single(MiniBatchKMeans.fit), in_single(MiniBatchKMeans.score)


def _mark_as_imported(fairseq: Path) -> None:
    """Mark the plugin as imported: fairseq looks for ``common.user_dir: softhubert_plugin`` by a path that it does not know as ours."""
    importer = importlib.import_module("fairseq.utils").import_user_module
    importer.memo = {*getattr(importer, "memo", ()), str(fairseq) + "/../softhubert_plugin"}


def _accept_dataclasses_as_defaults() -> None:
    """Give dataclasses a hash: Python 3.11 refuses a default whose class has none, because it takes it for mutable."""
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
    """Turn the configuration path into a string, which hydra 1.1 and later require."""
    main = hydra.main

    def with_string(config_path: Any = None, **settings: Any) -> Any:
        return main(config_path=None if config_path is None else str(config_path), **settings)

    hydra.main = with_string


def _stand_in_for_sox() -> None:
    """Provide ``torchaudio.sox_effects``: fairseq always imports it, but does not need it for mono audio at the right rate."""

    def apply_effects_tensor(*_args: Any, **_kwargs: Any) -> None:
        raise SoftHubertError("this torchaudio cannot resample or mix for fairseq; give audio with one channel at the required rate")

    module = types.ModuleType("torchaudio.sox_effects")
    module.apply_effects_tensor = apply_effects_tensor  # type: ignore[attr-defined]
    sys.modules[module.__name__] = torchaudio.sox_effects = module
