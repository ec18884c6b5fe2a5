"""A fine-tuned checkpoint with random weights, by default in the shape of HuBERT Base. It recognises nonsense at real cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

LETTERS = "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"
BASE: Dict[str, Any] = {
    "extractor_mode": "default",
    "conv_feature_layers": "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "final_dim": 256,
}
RECIPE: Dict[str, Any] = {  # of config/pretrain/soft_hubert_tiny.yaml
    "conv_feature_layers": "[(48,10,5)] + [(48,3,2)] + [(64,3,2)] + [(96,3,2)] + [(128,3,2)] + [(192,2,2)] * 2",
    "encoder_layers": 3,
    "encoder_embed_dim": 192,
    "encoder_ffn_embed_dim": 768,
    "encoder_attention_heads": 4,
    "conv_pos": 32,
    "final_dim": 64,
    "layer_norm_first": True,
}


def write_finetuned_checkpoint(path: Path, *, seed: int = 0, sharpness: float = 8.0, **encoder: Any) -> Path:
    """Write a ``hubert_ctc`` checkpoint as fine-tuning with our task does, and its ``dict.ltr.txt`` beside it.

    Args:
        sharpness: factor on the letter projection, so that frames of the random model differ as much as those of a trained one.
        encoder: settings of the encoder that differ from Base's.
    """
    import torch
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.models.hubert.hubert_asr import HubertCtcConfig
    from fairseq.tasks import setup_task
    from omegaconf import OmegaConf, open_dict

    from softhubert_plugin.checkpoints.load import register_plugin
    from softhubert_plugin.settings import SoftHubertConfig, SoftHubertPretrainingConfig

    register_plugin()
    task_cfg = OmegaConf.structured(SoftHubertPretrainingConfig())
    common = {"_name": "soft_hubert_pretraining", "data": str(path.parent), "label_dir": str(path.parent), "labels": ["ltr"]}
    task_cfg = OmegaConf.merge(task_cfg, {**common, "pad_audio": True, "single_target": True, "normalize": False})
    pretraining = OmegaConf.to_container(OmegaConf.merge(task_cfg, {"train_subset": "train", "seed": 1}), enum_to_str=True)
    finetuning = dict(pretraining, fine_tuning=True)
    pretraining["label_dir"] = "/gone"
    shape = {"_name": "soft_hubert", "label_rate": 50.0, **BASE, **encoder}
    encoder_cfg = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(SoftHubertConfig()), shape), enum_to_str=True)
    plain = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    pretrained = {**plain, "model": encoder_cfg, "task": pretraining}
    model_cfg = OmegaConf.merge(OmegaConf.structured(HubertCtcConfig()), {"_name": "hubert_ctc", "w2v_path": "gone", "normalize": False})
    with open_dict(model_cfg):
        model_cfg.w2v_args = pretrained
        model_cfg.data = str(path.parent)
    (path.parent / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in LETTERS))
    cfg = OmegaConf.create({**plain, "task": finetuning})
    task = setup_task(cfg.task)
    torch.manual_seed(seed)
    model = task.build_model(model_cfg, from_checkpoint=True)
    with torch.no_grad():
        model.w2v_encoder.proj.weight.mul_(sharpness)
    state = {
        "args": None,
        "cfg": {**plain, "task": finetuning, "model": OmegaConf.to_container(model_cfg, enum_to_str=True)},
        "model": model.state_dict(),
        "criterion": {},
        "optimizer_history": [
            {"criterion_name": "CtcCriterion", "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}
        ],
        "task_state": task.state_dict(),
        "extra_state": {"epoch": 1},
    }
    torch.save(state, path)
    return path
