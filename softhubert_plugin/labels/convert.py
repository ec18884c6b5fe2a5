"""Convert soft labels from and to other forms: dense posteriors in ``.npy`` with ``.len``, and fairseq's hard ``.km``.

A dense file is what other clusterers give: ``(frames, components)``, utterance after utterance, like fairseq's feature shards. It is read
through a memory map and written utterance by utterance, and never held in memory as a whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Iterator, Optional, Tuple

import numpy as np
from npy_append_array import NpyAppendArray

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.array_files import open_rows
from softhubert_plugin.files import PathLike, atomic_path, sha256_of, write_text
from softhubert_plugin.labels.cluster_dictionary import ClusterDictionary
from softhubert_plugin.labels.entropy_statistics import EntropyStatistics
from softhubert_plugin.labels.frame_labels import RATE_UNKNOWN
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.soft import SoftLabels, open_soft_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, StoredTargets, check_clusters, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.truncation import DEPTH, Largest, check_truncation, truncate
from softhubert_plugin.manifests import read_manifest


def convert_labels(
    source: PathLike,
    dest: PathLike,
    *,
    label_rate: Optional[float] = None,
    manifest: Optional[PathLike] = None,
    mass: float = 0.999,
    max_components: int = 16,
) -> str:
    """Convert labels. The suffixes of the two paths name the forms, and one of them must be ``.gmm``.

    Args:
        label_rate: frames per second, which ``.npy`` and ``.km`` do not record.
        manifest: the split's ``.tsv``; new soft labels record its fingerprint.
        mass, max_components: how much of a dense posterior is kept: the probability mass, and the maximum number of components per frame.

    Returns:
        A line on what was written.

    Raises:
        SoftHubertError: the two forms do not fit, the label rate is missing, or the source is damaged or is not a distribution.
    """
    source, dest = Path(source), Path(dest)
    kinds = (source.suffix, dest.suffix)
    if kinds == (".gmm", ".npy"):
        return _to_dense(open_soft_labels(source), dest)
    if kinds == (".gmm", ".km"):
        return _to_hard(open_soft_labels(source), dest)
    if kinds not in ((".npy", ".gmm"), (".km", ".gmm")):
        raise SoftHubertError(f"{source} to {dest}: one of the two must end in .gmm, the other in .npy or .km")
    if label_rate is None or not label_rate > 0:
        raise SoftHubertError(f"{source}: {RATE_UNKNOWN}")
    fingerprint = "" if manifest is None else read_manifest(manifest).fingerprint
    if source.suffix == ".km":
        hard = HardLabels(source, source.parent / "dict.km.txt")
        # The clustering's dictionary identifies these labels, as it identifies hard labels in the task.
        check_clusters(hard.n_components, source)
        n_components, identity, mass, max_components = hard.n_components, hard.source, 1.0, 1
        statistics = EntropyStatistics(n_components)
        stream = _from_hard(hard, statistics)
    else:
        check_truncation(mass, max_components)
        dense, lengths = _open_dense(source)
        n_components = dense.shape[1]
        # Dense labels do not record what made them. Only the number of components identifies them, so that all splits agree.
        identity = hashlib.sha256(f"dense {n_components}".encode()).hexdigest()
        statistics = EntropyStatistics(n_components)
        stream = _from_dense(source, dense, lengths, mass, max_components, statistics)

    def info() -> SoftLabelInfo:
        return SoftLabelInfo(
            n_components=n_components,
            label_rate=float(label_rate or 0),
            split=dest.stem,
            mass=mass,
            max_components=max_components,
            temperature=1.0,
            mixture_sha256=identity,
            manifest_sha256=fingerprint,
            frames=statistics.frames,
            **statistics.summary(),
        )

    write_soft_labels(dest, stream, info)
    return f"{dest}: {statistics.frames} frames of {n_components} components, mean perplexity {info().perplexity:.3f}"


def _from_hard(labels: HardLabels, statistics: EntropyStatistics) -> Iterator[StoredTargets]:
    for index in range(len(labels)):
        targets = labels.utterance(index)
        certain = np.zeros(len(targets))
        statistics.add(certain, certain)
        yield quantised(targets)


def _from_dense(
    path: Path, dense: np.ndarray, lengths: np.ndarray, mass: float, max_components: int, statistics: EntropyStatistics
) -> Iterator[StoredTargets]:
    first = 0
    for number, length in enumerate(lengths):
        rows = np.asarray(dense[first : first + length], dtype=np.float64)
        first += length
        totals = rows.sum(-1, keepdims=True)
        if not np.isfinite(rows).all() or (rows < 0).any() or not np.allclose(totals, 1, atol=0.01):
            raise SoftHubertError(f"{path}: utterance {number} is not a distribution (negative, NaN, or not summing to 1); write it again")
        largest = _largest(rows / totals, max_components)
        targets, entropy = truncate(largest, mass=mass)
        statistics.add(largest.entropy.numpy(), entropy.numpy())
        yield quantised(targets)


def _largest(posteriors: np.ndarray, count: int) -> Largest:
    """The ``count`` most probable components of ``(frames, K)`` posteriors; among equal ones the lower number comes first."""
    import torch

    order = np.argsort(-posteriors, axis=-1, kind="stable")[:, :count]
    values = torch.from_numpy(np.take_along_axis(posteriors, order, axis=-1))
    return Largest(
        components=torch.from_numpy(order),
        depths=(values[:, :1] / values).log().clamp(max=DEPTH).float(),
        total=(1 / values[:, 0]).float(),
        entropy=torch.special.entr(torch.from_numpy(posteriors)).sum(-1),
    )


def _open_dense(path: Path) -> Tuple[np.ndarray, np.ndarray]:
    """Memory-map dense posteriors ``(frames, K)``, and read the number of frames of each utterance."""
    dense, lengths = open_rows(path, what="dense label file", remedy="write both files again")
    check_clusters(dense.shape[1], path)
    return dense, lengths


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
    dictionary = ClusterDictionary(dest.parent, recorded=labels.n_components)
    with atomic_path(dest) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for index in range(len(labels)):
            stream.write(" ".join(map(str, labels.entries(index).most_probable().tolist())) + "\n")
    dictionary.write({labels.n_components - 1})
    return f"{dest}: the most probable of {labels.n_components} components per frame; SHA-256 {sha256_of(dest)[:12]}"
