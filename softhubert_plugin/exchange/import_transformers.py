"""``softhubert import transformers``: turns a HuBERT saved by transformers into one of our checkpoints."""

from __future__ import annotations

from pathlib import Path

from softhubert_plugin.checkpoints.contents import write_checkpoint
from softhubert_plugin.checkpoints.transformers import WEIGHTS, read_transformers, weights_file
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, check_destination


def import_transformers(folder: PathLike, checkpoint: PathLike) -> str:
    """Write a checkpoint that works as ``model.init_from``, as teacher, as ``model.w2v_path`` and for features.

    Returns:
        A line that says what was written.

    Raises:
        SoftHubertError: the folder holds no HuBERT, or one that fairseq cannot express.
    """
    if not Path(folder).is_dir():
        raise SoftHubertError(
            f"{folder}: no such folder; give one with config.json and {WEIGHTS}, written by transformers' save_pretrained"
        )
    state = read_transformers(folder)
    check_destination(checkpoint, weights_file(folder))
    write_checkpoint(checkpoint, state)
    kind = "hubert_ctc" if state["cfg"]["model"]["_name"] == "hubert_ctc" else "encoder"
    normalize = str(bool(state["cfg"]["task"]["normalize"])).lower()
    return f"{checkpoint}: {kind}, {len(state['model'])} tensors; task.normalize={normalize}"
