"""Runs stock fairseq without this plugin: ``without_plugin.py dump ARGUMENT…``, ``train ARGUMENT…`` or ``infer CKPT FOLDER``.

fairseq's scripts also need a GPU and torchaudio's older sox interface. Both are replaced, because they do not concern checkpoints. fairseq
itself loads the checkpoints, with the default ``weights_only`` of the installed torch.
"""

from __future__ import annotations

import runpy
import sys
import types
from pathlib import Path
from typing import Any, Dict, List

sys.modules["softhubert_plugin"] = None  # type: ignore[assignment]  # any import of it fails from here on

import fairseq  # noqa: E402
import torch  # noqa: E402
import torchaudio  # noqa: E402


def dump(arguments: List[str]) -> None:
    """Run fairseq's ``dump_hubert_feature.py``."""
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_: self  # type: ignore[method-assign,assignment]
    sox: Any = types.ModuleType("torchaudio.sox_effects")
    sox.apply_effects_tensor = None
    sys.modules[sox.__name__] = torchaudio.sox_effects = sox
    script = Path(fairseq.__file__).parent / "examples" / "hubert" / "simple_kmeans" / "dump_hubert_feature.py"
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


def train(arguments: List[str]) -> None:
    """Run ``fairseq-hydra-train``."""
    from fairseq_cli.hydra_train import cli_main

    sys.argv = ["fairseq-hydra-train", *arguments]
    cli_main()


def infer(checkpoint: str, folder: str) -> None:
    """Write the scores of ``source.pt`` and ``padding_mask.pt`` to ``scores.pt``, with the model that fairseq loads."""
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    models, _, task = load_model_ensemble_and_task([checkpoint])
    batch: Dict[str, Any] = {name: torch.load(f"{folder}/{name}.pt") for name in ("source", "padding_mask")}
    with torch.inference_mode():
        scores = models[0].eval()(**batch)["encoder_out"].transpose(0, 1)
    torch.save({"scores": scores.clone(), "symbols": list(task.target_dictionary.symbols)}, f"{folder}/scores.pt")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "infer":
        infer(*rest)
    else:
        {"dump": dump, "train": train}[what](rest)
