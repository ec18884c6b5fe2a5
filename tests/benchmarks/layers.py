"""All layers in one pass, compared with fairseq's ``dump_hubert_feature.py``, which needs one run per layer. HuBERT Base, random weights.

    python -m tests.benchmarks.layers [--seconds 60] [--every-layer]

Reads LibriSpeech from SOFTHUBERT_SPEECH. The cost of fairseq's script grows by the same amount with every layer. So by default only layers
1 and 12 are run, and the ten between are interpolated. ``--every-layer`` runs all twelve. Starting a process takes seconds, whatever the
audio. That time is measured on one short utterance and subtracted, which favours fairseq. ``--seconds 600 --every-layer`` is the full
benchmark.
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

from tests.shapes import save_stock

LAYERS = 12


def write_manifests(speech: Path, folder: Path, seconds: float) -> float:
    """Write ``train.tsv`` of this many seconds of LibriSpeech and ``one.tsv`` of its shortest utterance. Return the actual seconds."""
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
    """Run a Python module. Return its seconds and its peak memory in MiB."""
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
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of LibriSpeech (default: %(default)s)")
    parser.add_argument("--every-layer", action="store_true", help="run fairseq's script for all twelve layers")
    arguments = parser.parse_args()
    speech = Path(os.environ.get("SOFTHUBERT_SPEECH", "../shared/speech")).resolve()
    if not (speech / "LibriSpeech").is_dir():
        raise SystemExit(f"no LibriSpeech in {speech}; set SOFTHUBERT_SPEECH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logging.getLogger("fairseq").setLevel(logging.WARNING)
        save_stock(folder / "base.pt", {"final_dim": 256}, clusters=1, label_rate=50.0)
        seconds = write_manifests(speech, folder, arguments.seconds)

        def ours(layers: str, split: str = "train") -> Tuple[float, float]:
            command = ("softhubert_plugin", "features", "hubert", folder, split, folder / "base.pt", layers, 1, 0)
            return timed(*command, folder / f"ours-{split}-{layers}", "--device", "cpu")

        def stock(layer: int, split: str = "train") -> Tuple[float, float]:
            script = ("softhubert_plugin", "fairseq-tool", "hubert/simple_kmeans/dump_hubert_feature.py")
            return timed(*script, folder, split, folder / "base.pt", layer, 1, 0, folder / f"stock-{split}-{layer}")

        print(f"HuBERT Base, {seconds:.0f} s of LibriSpeech, {torch.get_num_threads()} threads", flush=True)
        start_ours, start_stock = ours("1", "one")[0], stock(1, "one")[0]
        print(f"  starting a process: ours {start_ours:.1f} s, fairseq's script {start_stock:.1f} s; subtracted below", flush=True)
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
