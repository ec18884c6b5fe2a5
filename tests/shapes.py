"""Checkpoints with random weights in the shapes that other toolkits support: Base, Large and DistilHuBERT, small and full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import torch

from softhubert_plugin.checkpoints.contents import (
    PRETRAINING_HEAD,
    assemble,
    defaults,
    finetuned_checkpoint,
    whole_configuration,
    write_checkpoint,
)
from softhubert_plugin.checkpoints.load import register_plugin

TINY: Dict[str, Any] = {
    "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "final_dim": 24,
}
TINY_HUBERT = {**TINY, "label_rate": 100.0, "dropout": 0.0, "attention_dropout": 0.0, "mask_prob": 0.5, "mask_length": 4}
SMALL = {
    "conv_feature_layers": "[(24,10,5)] + [(24,3,2)] * 4 + [(24,2,2)] * 2",
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "final_dim": 16,
}
LARGE = {"extractor_mode": "layer_norm", "layer_norm_first": True, "normalize": True}
FULL_LARGE = {**LARGE, "encoder_layers": 24, "encoder_embed_dim": 1024, "encoder_ffn_embed_dim": 4096, "encoder_attention_heads": 16}
SHAPES: Dict[str, Dict[str, Any]] = {
    "Base, small": SMALL,
    "Large, small": {**SMALL, **LARGE},
    "Large with biased convolutions, small": {**SMALL, **LARGE, "conv_bias": True},
    "equal widths, small": {**SMALL, "encoder_embed_dim": 24},
    "DistilHuBERT, small": {**SMALL, "encoder_layers": 2, "predicted_layers": [1, 3], "teacher_embed_dim": 40},
    "DistilHuBERT as published, small": {**SMALL, "encoder_layers": 2, "predicted_layers": [1, 3], "feature_layer_norm": False},
}
FULL: Dict[str, Dict[str, Any]] = {
    "DistilHuBERT": {"encoder_layers": 2, "predicted_layers": [4, 8, 12]},
    "Base": {"encoder_layers": 12},
    "Large": FULL_LARGE,
}
LETTERS = "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"
CODEWORDS = 20


def save_pretrained(path: Path, shape: Dict[str, Any], *, seed: int = 0, labels: str = "gmm") -> Path:
    """Save a ``soft_hubert`` checkpoint, or a ``distil_hubert`` one if the shape has ``predicted_layers``.

    Norms and biases are random too. A ``soft_hubert`` has ``CODEWORDS`` codewords.
    """
    from fairseq import tasks
    from omegaconf import OmegaConf

    from softhubert_plugin.settings import DistilHubertConfig, SoftHubertConfig, SoftHubertPretrainingConfig

    register_plugin()
    distilled = "predicted_layers" in shape
    kind, name = (DistilHubertConfig(), "distil_hubert") if distilled else (SoftHubertConfig(), "soft_hubert")
    labels_of = [] if distilled else [labels]
    task_cfg = {"_name": "soft_hubert_pretraining", "data": "/gone", "labels": labels_of, "label_rate": 50.0}
    cfg = whole_configuration(
        model=defaults(kind, {"_name": name, **shape}),
        task=defaults(SoftHubertPretrainingConfig(), {**task_cfg, "normalize": shape.get("normalize", False)}),
    )
    task = tasks.setup_task(OmegaConf.create(cfg).task)
    task.load_state_dict({"codewords": None if distilled else [CODEWORDS]})
    torch.manual_seed(seed)
    model = task.build_model(OmegaConf.create(cfg).model, from_checkpoint=True)
    unsettle(model)
    write_checkpoint(path, assemble(cfg, model.state_dict(), task.state_dict(), updates=7))
    return path


def save_finetuned(path: Path, shape: Dict[str, Any], *, seed: int = 0) -> Path:
    """Save a ``hubert_ctc`` checkpoint whose targets are letters."""
    from softhubert_plugin.checkpoints.load import read_checkpoint

    state = read_checkpoint(save_pretrained(path, {**shape, "final_dim": 0}, seed=seed))
    encoder = {name: tensor for name, tensor in state["model"].items() if not name.startswith(PRETRAINING_HEAD)}
    width = len(encoder["mask_emb"])
    projection = {"weight": torch.randn(4 + len(LETTERS), width), "bias": torch.randn(4 + len(LETTERS))}
    settings = {name: value for name, value in state["cfg"]["model"].items() if not name.startswith("_")}
    write_checkpoint(path, finetuned_checkpoint(settings, encoder, projection, list(LETTERS), normalize=shape.get("normalize", False)))
    return path


def unsettle(model: torch.nn.Module) -> None:
    """Make norms and biases random, which start as ones and zeros, so that no comparison succeeds by luck."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def save_stock(path: Path, model: Dict[str, Any], *, clusters: int, label_rate: float = 100.0) -> Path:
    """Save random weights as fairseq's trainer saves its own HuBERT, with ``Dictionary`` objects inside.

    Args:
        model: settings of the model that differ from fairseq's defaults.
        clusters: number of clusters in the dictionary.
        label_rate: label frames per second.
    """
    from fairseq.data import Dictionary
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    dictionary = Dictionary()
    for cluster in range(clusters):
        dictionary.add_symbol(str(cluster))
    model_cfg = OmegaConf.merge(OmegaConf.structured(HubertConfig()), {"_name": "hubert", "label_rate": label_rate, **model})
    task = {"_name": "hubert_pretraining", "data": "/gone", "labels": ["km"], "label_rate": label_rate}
    task_cfg = OmegaConf.merge(OmegaConf.structured(HubertPretrainingConfig()), task)
    torch.manual_seed(0)
    hubert = HubertModel(model_cfg, task_cfg, [dictionary])
    cfg: Any = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    cfg.update(model=OmegaConf.to_container(model_cfg, enum_to_str=True), task=OmegaConf.to_container(task_cfg, enum_to_str=True))
    torch.save(assemble(cfg, hubert.state_dict(), {"dictionaries": [dictionary]}, updates=1), path)
    return path
