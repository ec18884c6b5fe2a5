"""Soft labels from and to other forms: dense posteriors in ``.npy`` with ``.len`` beside, and fairseq's hard ``.km``.

A dense file is what other clusterers give (``(frames, components)``, utterance after utterance, as fairseq's feature shards lie); it is
read through a memory map and written row by row, never held.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Iterator, List

import numpy as np
from npy_append_array import NpyAppendArray

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path, sha256_of, write_text
from softhubert_plugin.labels.frames import FrameTargets
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.layout import ENTROPY_BINS, SoftLabelInfo, StoredTargets, check_truncation, quantised
from softhubert_plugin.labels.soft import SoftLabels
from softhubert_plugin.labels.writing import write_soft_labels
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary

KINDS = (".gmm", ".npy", ".km")


def convert_labels(
    source: PathLike,
    dest: PathLike,
    *,
    label_rate: float | None = None,
    manifest: PathLike | None = None,
    mass: float = 0.999,
    max_components: int = 16,
) -> str:
    """Convert labels; the endings of the two paths say from what to what, one of them being ``.gmm``.

    Args:
        label_rate: frames a second, which ``.npy`` and ``.km`` do not tell.
        manifest: the split's ``.tsv``, to bind new soft labels to it.
        mass, max_components: how much of a dense posterior is kept.

    Raises:
        SoftHubertError: the kinds do not fit, or the source is damaged or is no distribution.
    """
    source, dest = Path(source), Path(dest)
    kinds = (source.suffix, dest.suffix)
    if kinds in ((".gmm", ".npy"), (".gmm", ".km")):
        labels = SoftLabels(source)
        return _to_dense(labels, dest) if dest.suffix == ".npy" else _to_hard(labels, dest)
    if kinds not in ((".npy", ".gmm"), (".km", ".gmm")):
        raise SoftHubertError(f"{source} to {dest}: one of the two must end in .gmm, the other in .npy or .km")
    if label_rate is None or not label_rate > 0:
        raise SoftHubertError(f"{source}: such labels do not say their rate; give --label-rate (MFCC: 100, HuBERT: 50)")
    fingerprint = "" if manifest is None else read_manifest(manifest).fingerprint
    gathered = _Gathered(dest.stem, label_rate, fingerprint)
    if source.suffix == ".km":
        hard = HardLabels(source, source.parent / "dict.km.txt")
        stream = _from_hard(hard, gathered)
        # The labels are named by the clustering's dictionary, as the task names hard labels.
        gathered.source, gathered.n_components, gathered.mass, gathered.max_components = hard.source, hard.n_components, 1.0, 1
    else:
        stream = _from_dense(source, gathered, mass, max_components)
        gathered.source, gathered.mass, gathered.max_components = _dense_source(source), mass, max_components
    write_soft_labels(dest, stream, gathered.info)
    return f"{dest}: {gathered.frames} frames of {gathered.n_components} components, mean perplexity {gathered.info().perplexity:.3f}"


class _Gathered:
    """The description of labels that pass by."""

    def __init__(self, split: str, label_rate: float, manifest_sha256: str) -> None:
        self.split, self.label_rate, self.manifest_sha256 = split, label_rate, manifest_sha256
        self.source, self.n_components, self.mass, self.max_components = "", 0, 1.0, 1
        self.frames = 0
        self.sums = np.zeros(4)
        self.histogram = np.zeros(ENTROPY_BINS, dtype=np.int64)

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Entropies of an utterance's frames before and after truncation, in nats."""
        self.frames += len(after)
        self.sums += [before.sum(), np.exp(before).sum(), after.sum(), np.exp(after).sum()]
        bins = after * ENTROPY_BINS / math.log(max(self.n_components, 2))
        self.histogram += np.bincount(np.clip(bins.astype(int), 0, ENTROPY_BINS - 1), minlength=ENTROPY_BINS)

    def info(self) -> SoftLabelInfo:
        means = self.sums / max(self.frames, 1)
        return SoftLabelInfo(
            n_components=self.n_components,
            label_rate=float(self.label_rate),
            split=self.split,
            mass=self.mass,
            max_components=self.max_components,
            temperature=1.0,
            mixture_sha256=self.source,
            manifest_sha256=self.manifest_sha256,
            frames=self.frames,
            entropy_before=float(means[0]),
            perplexity_before=float(means[1]),
            entropy=float(means[2]),
            perplexity=float(means[3]),
            entropy_histogram=self.histogram.tolist(),
        )


def _from_hard(labels: HardLabels, gathered: _Gathered) -> Iterator[StoredTargets]:
    for index in range(len(labels)):
        targets = labels.utterance(index)
        gathered.add(np.zeros(len(targets)), np.zeros(len(targets)))
        yield quantised(targets)


def _from_dense(path: Path, gathered: _Gathered, mass: float, max_components: int) -> Iterator[StoredTargets]:
    check_truncation(mass, max_components)
    dense, lengths = _open_dense(path)
    gathered.n_components = dense.shape[1]
    first = 0
    for number, length in enumerate(lengths):
        rows = np.asarray(dense[first : first + length], dtype=np.float64)
        first += length
        totals = rows.sum(-1, keepdims=True)
        if not np.isfinite(rows).all() or (rows < 0).any() or not np.allclose(totals, 1, atol=0.01):
            raise SoftHubertError(f"{path}: utterance {number} is no distribution (negative, NaN, or not summing to 1); write it again")
        rows = rows / totals
        order = np.argsort(-rows, axis=-1, kind="stable")[:, :max_components]
        values = np.take_along_axis(rows, order, axis=-1)
        keep = (np.cumsum(values, -1) - values < mass) & (values > 0)
        values = np.where(keep, values, 0)
        values /= values.sum(-1, keepdims=True)
        gathered.add(_entropy(rows), _entropy(values))
        yield quantised(FrameTargets(keep.sum(-1), order[keep], values[keep].astype(np.float32)))


def _entropy(rows: np.ndarray) -> np.ndarray:
    return -(rows * np.log(np.where(rows > 0, rows, 1))).sum(-1)


def _open_dense(path: Path) -> tuple[np.ndarray, List[int]]:
    lengths_path = path.with_suffix(".len")
    try:
        dense = np.load(path, mmap_mode="r", allow_pickle=False)
        lengths = [int(line) for line in lengths_path.read_text().split()]
    except FileNotFoundError as error:
        raise SoftHubertError(
            f"{error.filename}: no such file; dense labels are a .npy with a .len (frames of each utterance) beside"
        ) from None
    except (ValueError, EOFError) as error:
        raise SoftHubertError(f"{path}: not a NumPy array, or {lengths_path.name} not numbers ({error}); write them again") from None
    if dense.ndim != 2 or not 0 < dense.shape[1] <= 65_536 or sum(lengths) != len(dense) or min(lengths, default=0) < 1:
        raise SoftHubertError(
            f"{path}: shape {dense.shape}, but {lengths_path} counts {sum(lengths)} frames; expected (frames, components)"
        )
    return dense, lengths


def _dense_source(path: Path) -> str:
    """Dense labels do not say what made them: the components are named by their number alone, alike for all splits."""
    dense, _ = _open_dense(path)
    return hashlib.sha256(f"dense {dense.shape[1]}".encode()).hexdigest()


def _to_dense(labels: SoftLabels, dest: Path) -> str:
    with atomic_path(dest) as temporary:
        temporary.unlink()  # NpyAppendArray would append to it
        with NpyAppendArray(str(temporary)) as stream:
            for index in range(len(labels)):
                targets = labels.utterance(index)
                dense = np.zeros((len(targets), labels.n_components), dtype=np.float32)
                dense[targets.frame_of_entry, targets.components] = targets.probabilities
                stream.append(dense)
    write_text(dest.with_suffix(".len"), "".join(f"{length}\n" for length in labels.lengths))
    return f"{dest}: ({labels.info.frames}, {labels.n_components}) float32"


def _to_hard(labels: SoftLabels, dest: Path) -> str:
    with atomic_path(dest) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for index in range(len(labels)):
            targets = labels.utterance(index)
            components, probabilities = targets.padded(len(targets), int(targets.counts.max()))
            best = components[np.arange(len(targets)), probabilities.argmax(-1)]
            stream.write(" ".join(map(str, best.tolist())) + "\n")
    write_cluster_dictionary(dest.parent, "km", labels.n_components)
    return f"{dest}: the most probable of {labels.n_components} components; {sha256_of(dest)[:12]}"
