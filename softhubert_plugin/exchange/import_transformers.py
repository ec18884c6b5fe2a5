"""``softhubert import transformers``: a folder of transformers' HuBERT becomes a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path

from softhubert_plugin.checkpoints.contents import write_checkpoint
from softhubert_plugin.checkpoints.transformers import WEIGHTS, read_transformers
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike


def import_transformers(folder: PathLike, checkpoint: PathLike) -> str:
    """Write a checkpoint that serves as ``model.init_from``, teacher, ``model.w2v_path`` and for features.

    Returns:
        A sentence on what was done.

    Raises:
        SoftHubertError: the folder holds no HuBERT, or one that fairseq has no place for.
    """
    if not Path(folder).is_dir():
        raise SoftHubertError(
            f"{folder}: no such folder; give one with config.json and {WEIGHTS}, as transformers' save_pretrained writes it"
        )
    state = read_transformers(folder)
    write_checkpoint(checkpoint, state)
    kind = "hubert_ctc" if state["cfg"]["model"]["_name"] == "hubert_ctc" else "encoder"
    normalize = str(bool(state["cfg"]["task"]["normalize"])).lower()
    return f"{checkpoint}: {kind}, {len(state['model'])} tensors; task.normalize={normalize}"
