"""Loading cropped LibriSpeech FLAC with two workers: utterances per second of our dataset and of fairseq's. Also opens large manifests.

    python -m tests.benchmarks.dataset DATA_DIR SOFT_LABEL_DIR HARD_LABEL_DIR [--crop 80000]
    python -m tests.benchmarks.dataset --entries 300000

The folders hold ``train.tsv``, ``train.gmm``, and ``train.km`` with ``dict.km.txt``. Our dataset also draws the masks, which fairseq does
in the training thread. ``--entries N`` opens a manifest of N files with their labels, as training does at its start. It also shows how much
data a spawned data-loading worker would receive.
"""

from __future__ import annotations

import argparse
import itertools
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.audio.hubert_dataset import HubertDataset
from fairseq.tasks.hubert_pretraining import LabelEncoder

from softhubert_plugin.data.soft_hubert_dataset import SoftHubertDataset
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.soft_layout import PROBABILITY_UNIT, SoftLabelInfo
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary
from tests.benchmarks.measure import Work, compare, measured

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


def prepare_opening(ours: bool, folder: Path) -> Work:
    """Prepare opening a manifest and its labels as a dataset and ordering the first epoch."""

    def work() -> Dict[str, Any]:
        dataset: Any = _ours(folder, folder, "gmm", 50.0, 250_000) if ours else _stock(folder, folder, 50.0, 250_000)
        order = dataset.ordered_indices()
        return {"utterances": len(order), "pickled": len(pickle.dumps(dataset))}

    return work


def opening(entries: int) -> None:
    """Compare time and memory of opening: our dataset with soft labels, and fairseq's with hard ones, ten frames per utterance in both."""
    frames = 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"{n % 1000}/{n}/{n % 1000}-{n}-{n % 97:04d}.flac\t{frames * 320 + 80}" for n in range(entries)]
        (folder / "train.tsv").write_text("\n".join([str(folder), *lines]) + "\n", encoding="utf-8")
        (folder / "train.km").write_text("7 8 9 1 2 3 4 5 6 0\n" * entries, encoding="utf-8")
        write_cluster_dictionary(folder, "km", 10)
        ones = np.ones(frames, np.uint8), np.arange(frames, dtype=np.uint16), np.full(frames, PROBABILITY_UNIT, np.uint16)
        info = SoftLabelInfo(10, 50.0, "train", 1.0, 1, 1.0, "m" * 64, "", frames * entries, 1.0, 1.0, 0.0, 0.0, [])
        write_soft_labels(folder / "train.gmm", itertools.repeat(ones, entries), info)
        stock, ours = (measured(prepare_opening, which, folder, rounds=2) for which in (False, True))
        compare(f"opening {entries} utterances with their labels", stock, ours)
        for title, one in (("stock", stock), ("ours", ours)):
            print(f"  {title:<6} {one.result['utterances']} utterances, {one.result['pickled'] / 1e6:.2f} MB to a spawned worker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of train.tsv")
    parser.add_argument("soft", type=Path, nargs="?", help="folder of train.gmm")
    parser.add_argument("hard", type=Path, nargs="?", help="folder of train.km and dict.km.txt")
    parser.add_argument("--entries", type=int, help="open a manifest of this many files instead")
    parser.add_argument("--crop", type=int, default=80_000, help="length of a crop in samples (default: %(default)s)")
    parser.add_argument("--label-rate", type=float, default=100.0, help="label frames per second (default: %(default)s)")
    a = parser.parse_args()
    if a.entries:
        opening(a.entries)
        return
    if a.hard is None:
        parser.error("give three folders, or --entries")
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
