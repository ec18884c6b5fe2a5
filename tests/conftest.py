"""Fixtures shared by the tests: a tiny corpus of noise with transcripts, and the real speech where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import soundfile

from softhubert_plugin.manifests import write_letter_dictionary, write_manifest, write_transcripts

TINY_HUBERT: Dict[str, Any] = {
    "label_rate": 100.0,
    "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "final_dim": 24,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "mask_prob": 0.5,
    "mask_length": 4,
}
TEXTS = ("ONE TWO", "THREE", "FOUR FIVE SIX", "SEVEN")


@pytest.fixture()
def corpus(tmp_path: Path) -> Path:
    """A folder with ``train.tsv`` and ``valid.tsv`` of four utterances each, of 0.5 to 1.4 seconds."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        entries = []
        for number in range(len(TEXTS)):
            samples = 8_000 + 4_800 * number + 37 * number
            name = f"audio/{split}-{number}.flac"
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(samples), 16_000)
            entries.append((name, samples))
        write_manifest(tmp_path / f"{split}.tsv", tmp_path, entries)
        write_transcripts(tmp_path, split, TEXTS)
    write_letter_dictionary(tmp_path, TEXTS)
    return tmp_path


@pytest.fixture(scope="session")
def stock_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as fairseq's trainer saves its own HuBERT: two layers of 32, 20 clusters, ``Dictionary`` objects inside."""
    import torch
    from fairseq.data import Dictionary
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    dictionary = Dictionary()
    for cluster in range(20):
        dictionary.add_symbol(str(cluster))
    model_cfg = OmegaConf.merge(OmegaConf.structured(HubertConfig()), {"_name": "hubert", **TINY_HUBERT})
    task_cfg = OmegaConf.merge(
        OmegaConf.structured(HubertPretrainingConfig()), {"_name": "hubert_pretraining", "data": "/gone", "labels": ["km"]}
    )
    torch.manual_seed(0)
    model = HubertModel(model_cfg, task_cfg, [dictionary])
    cfg = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    cfg.update(model=OmegaConf.to_container(model_cfg, enum_to_str=True), task=OmegaConf.to_container(task_cfg, enum_to_str=True))
    path = tmp_path_factory.mktemp("stock") / "checkpoint_last.pt"
    state = {
        "args": None,
        "cfg": cfg,
        "model": model.state_dict(),
        "criterion": {},
        "optimizer_history": [
            {"criterion_name": "HubertCriterion", "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}
        ],
        "task_state": {"dictionaries": [dictionary]},
        "extra_state": {"epoch": 1},
    }
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SOFTHUBERT_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}; set SOFTHUBERT_SPEECH")
    return folder
