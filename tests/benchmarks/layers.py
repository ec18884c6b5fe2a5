"""All layers in one pass against fairseq's ``dump_hubert_feature.py``, which needs a run a layer; HuBERT Base with random weights.

    python -m tests.benchmarks.layers [--seconds 60] [--every-layer]

Reads LibriSpeech from SOFTHUBERT_SPEECH. The cost of fairseq's script grows by the same amount with every layer, so that by default
layers 1 and 12 are run and the ten between are interpolated; ``--every-layer`` runs all twelve. Starting a process takes seconds
whatever the audio: it is measured on one short utterance and taken off, which favours fairseq. ``--seconds 600 --every-layer`` is the
whole thing.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, List, Tuple

import soundfile
import torch

LAYERS = 12


def make_base_checkpoint(path: Path) -> None:
    """HuBERT Base as fairseq's trainer would save it, with random weights."""
    from fairseq.data import Dictionary
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    logging.getLogger("fairseq").setLevel(logging.WARNING)
    dictionary = Dictionary()
    dictionary.add_symbol("0")
    model_cfg = OmegaConf.merge(OmegaConf.structured(HubertConfig()), {"_name": "hubert", "label_rate": 50.0, "final_dim": 256})
    task_cfg = OmegaConf.merge(
        OmegaConf.structured(HubertPretrainingConfig()),
        {"_name": "hubert_pretraining", "data": "/gone", "labels": ["km"], "label_rate": 50},
    )
    torch.manual_seed(0)
    model = HubertModel(model_cfg, task_cfg, [dictionary])
    cfg = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)
    assert isinstance(cfg, dict)
    cfg.update(model=OmegaConf.to_container(model_cfg, enum_to_str=True), task=OmegaConf.to_container(task_cfg, enum_to_str=True))
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


def write_manifests(speech: Path, folder: Path, seconds: float) -> float:
    """``train.tsv`` of so many seconds of LibriSpeech and ``one.tsv`` of its shortest utterance; returns the seconds."""
    rows: List[Tuple[int, Path]] = []
    for path in sorted((speech / "LibriSpeech").rglob("*.flac")):
        rows.append((soundfile.info(str(path)).frames, path))
        if sum(samples for samples, _ in rows) >= 16_000 * seconds:
            break
    for name, chosen in (("train", rows), ("one", [min(rows)])):
        lines = "".join(f"{path.relative_to(speech)}\t{samples}\n" for samples, path in chosen)
        (folder / f"{name}.tsv").write_text(f"{speech}\n{lines}")
    return sum(samples for samples, _ in rows) / 16_000


def timed(*command: Any) -> Tuple[float, float]:
    """Seconds and peak memory in MiB of a command."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([sys.executable, "-m", *map(str, command)], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            log.seek(0)
            raise SystemExit(f"failed: {' '.join(map(str, command))}\n{log.read()[-2000:]}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of LibriSpeech (default: %(default)s)")
    parser.add_argument("--every-layer", action="store_true", help="run fairseq's script for all twelve layers")
    arguments = parser.parse_args()
    speech = Path(os.environ.get("SOFTHUBERT_SPEECH", "../shared/speech")).resolve()
    if not (speech / "LibriSpeech").is_dir():
        raise SystemExit(f"no LibriSpeech in {speech}; set SOFTHUBERT_SPEECH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base_checkpoint(folder / "base.pt")
        seconds = write_manifests(speech, folder, arguments.seconds)

        def ours(layers: str, split: str = "train") -> Tuple[float, float]:
            command = ("softhubert_plugin", "features", "hubert", folder, split, folder / "base.pt", layers, 1, 0)
            return timed(*command, folder / f"ours-{split}-{layers}", "--device", "cpu")

        def stock(layer: int, split: str = "train") -> Tuple[float, float]:
            script = ("softhubert_plugin.interop.fairseq_tool", "hubert/simple_kmeans/dump_hubert_feature.py")
            return timed(*script, folder, split, folder / "base.pt", layer, 1, 0, folder / f"stock-{split}-{layer}")

        print(f"HuBERT Base, {seconds:.0f} s of LibriSpeech, {torch.get_num_threads()} threads", flush=True)
        start_ours, start_stock = ours("1", "one")[0], stock(1, "one")[0]
        print(f"  starting a process: ours {start_ours:.1f} s, fairseq's script {start_stock:.1f} s; taken off below", flush=True)
        whole, memory = ours("all")
        print(f"  ours, 12 layers      {whole - start_ours:8.1f} s   peak {memory:6.0f} MiB", flush=True)
        for layer in ("12", "9", "6"):
            one, memory = ours(layer)
            ratio = (whole - start_ours) / (one - start_ours)
            print(
                f"  ours, layer {layer:<2}       {one - start_ours:8.1f} s   peak {memory:6.0f} MiB   12 layers cost {ratio:.2f} ×",
                flush=True,
            )
        runs = {}
        for layer in range(1, LAYERS + 1) if arguments.every_layer else (1, LAYERS):
            taken, memory = stock(layer)
            runs[layer] = taken - start_stock
            print(f"  stock, layer {layer:<2}      {runs[layer]:8.1f} s   peak {memory:6.0f} MiB", flush=True)
        twelve = sum(runs.values()) if arguments.every_layer else LAYERS * (runs[1] + runs[LAYERS]) / 2
        how = "measured" if arguments.every_layer else "interpolated between layers 1 and 12"
        print(f"  stock, twelve runs   {twelve:8.1f} s   ({how})   ratio {twelve / (whole - start_ours):.1f} ×")


if __name__ == "__main__":
    main()
