"""Batches a second of cropped LibriSpeech FLAC with two workers, soft labels against fairseq's dataset on hard ones.

    python -m tests.benchmarks.dataset DATA_DIR SOFT_LABEL_DIR HARD_LABEL_DIR [--crop 80000]

The folders hold ``train.tsv``, ``train.gmm``, and ``train.km`` with ``dict.km.txt``. Ours draws the masks too, which fairseq leaves to the
training thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, List

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.audio.hubert_dataset import HubertDataset
from fairseq.tasks.hubert_pretraining import LabelEncoder

from softhubert_plugin.data.soft_hubert_dataset import SoftHubertDataset
from softhubert_plugin.labels import open_labels
from softhubert_plugin.manifests import read_manifest

BATCH = 8


def _stock(data: Path, labels: Path, rate: float, crop: int) -> HubertDataset:
    dictionary = Dictionary.load(str(labels / "dict.km.txt"))
    return HubertDataset(
        str(data / "train.tsv"),
        sample_rate=16_000,
        label_paths=[str(labels / "train.km")],
        label_rates=[rate],
        pad_list=[dictionary.pad()],
        eos_list=[dictionary.eos()],
        label_processors=[LabelEncoder(dictionary)],
        max_sample_size=crop,
        random_crop=True,
        store_labels=False,
    )


def _ours(data: Path, labels: Path, label: str, rate: float, crop: int) -> SoftHubertDataset:
    return SoftHubertDataset(
        read_manifest(data / "train.tsv"),
        [open_labels(labels, "train", label)],
        label_rates=[rate],
        frame_rate=50.0,
        label_pooling="mean",
        sample_rate=16_000,
        max_sample_size=crop,
    )


def _seconds(dataset: Any, batches: List[List[int]]) -> float:
    best = float("inf")
    for _ in range(3):
        loader = torch.utils.data.DataLoader(dataset, batch_sampler=batches, collate_fn=dataset.collater, num_workers=2)
        started = time.perf_counter()
        for _batch in loader:
            pass
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("soft", type=Path)
    parser.add_argument("hard", type=Path)
    parser.add_argument("--crop", type=int, default=80_000, help="samples")
    parser.add_argument("--label-rate", type=float, default=100.0)
    a = parser.parse_args()
    stock = _stock(a.data, a.hard, a.label_rate, a.crop)
    order = np.random.default_rng(0).permutation(len(stock)).tolist()
    batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    base = _seconds(stock, batches)
    print(f"{len(order)} utterances cropped to {a.crop / 16_000:g} s, 2 workers")
    print(f"  stock, hard labels  {len(order) / base:7.1f} utterances/s")
    for name, folder, label in (("ours, hard labels", a.hard, "km"), ("ours, soft labels", a.soft, "gmm")):
        seconds = _seconds(_ours(a.data, folder, label, a.label_rate, a.crop), batches)
        print(f"  {name:<19} {len(order) / seconds:7.1f} utterances/s   ratio {base / seconds:.2f} ×")


if __name__ == "__main__":
    main()
