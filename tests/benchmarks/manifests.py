"""Seconds and memory of each step from a manifest to an open dataset, for corpora of many utterances.

    python -m tests.benchmarks.manifests [--utterances 100000 300000] [--seconds 1.0]

Each step runs in its own process, as its command would. The audio does not exist, because only costs that grow with the number of
utterances are measured. Memory does not include what a process holds after its imports. It includes mapped files that were read.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np

from softhubert_plugin.data.soft_hubert_dataset import SoftHubertDataset
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, StoredTargets
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.verify import verify_file, verify_labels
from softhubert_plugin.manifests import read_manifest, write_manifest
from tests.benchmarks.measure import Work, measured

SHARDS, RATE, ENTRIES, COMPONENTS = 4, 100, 4, 100
INFO = SoftLabelInfo(COMPONENTS, float(RATE), "train", 0.999, 16, 1.0, "m" * 64, "", 0, 4.0, 4.0, 1.2, 1.2, [0] * 60)


def _entries(utterances: int, seconds: float) -> Iterator[Tuple[str, int]]:
    rng = np.random.default_rng(0)
    for number, samples in enumerate((16_000 * seconds * rng.uniform(0.5, 1.5, utterances)).astype(int).tolist()):
        yield f"speaker-{number % 1000:04d}/chapter-{number % 77:02d}/{number:08d}.flac", samples


def _frames(samples: np.ndarray) -> np.ndarray:
    return samples * RATE // 16_000


def _targets(frames: List[int]) -> Iterator[StoredTargets]:
    rng = np.random.default_rng(1)
    for count in frames:
        components = (rng.integers(0, COMPONENTS, (count, 1)) + np.arange(ENTRIES)).reshape(-1) % COMPONENTS
        yield np.full(count, ENTRIES, np.uint8), components.astype(np.uint16), np.full(count * ENTRIES, 16_384, np.uint16)


def writing(folder: str, utterances: int, seconds: float) -> Work:
    """Prepare writing the manifest."""

    def work() -> Dict[str, Any]:
        write_manifest(Path(folder) / "train.tsv", folder, _entries(utterances, seconds))
        return {}

    return work


def reading(folder: str) -> Work:
    """Prepare reading and fingerprinting the manifest."""

    def work() -> Dict[str, Any]:
        return {"fingerprint": read_manifest(Path(folder) / "train.tsv").fingerprint}

    return work


def labelling(folder: str) -> Work:
    """Prepare writing labels, shard by shard, as ``gmm dump`` does after computing them."""

    def work() -> Dict[str, Any]:
        manifest = read_manifest(Path(folder) / "train.tsv")
        frames = _frames(manifest.sizes)
        for rank, part in enumerate(np.array_split(frames, SHARDS)):
            info = replace(INFO, frames=int(part.sum()), manifest_sha256=manifest.fingerprint)
            write_soft_labels(Path(folder) / f"train_{rank}_{SHARDS}.gmm", _targets(part.tolist()), info)
        return {"frames": int(frames.sum())}

    return work


def merging(folder: str) -> Work:
    """Prepare merging the shards."""
    return lambda: {"said": merge_labels(folder, "train", SHARDS)}


def verifying(folder: str) -> Work:
    """Prepare verifying every label."""
    return lambda: {"said": verify_file(Path(folder) / "train.gmm", Path(folder) / "train.tsv")}


def opening(folder: str) -> Work:
    """Prepare what the task does at the start of training, except for reading the headers of the audio."""

    def work() -> Dict[str, Any]:
        manifest = read_manifest(Path(folder) / "train.tsv")
        labels = open_labels(folder, "train", "gmm")
        verify_labels(labels, manifest, RATE)
        options: Dict[str, Any] = {"label_rates": [RATE], "frame_rate": 50.0, "label_pooling": "mean", "sample_rate": 16_000}
        dataset = SoftHubertDataset(manifest, [labels], max_sample_size=250_000, min_keep_size=4_000, **options)
        batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens=1_400_000)
        return {"utterances": len(dataset), "batches": len(batches)}

    return work


STEPS: List[Tuple[str, Callable[..., Work]]] = [
    ("read and fingerprint the manifest", reading),
    (f"write label shards ({SHARDS})", labelling),
    ("merge them", merging),
    ("verify every label", verifying),
    ("open the dataset, order and batch it", opening),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, nargs="+", default=[100_000, 300_000], help="sizes of the corpora (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="mean length of an utterance in seconds (default: %(default)s)")
    a = parser.parse_args()
    for utterances in a.utterances:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{utterances} utterances of {a.seconds:g} s, {RATE} labels per second with {ENTRIES} entries each")
            _show("write the manifest", writing, folder, utterances, a.seconds)
            for name, prepare in STEPS:
                _show(name, prepare, folder)
            print(f"  {(Path(folder) / 'train.gmm').stat().st_size / 1e6:.0f} MB of labels")


def _show(name: str, prepare: Callable[..., Work], *arguments: Any) -> None:
    found = measured(prepare, *arguments, rounds=1)
    print(f"  {name:<38} {found.seconds:8.2f} s   peak {found.peak:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
