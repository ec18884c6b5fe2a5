"""Label files: bytes and loss by encoding, random access against fairseq's ``.km``, and opening a large file.

    python -m tests.benchmarks.labels [--posteriors FEATURES.npy MIXTURE.safetensors] [--frames 10000000]

KL is that of the stored labels from the dense posteriors, KL(stored‖dense), in nats a frame: the other way round it is infinite as soon as
one component is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Tuple

import numpy as np

from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.layout import SoftLabelInfo, StoredTargets
from softhubert_plugin.labels.soft import SoftLabels, write_soft_labels
from softhubert_plugin.manifests import write_cluster_dictionary

K, UTTERANCE, ENTRIES = 500, 600, 4
INFO = SoftLabelInfo(K, 50.0, "train", 0.999, 16, 1.0, "m" * 64, "", 0, 4.0, 4.0, 1.2, 1.2, [0] * 60)


def encodings(features: str, mixture: str) -> None:
    """Bytes a frame and divergence by mass, maximum count and bits of a probability."""
    import torch

    from softhubert_plugin.gmm.mixture import GaussianMixture

    frames = torch.from_numpy(np.array(np.load(features, mmap_mode="r")[:15_000]))
    dense = GaussianMixture.load(mixture).predict_proba(frames).double().numpy()
    entropy = -(dense * np.log(np.where(dense > 0, dense, 1))).sum(1)
    falling = -np.sort(-dense, axis=1)[:, :64]
    mass_before = np.cumsum(falling, axis=1) - falling
    print(f"{len(dense)} frames, {dense.shape[1]} components, mean perplexity {np.exp(entropy).mean():.2f}")
    print("  mass   most  bits   entries  bytes a frame     KL")
    for mass, most in ((0.9, 8), (0.99, 8), (0.99, 16), (0.999, 16), (0.999, 32), (0.9999, 64)):
        for bits in (8, 16):
            keep = (mass_before < mass) & (np.arange(64) < most)
            kept = np.where(keep, falling, 0)
            unit = 2**bits - 1
            stored = np.where(keep, np.maximum(np.rint(kept / kept.sum(1, keepdims=True) * unit), 1), 0)
            stored /= stored.sum(1, keepdims=True)
            loss = np.where(keep, stored * np.log(np.where(keep, stored, 1) / np.where(keep, falling, 1)), 0).sum(1).mean()
            entries = keep.sum(1).mean()
            print(f"  {mass:<6} {most:4d}  {bits:4d}  {entries:8.2f}  {1 + entries * (2 + bits / 8):13.1f}  {loss:9.2e}")


def _stream(frames: int) -> Iterator[StoredTargets]:
    rng = np.random.default_rng(0)
    for start in range(0, frames, UTTERANCE):
        count = min(UTTERANCE, frames - start)
        components = (rng.integers(0, K, (count, 1)) + np.arange(ENTRIES)).reshape(-1) % K
        yield np.full(count, ENTRIES, np.uint8), components.astype(np.uint16), np.full(count * ENTRIES, 16_384, np.uint16)


def _best(work: Callable[[], Any], rounds: int = 5) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def access(frames: int, folder: Path) -> None:
    """Opening, and the labels of random utterances, against fairseq's offsets, seek and parse."""
    from fairseq.data import Dictionary
    from fairseq.data.audio.hubert_dataset import load_label_offset

    soft = folder / "train.gmm"
    started = time.perf_counter()
    write_soft_labels(soft, _stream(frames), replace(INFO, frames=frames))
    taken, size = time.perf_counter() - started, soft.stat().st_size
    print(f"{frames} frames of {ENTRIES} entries: written in {taken:.1f} s, {size / frames:.2f} bytes a frame")
    hard = folder / "train.km"
    with open(hard, "w", encoding="utf-8") as stream:
        for _, components, _ in _stream(frames):
            stream.write(" ".join(map(str, components[::ENTRIES].tolist())) + "\n")
    write_cluster_dictionary(folder, "km", K)
    count = -(-frames // UTTERANCE)
    dictionary = Dictionary()
    for cluster in range(K):
        dictionary.add_symbol(str(cluster))
    offsets = load_label_offset(str(hard), list(range(count)), count)
    labels, km = SoftLabels(soft), HardLabels(hard, folder / "dict.km.txt")
    chosen = np.random.default_rng(1).integers(0, count, 300)

    def stock() -> None:
        for index in chosen:  # as fairseq's HubertDataset.get_label with store_labels=False, and its label processor
            with open(hard, encoding="utf-8") as stream:
                stream.seek(offsets[index][0])
                text = stream.read(offsets[index][1] - offsets[index][0])
            dictionary.encode_line(text, append_eos=False, add_if_not_exist=False)

    opening = _best(lambda: SoftLabels(soft)), _best(lambda: load_label_offset(str(hard), list(range(count)), count), 2)
    print(f"  opening           ours {1e3 * opening[0]:8.2f} ms   stock .km {1e3 * opening[1]:8.1f} ms")
    seconds = _best(stock)
    for name, one in (("soft", labels), ("hard", km)):
        ours = _best(lambda one=one: [one.utterance(int(index)) for index in chosen])
        times = f"ours {1e6 * ours / 300:8.1f} µs   stock .km {1e6 * seconds / 300:8.1f} µs"
        print(f"  an utterance, {name} {times}   ratio {seconds / ours:.1f} ×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posteriors", nargs=2, metavar=("FEATURES.npy", "MIXTURE"), help="measure encodings on these")
    parser.add_argument("--frames", type=int, default=10_000_000)
    a = parser.parse_args()
    posteriors: Optional[Tuple[str, str]] = a.posteriors
    if posteriors:
        encodings(*posteriors)
    with tempfile.TemporaryDirectory() as folder:
        access(a.frames, Path(folder))


if __name__ == "__main__":
    main()
