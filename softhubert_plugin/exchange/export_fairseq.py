"""Writes one of our checkpoints in stock fairseq's terms, so that it loads where this plugin is not installed.

The result holds only plain types, so it also loads under torch ≥ 2.6, which refuses fairseq's own ``Dictionary`` objects. A pretrained
model becomes a ``hubert`` of the task ``hubert_pretraining``. A fine-tuned model becomes a ``hubert_ctc``, whose letters fairseq reads from
``dict.{label}.txt`` beside the checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.contents import CTC_PREFIX, assemble, defaults, whole_configuration, write_checkpoint
from softhubert_plugin.checkpoints.load import LoadedModel, load_checkpoint
from softhubert_plugin.checkpoints.transformers import SPECIAL_TOKENS
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.encoder import encoder_parameters, output_layer, pretraining_head, target_symbols
from softhubert_plugin.files import PathLike, check_destination, write_text
from softhubert_plugin.manifests import read_dictionary

STOCK_TASK = "hubert_pretraining"


def export_fairseq(checkpoint: PathLike, dest: PathLike) -> str:
    """Write ``DEST``, and for a fine-tuned model its dictionary beside it.

    Returns:
        A line that says what was written.

    Raises:
        SoftHubertError: the checkpoint is unusable, stock fairseq cannot express the model, ``DEST`` is the checkpoint or a folder, or
            its folder has another dictionary.
    """
    check_destination(dest, checkpoint)
    loaded = load_checkpoint(checkpoint)
    if not loaded.encoder_cfg.get("feature_layer_norm", True):
        raise SoftHubertError(
            f"{checkpoint}: does not norm its convolutional features, which stock fairseq cannot express; export it to transformers"
        )
    resolved = OmegaConf.to_container(loaded.cfg, resolve=True, enum_to_str=True)
    assert isinstance(resolved, dict)
    symbols = target_symbols(loaded)
    if symbols is None:
        write_checkpoint(dest, _pretrained(loaded, resolved))
        return f"{dest}: a checkpoint of fairseq's hubert"
    label = str(loaded.cfg.task.labels[0])
    dictionary = Path(dest).parent / f"dict.{label}.txt"
    plain = symbols[len(SPECIAL_TOKENS) :]
    if not dictionary.exists():
        write_text(dictionary, "".join(f"{symbol} 1\n" for symbol in plain))
    elif read_dictionary(dictionary) != plain:
        raise SoftHubertError(f"{dictionary}: already exists, with other symbols than the model's; choose another folder for {dest}")
    write_checkpoint(dest, _finetuned(loaded, resolved, str(Path(dest).parent.resolve()), label))
    return f"{dest}: a checkpoint of fairseq's hubert_ctc; if you move it, move {dictionary.name} too and give task.data and task.label_dir"


def _pretrained(loaded: LoadedModel, cfg: Dict[str, Any]) -> Dict[str, Any]:
    from fairseq.models.hubert.hubert import HubertConfig

    weights, head = encoder_parameters(loaded), pretraining_head(loaded)
    model = {**cfg["model"], "_name": "hubert"}
    sets: List[int] = []
    if head:
        sets = list(loaded.encoder.num_classes)
        if cfg["task"]["_name"] != STOCK_TASK:
            head["label_embs_concat"] = _with_special_symbols(head["label_embs_concat"], sets)
            sets = [count + len(SPECIAL_TOKENS) for count in sets]
    else:
        model.update(untie_final_proj=False, target_glu=False)
        head = _no_head(model)
    task = _task(cfg["task"], labels=cfg["task"]["labels"] if sets else [])
    state = {"dictionaries": [[*SPECIAL_TOKENS, *map(str, range(count - len(SPECIAL_TOKENS)))] for count in sets]}
    groups = whole_configuration(model=defaults(HubertConfig(), model), task=task)
    return assemble(groups, {**weights, **head}, state, updates=loaded.updates)


def _finetuned(loaded: LoadedModel, cfg: Dict[str, Any], folder: str, label: str) -> Dict[str, Any]:
    from fairseq.models.hubert.hubert import HubertConfig
    from fairseq.models.hubert.hubert_asr import HubertCtcConfig

    # Without label sets fairseq builds the encoder without looking for their dictionaries.
    encoder = {**cfg["model"]["w2v_args"]["model"], "_name": "hubert", "untie_final_proj": False, "target_glu": False}
    inside = {"model": defaults(HubertConfig(), encoder), "task": _task(cfg["model"]["w2v_args"]["task"], labels=[])}
    weights = {f"{CTC_PREFIX}{name}": tensor for name, tensor in encoder_parameters(loaded).items()}
    weights[f"{CTC_PREFIX}label_embs_concat"] = _no_head(encoder)["label_embs_concat"]
    weights.update(output_layer(loaded, "w2v_encoder.proj."))
    given = {name: value for name, value in cfg["model"].items() if name != "w2v_args"}
    model = defaults(HubertCtcConfig(), {**given, "w2v_path": "", "data": folder})
    model["w2v_args"] = whole_configuration(**inside)
    task = _task(cfg["task"], labels=[label], data=folder, label_dir=folder, fine_tuning=True)
    return assemble(whole_configuration(model=model, task=task), weights, {}, updates=loaded.updates)


def _task(task: Dict[str, Any], **changes: Any) -> Dict[str, Any]:
    """Our task's settings as those of fairseq's own task, which has fewer."""
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

    return defaults(HubertPretrainingConfig(), {**task, **changes, "_name": STOCK_TASK})


def _no_head(model: Dict[str, Any]) -> Dict[str, torch.Tensor]:
    """An unused prediction head: fairseq's model always has a projection and a table of codewords, which is empty without label sets."""
    width = model["encoder_embed_dim"]
    dimension = model["final_dim"] if model["final_dim"] > 0 else width
    return {
        "final_proj.weight": torch.zeros(dimension, width),
        "final_proj.bias": torch.zeros(dimension),
        "label_embs_concat": torch.zeros(0, dimension),
    }


def _with_special_symbols(codewords: torch.Tensor, sets: List[int]) -> torch.Tensor:
    """Put codewords for fairseq's special symbols, which its dictionaries always list, before the codewords of each label set.

    No label uses them. They point away from the mean of the others, so that they take as little of the softmax as possible.
    """
    parts = []
    for part in codewords.split(sets):
        away = -F.normalize(F.normalize(part, dim=-1).mean(0), dim=0) * part.norm(dim=-1).mean()
        parts.extend([away.expand(len(SPECIAL_TOKENS), -1), part])
    return torch.cat(parts)
