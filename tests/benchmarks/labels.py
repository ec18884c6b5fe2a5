"""Label files: bytes and divergence of each encoding, and opening and random access compared with fairseq's ``.km``.

    python -m tests.benchmarks.labels [access] [encodings] [bound] [packing] [--frames 10000000] [--work FOLDER]

``encodings`` computes the cost of unpacked files. ``packing`` writes packed files and also measures how fast they are read. ``bound``
estimates the fewest bytes that any coder of this kind could need. These three use the posteriors of 500 diagonal components at perplexity
4, on MFCCs of the speech in SOFTHUBERT_SPEECH (made once in two minutes, and kept in ``--work``).

Divergences are in nats per frame. KL(dense‖stored) is infinite as soon as one component is left out. So there the missing probability is
spread over the components that were left out: evenly, by how often they occur, or by how often they occur beside the most probable one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple

import numpy as np
import torch

from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, StoredTargets
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.manifests import write_cluster_dictionary

K, UTTERANCE, ENTRIES = 500, 600, 4
INFO = SoftLabelInfo(K, 50.0, "train", 0.999, 16, 1.0, "m" * 64, "", 0, 4.0, 4.0, 1.2, 1.2, [0] * 60)


def _posteriors(work: Path) -> Tuple[np.ndarray, np.ndarray, Path]:
    """Return posteriors ``(frames, 500)`` of held-out frames and of training frames, and the folder that they come from."""
    from softhubert_plugin.corpora.folder import write_folder_manifest
    from softhubert_plugin.features.mfcc import dump_mfcc
    from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
    from softhubert_plugin.gmm.mixture import GaussianMixture

    speech = Path(os.environ.get("SOFTHUBERT_SPEECH", "../shared/speech")) / "LibriSpeech"
    if not speech.is_dir():
        sys.exit(f"{speech}: no such folder; set SOFTHUBERT_SPEECH to a folder that holds LibriSpeech/")
    mixture = work / "gmm.safetensors"
    if not mixture.exists():
        write_folder_manifest(speech, work, extension="flac", valid_percent=0.05)
        for split in ("train", "valid"):
            dump_mfcc(work, split, 1, 0, work)
        learn_gmm(work, "train", 1, mixture, GmmOptions(n_components=K, perplexity=4.0, percent=0.1))
    fitted = GaussianMixture.load(mixture)

    def of(split: str, every: int) -> np.ndarray:
        frames = np.load(work / f"{split}_0_1.npy", mmap_mode="r")[::every]
        return fitted.predict_proba(torch.from_numpy(np.array(frames))).double().numpy()

    return of("valid", 1), of("train", 8), work


def encodings(dense: np.ndarray) -> None:
    """Print bytes per frame and divergence for each mass, maximum count and number of bits per probability."""
    entropy = -(dense * np.log(np.where(dense > 0, dense, 1))).sum(1)
    falling = -np.sort(-dense, axis=1)[:, :64]
    mass_before = np.cumsum(falling, axis=1) - falling
    print(f"{len(dense)} frames, {dense.shape[1]} components, mean perplexity {np.exp(entropy).mean():.2f}")
    print("  mass   most  bits   entries    bytes/frame  KL(stored‖dense)")
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


def bound(dense: np.ndarray, training: np.ndarray) -> None:
    """Print the bytes per frame that an ideal coder would need.

    That is the entropy of every component's step of √p, where the coder knows the component's rank: components are ranked by their joint
    posterior with the frame's most probable one, in the training frames. The second estimate also knows the component's own step in the
    frame before. Both are lower bounds: they use counts of the same frames that are coded, and do not include a table of these counts.
    """
    rows = np.arange(len(dense))
    together = np.zeros((K, K))
    np.add.at(together, training.argmax(1), training)
    together += 1e-3 * training.mean(0)
    ranks = np.argsort(np.argsort(-together, axis=1, kind="stable"), axis=1)
    best = dense.argmax(1)
    near = np.floor(2 * np.log2(ranks[best] + 1)).astype(int)
    print(f"{len(dense)} held-out frames: ideal bytes per frame, and KL(dense‖stored) by how the missing probability is spread")
    print("  step    entries   by rank   and the frame before   KL(stored‖dense)   evenly   by usage   beside the best")
    for step in (0.005, 0.0075, 0.009, 0.01, 0.02, 0.03, 0.04):
        steps = np.rint(np.sqrt(dense) / step).astype(int)
        steps[rows, best] = np.maximum(steps[rows, best], 1)
        keep = steps > 0
        before = np.minimum(np.vstack([np.zeros((1, K), int), steps[:-1]]), 60)
        ideal = [_conditional_entropy(steps, context) / 8 / len(dense) for context in (near, near * 61 + before)]
        stored = (steps * step) ** 2.0
        stored /= stored.sum(1, keepdims=True)
        missing = np.where(keep, 0, dense).sum(1).mean()
        divergences = []
        for weights in (np.ones((1, K)), training.mean(0)[None], together[best]):
            spread = np.where(keep, 0, weights)
            spread = missing * spread / np.maximum(spread.sum(1, keepdims=True), 1e-30)
            whole = np.where(keep, stored * (1 - missing), spread)
            divergences.append((dense * np.log(np.maximum(dense, 1e-30) / np.maximum(whole, 1e-30))).sum(1).mean())
        backwards = _kl(stored, dense)
        figures = "   ".join(f"{divergence:8.2e}" for divergence in divergences)
        print(f"  {step:<6} {keep.sum(1).mean():8.2f} {ideal[0]:9.2f} {ideal[1]:22.2f} {backwards:18.2e}   {figures}", flush=True)


def _conditional_entropy(symbols: np.ndarray, context: np.ndarray) -> float:
    """Return the bits of all symbols together, given their contexts."""
    width = int(symbols.max()) + 1
    counts = np.bincount((context * width + symbols).ravel())
    counts = np.pad(counts, (0, -len(counts) % width)).reshape(-1, width)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return float(-(counts * np.log2(np.where(counts > 0, shares, 1))).sum())


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(np.where(p > 0, p, 1) / np.maximum(q, 1e-30))).sum(1).mean())


def packing(dense: np.ndarray, work: Path) -> None:
    """Print size, divergence and reading time of files: as ``gmm dump`` writes them by default, with wider settings, and these packed."""
    from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
    from softhubert_plugin.labels.pack import pack_labels

    def report(name: str, path: Path) -> None:
        labels = open_soft_labels(path)
        everything = [labels.utterance(index) for index in range(len(labels))]
        stored = np.zeros(dense.shape)
        frame = np.repeat(np.arange(len(dense)), np.concatenate([targets.counts for targets in everything]))
        components, probabilities = (np.concatenate([getattr(t, part) for t in everything]) for part in ("components", "probabilities"))
        stored[frame, components] = probabilities
        missing = np.where(stored > 0, 0, dense).sum(1).mean()
        gap = stored == 0
        whole = np.where(gap, missing / np.maximum(gap.sum(1, keepdims=True), 1), stored * (1 - missing))
        seconds = _best(lambda: [labels.utterance(index) for index in range(len(labels))], 3)
        table = 2 * K * K if labels.info.step else 0
        size = (path.stat().st_size - table) / len(dense)
        divergences = f"KL(stored‖dense) {_kl(stored, dense):.2e}   KL(dense‖stored, spread evenly) {_kl(dense, whole):.2e}"
        print(
            f"  {name:<26} {size:7.2f} bytes per frame   {divergences}   read in {1e9 * seconds / len(dense):6.0f} ns per frame", flush=True
        )

    print(f"files of {len(dense)} frames (a packed file also holds a table of {2 * K * K / 1e6:.1f} MB, which is not counted here)")
    for mass, most in ((0.999, 16), (0.9999, 64)):
        with tempfile.TemporaryDirectory() as folder:
            dump_gmm_posteriors(work, "valid", work / "gmm.safetensors", 1, 0, folder, mass=mass, max_components=most)
            plain = Path(folder) / "valid_0_1.gmm"
            report(f"mass {mass}, at most {most}", plain)
            for step in (0.01, 0.02, 0.03, 0.04) if most == 64 else ():
                packed = Path(folder) / f"packed-{step}.gmm"
                pack_labels(plain, packed, step=step)
                report(f"  packed, step {step}", packed)


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
    """Compare opening a file and reading random utterances with fairseq's offsets, seek and parse."""
    from fairseq.data import Dictionary
    from fairseq.data.audio.hubert_dataset import load_label_offset

    soft = folder / "train.gmm"
    started = time.perf_counter()
    write_soft_labels(soft, _stream(frames), replace(INFO, frames=frames))
    taken, size = time.perf_counter() - started, soft.stat().st_size
    print(f"{frames} frames of {ENTRIES} entries: written in {taken:.1f} s, {size / frames:.2f} bytes per frame")
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
    labels, km = open_soft_labels(soft), HardLabels(hard, folder / "dict.km.txt")
    chosen = np.random.default_rng(1).integers(0, count, 300)

    def stock() -> None:
        for index in chosen:  # like fairseq's HubertDataset.get_label with store_labels=False, and its label processor
            with open(hard, encoding="utf-8") as stream:
                stream.seek(offsets[index][0])
                text = stream.read(offsets[index][1] - offsets[index][0])
            dictionary.encode_line(text, append_eos=False, add_if_not_exist=False)

    opening = _best(lambda: open_soft_labels(soft)), _best(lambda: load_label_offset(str(hard), list(range(count)), count), 2)
    print(f"  opening             ours {1e3 * opening[0]:8.2f} ms   stock .km {1e3 * opening[1]:8.1f} ms")
    seconds = _best(stock)
    for name, one in (("soft", labels), ("hard", km)):
        ours = _best(lambda one=one: [one.utterance(int(index)) for index in chosen])
        times = f"ours {1e6 * ours / 300:8.1f} µs   stock .km {1e6 * seconds / 300:8.1f} µs"
        print(f"  per utterance, {name} {times}   ratio {seconds / ours:.1f} ×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        nargs="*",
        choices=["access", "encodings", "bound", "packing", []],
        metavar="{access,encodings,bound,packing}",
        help="what to measure (default: access)",
    )
    parser.add_argument("--frames", type=int, default=10_000_000, help="size of the file for access, in frames (default: %(default)s)")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("/tmp/softhubert-benchmarks/labels"),
        help="folder for features and mixture (default: %(default)s)",
    )
    a = parser.parse_args()
    what = a.what or ["access"]
    if set(what) - {"access"}:
        dense, training, work = _posteriors(a.work)
        if "encodings" in what:
            encodings(dense)
        if "bound" in what:
            bound(dense, training)
        if "packing" in what:
            packing(dense, work)
    if "access" in what:
        with tempfile.TemporaryDirectory() as folder:
            access(a.frames, Path(folder))


if __name__ == "__main__":
    main()
