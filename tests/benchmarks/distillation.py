"""A training step of DistilHuBERT, compared with its parts: the teacher's forward pass, and the student's step on given targets.

    python -m tests.benchmarks.distillation [--seconds 15.6] [--utterances 2] [--rounds 3]

Teacher and student have the published sizes (HuBERT Base; two layers, with heads for layers 4, 8 and 12) and random weights. A step is a
forward and backward pass in training mode. fairseq's own forward pass of the same teacher is measured too.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict

import torch

from tests.benchmarks.measure import Work, measured

LAYERS = [4, 8, 12]


def prepare(part: str, seconds: float, utterances: int) -> Work:
    """Prepare one part: ``teacher``, ``stock`` (fairseq's forward pass of the teacher), ``student`` or ``step``."""
    import tempfile
    from pathlib import Path

    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    from softhubert_plugin.checkpoints.load import register_plugin
    from softhubert_plugin.criterions.distil_hubert import DistilHubertCriterion
    from softhubert_plugin.models.distil_hubert import DistilHubertModel
    from softhubert_plugin.models.teacher import Teacher
    from softhubert_plugin.settings import DistilHubertConfig
    from tests.shapes import save_stock

    register_plugin()
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        save_stock(Path(folder) / "base.pt", {"final_dim": 256}, clusters=1, label_rate=50.0)
        teacher = Teacher(Path(folder) / "base.pt", LAYERS)
    torch.manual_seed(0)
    source = torch.randn(utterances, int(seconds * 16_000))
    if part == "teacher":
        return lambda: {"frames": teacher(source)[0].shape[1]}
    if part == "stock":

        def stock() -> Dict[str, Any]:
            with torch.no_grad():
                return {"frames": teacher.encoder.extract_features(source)[0].shape[1]}

        return stock
    recipe = {"label_rate": 50.0, "feature_grad_mult": 0.1, "activation_dropout": 0.1, "teacher_embed_dim": teacher.width}
    model = DistilHubertModel(OmegaConf.merge(OmegaConf.structured(DistilHubertConfig()), recipe), HubertPretrainingConfig())
    model.learn_from(teacher, normalize=False)
    model.train()
    if part == "student":
        targets = teacher(source)
        model.teacher = lambda *_: targets  # type: ignore[assignment]
    criterion = DistilHubertCriterion(None)
    batch = {
        "id": torch.arange(utterances),
        "net_input": {"source": source, "padding_mask": None},
        "frames": utterances * ((source.shape[1] - 400) // 320 + 1),
    }

    def work() -> Dict[str, Any]:
        model.zero_grad()
        loss, frames, _ = criterion(model, batch)
        loss.backward()
        return {"frames": frames}

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.6, help="length of each utterance in seconds (default: %(default)s)")
    parser.add_argument("--utterances", type=int, default=2, help="utterances per batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, after one that is not timed (default: %(default)s)")
    a = parser.parse_args()
    print(f"DistilHuBERT, {a.utterances} × {a.seconds:g} s, {os.cpu_count()} cores", flush=True)
    names = {
        "stock": "teacher, fairseq's forward",
        "teacher": "teacher, ours",
        "student": "student step, targets given",
        "step": "whole step",
    }
    found = {}
    for part, name in names.items():
        found[part] = measured(prepare, part, a.seconds, a.utterances, rounds=a.rounds)
        print(f"  {name:<28} {found[part].seconds:8.2f} s   peak {found[part].peak:6.0f} MiB", flush=True)
    bound = found["teacher"].seconds + 1.2 * found["student"].seconds
    print(f"  step over teacher + 1.2 × student step {found['step'].seconds / bound:6.2f} (the goal is at most 1)")
    print(f"  fairseq's forward over ours            {found['stock'].seconds / found['teacher'].seconds:6.2f} ×")


if __name__ == "__main__":
    main()
