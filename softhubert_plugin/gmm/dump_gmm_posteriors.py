"""Turn frames into labels: sparse tempered posteriors, or their argmax as fairseq's ``.km``.

This step stands between the mixture and pretraining. Each feature shard gives one label shard;
:func:`~softhubert_plugin.labels.merge.merge_labels` joins the label shards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple, Union

import numpy as np
from tqdm import tqdm

from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.layers import parse_layer
from softhubert_plugin.features.shards import shard_path
from softhubert_plugin.features.threads import worked
from softhubert_plugin.files import PathLike, atomic_path, sha256_of
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.kmeans_file import is_kmeans_file, read_kmeans
from softhubert_plugin.gmm.largest import largest, largest_of
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import Smoother, frame_by_frame, joined, utterance_joints
from softhubert_plugin.gmm.sources import Block, FrameStream, from_audio, from_mfcc, from_shard
from softhubert_plugin.gmm.start import mixture_from_centroids
from softhubert_plugin.gmm.training_data import check_same_features
from softhubert_plugin.gmm.uncertainty import WARN_BELOW_PERPLEXITY
from softhubert_plugin.gmm.viterbi import PathFinder
from softhubert_plugin.labels.entropy_statistics import EntropyStatistics
from softhubert_plugin.labels.hard_record import write_record
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, StoredTargets, check_clusters, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.truncation import Largest, check_truncation, truncate

# Frames whose log densities are held at once: few enough to fit into caches, and enough to make the cost of calls, and of handing over the
# interpreter's lock between them, small in comparison (with a quarter of the frames, labelling MFCCs takes 1.5 times as long).
LABELLED_AT_ONCE = 4096


def dump_gmm_posteriors(
    feat_dir: PathLike,
    split: str,
    gmm_path: PathLike,
    nshard: int,
    rank: int,
    lab_dir: PathLike,
    *,
    mass: float = 0.999,
    max_components: int = 16,
    temperature: Optional[float] = None,
    label_rate: Optional[float] = None,
    hard: bool = False,
    viterbi: bool = False,
    frame_wise: bool = False,
    audio: Optional[str] = None,
    checkpoint: Optional[PathLike] = None,
    layer: Union[int, str, None] = None,
    device: Optional[str] = None,
) -> str:
    """Label one shard of frames: write ``LAB_DIR/{split}_{rank}_{nshard}.gmm`` (or ``.km`` with ``hard``).

    Args:
        feat_dir: folder of feature shards; with ``audio`` or ``checkpoint``, folder of manifests.
        gmm_path: the mixture; with ``hard``, a k-means model of fairseq's ``learn_kmeans.py`` too.
        nshard, rank: the number of shards, and the shard to label, from 0.
        mass, max_components: how much of each posterior is kept: the probability mass, and the maximum number of components per frame.
        temperature: replaces the mixture's calibrated temperature.
        label_rate: frames per second, for features that do not record their rate (those of fairseq's scripts).
        hard: write each frame's most probable component instead of its posterior.
        viterbi: with ``hard``: write the components of the most probable path; the mixture must have transitions.
        frame_wise: take frames one by one even where the mixture has transitions, at the temperature that was calibrated for that.
        audio: ``mfcc``: label MFCCs, computed from the audio, without features on disk.
        checkpoint, layer: label the hidden states of this layer of this model, computed from the audio, without features on disk;
            ``@layers.json`` is the layer that probing chose.
        device: where to compute; by default a GPU if there is one.

    Returns:
        A report of one or more lines.

    Raises:
        SoftHubertError: features and mixture do not fit, the label rate is unknown, or an option is out of range.
    """
    device = usable_device(device)
    mixture = _read_clusters(gmm_path, hard)
    if viterbi and (not hard or frame_wise or mixture.transitions is None):
        why = "it goes with --hard" if not hard else f"{gmm_path} has no transitions" if mixture.transitions is None else "not --frame-wise"
        raise SoftHubertError(f"--viterbi: {why}; a path needs a mixture of 'softhubert gmm learn --markov', and --hard to write it")
    used_frame_wise = frame_wise and mixture.transitions is not None
    if used_frame_wise:
        mixture = frame_by_frame(mixture)
    if temperature is not None:
        mixture = mixture.with_temperature(temperature)
    if (checkpoint is None) != (layer is None):
        raise SoftHubertError("--checkpoint and --layer go together: labels of a layer straight from audio need both")
    if audio not in (None, "mfcc") or (audio and checkpoint is not None):
        raise SoftHubertError(f"--audio {audio}: expected mfcc, or --checkpoint and --layer instead for hidden states")
    if checkpoint is not None and layer is not None:
        source = from_audio(feat_dir, split, rank, nshard, checkpoint, parse_layer(str(layer)), device)
    elif audio:
        source = from_mfcc(feat_dir, split, rank, nshard)
    else:
        source = from_shard(feat_dir, split, rank, nshard)
    _check_features(mixture, source, gmm_path)
    if hard:
        made_with = sha256_of(gmm_path) + (" frame-wise" if used_frame_wise else " viterbi" if viterbi else "")
        return _dump_hard(Engine(mixture, device), source, shard_path(lab_dir, split, rank, nshard, ".km"), made_with, viterbi)
    check_clusters(mixture.n_components, gmm_path)
    check_truncation(mass, max_components)
    rate = source.info.get("frame_rate", label_rate)
    if rate is None:
        raise SoftHubertError(f"{source.path}: these features do not record their frame rate; give --label-rate (MFCC: 100, HuBERT: 50)")
    if label_rate is not None and label_rate != rate:
        raise SoftHubertError(f"{source.path}: features at {rate:g} Hz, but --label-rate is {label_rate:g}; leave the option out")
    path = shard_path(lab_dir, split, rank, nshard, ".gmm")
    mixture_sha256 = sha256_of(gmm_path)
    wanted: Dict[str, Any] = {
        "label_rate": float(rate),
        "mass": mass,
        "max_components": max_components,
        "temperature": mixture.temperature,
        "mixture_sha256": mixture_sha256,
        "manifest_sha256": source.info.get("manifest_sha256", ""),
        "frames": int(source.lengths.sum()),
        "frame_wise": used_frame_wise,
    }
    if _is_complete(path, wanted, source):
        return f"{path}: already there"
    statistics = EntropyStatistics(mixture.n_components)
    blocks = _progress(source, "posteriors")
    if mixture.transitions is not None:
        blocks = joined(blocks, mixture.n_components)
    targets = _soft_targets(Engine(mixture, device), blocks, mass, max_components, statistics)

    def info() -> SoftLabelInfo:
        return SoftLabelInfo(split=split, n_components=mixture.n_components, **wanted, **statistics.summary())

    write_soft_labels(path, targets, info)
    written = open_soft_labels(path)
    before, after = written.info.perplexity_before, written.info.perplexity
    report = [
        f"{path}: {len(written)} utterances, {written.info.frames} frames at {rate:g} Hz, {written.bytes_per_frame:.1f} bytes per frame",
        f"mean perplexity {before:.3f} before truncation, {after:.3f} as stored (temperature {mixture.temperature:.3f})",
    ]
    if after < WARN_BELOW_PERPLEXITY:
        report.append(
            f"warning: perplexity under {WARN_BELOW_PERPLEXITY}: these labels are almost hard; give a higher --temperature, "
            "or fit the mixture with --perplexity"
        )
    return "\n".join(report)


def _read_clusters(path: PathLike, hard: bool) -> GaussianMixture:
    """The mixture in a file. A k-means model serves for hard labels: the argmax of its equal components is the nearest centroid.

    Raises:
        SoftHubertError: the file is neither, or is a k-means model and soft labels are asked for.
    """
    if not is_kmeans_file(path):
        return GaussianMixture.load(path)
    if not hard:
        raise SoftHubertError(
            f"{path}: a k-means model, which has no posteriors; give --hard, or make a mixture of it with 'softhubert gmm from-kmeans'"
        )
    return mixture_from_centroids(read_kmeans(path), 1.0)


def _check_features(mixture: GaussianMixture, source: FrameStream, gmm_path: PathLike) -> None:
    """Check that the features are of the kind that the mixture was fitted on, as far as both record it.

    Raises:
        SoftHubertError: they are not.
    """
    if source.dimension != mixture.input_dimension:
        raise SoftHubertError(
            f"{source.path}: features of dimension {source.dimension}, but {gmm_path} was fitted on dimension "
            f"{mixture.input_dimension}; dump the features that the mixture was fitted on"
        )
    check_same_features(mixture.metadata.get("features", {}), source.info, source.path, gmm_path, "dump those features")


def _is_complete(path: Path, wanted: Dict[str, Any], source: FrameStream) -> bool:
    """Whether the labels of these frames were already written, with all the ``wanted`` fields in their description."""
    try:
        labels = open_soft_labels(path)
    except SoftHubertError:
        return False
    # Features that do not say what they are (fairseq's own) may have been dumped again from another model.
    older = not source.info and path.stat().st_mtime_ns < source.path.stat().st_mtime_ns
    described = all(getattr(labels.info, name) == value for name, value in wanted.items())
    return described and not older and np.array_equal(labels.lengths, source.lengths)


def _progress(source: FrameStream, what: str) -> Iterator[Block]:
    with tqdm(total=len(source.lengths), desc=f"{what} {source.path.stem}", unit="utt", disable=None) as progress:
        for rows, lengths in source.blocks():
            yield rows, lengths
            progress.update(len(lengths))


def _soft_targets(
    engine: Engine, blocks: Iterable[Block], mass: float, max_components: int, statistics: EntropyStatistics
) -> Iterator[StoredTargets]:
    """Yield the targets of each utterance in their stored form, and add their entropies to ``statistics``."""
    temperature = engine.mixture.temperature
    smoother = None if engine.mixture.transitions is None else Smoother(engine)

    def most_probable(rows: np.ndarray, lengths: np.ndarray) -> Iterator[Largest]:
        if smoother is None:
            for part in engine.parts(rows, LABELLED_AT_ONCE):
                yield largest(engine.log_joint(part), temperature, max_components)
        else:
            for posteriors in smoother(rows, lengths):
                yield largest_of(posteriors, max_components)

    def labelled(block: Block) -> Tuple[np.ndarray, ...]:
        rows, lengths = block
        parts = []
        for found in most_probable(rows, lengths):
            targets, entropy = truncate(found, mass=mass)
            parts.append((*quantised(targets), found.entropy.numpy(), entropy.numpy()))
        return (lengths, *(np.concatenate(arrays) for arrays in zip(*parts)))

    for lengths, counts, components, probabilities, entropy_before, entropy_after in worked(labelled, blocks, engine.device):
        statistics.add(entropy_before, entropy_after)
        frame_ends = np.cumsum(lengths)[:-1]
        entry_ends = np.cumsum(counts, dtype=np.int64)[frame_ends - 1]
        yield from zip(np.split(counts, frame_ends), np.split(components, entry_ends), np.split(probabilities, entry_ends))


def _dump_hard(engine: Engine, source: FrameStream, path: Path, made_with: str, viterbi: bool) -> str:
    """Write each frame's most probable component, or that of the best path, one line per utterance, and the record of the shard."""
    names = [str(component) for component in range(engine.mixture.n_components)]
    choose = _chooser(engine, viterbi)

    def labelled(block: Block) -> str:
        rows, lengths = block
        best = np.concatenate(list(choose(rows, lengths))).tolist()
        ends = np.cumsum(lengths).tolist()
        return "".join(" ".join([names[component] for component in best[start:end]]) + "\n" for start, end in zip([0, *ends], ends))

    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii") as stream:
        stream.writelines(worked(labelled, _progress(source, "argmax"), engine.device))
    write_record(
        path,
        clusters=engine.mixture.n_components,
        utterances=len(source.lengths),
        source_sha256=made_with,
        manifest_sha256=source.info.get("manifest_sha256", ""),
        label_rate=source.info.get("frame_rate"),
    )
    what = f"{len(source.lengths)} utterances, {source.lengths.sum()} frames"
    which = "its component on the best path" if viterbi else "the most probable"
    return f"{path}: {what}, each labelled with {which} of {engine.mixture.n_components} components"


def _chooser(engine: Engine, viterbi: bool) -> Callable[[np.ndarray, np.ndarray], Iterator[np.ndarray]]:
    """What chooses the components of the frames of some utterances, ``(n,)``, part by part."""
    if viterbi:
        path = PathFinder(engine.mixture)
        return lambda rows, lengths: (path(joint) for joint in utterance_joints(engine, rows, lengths))
    if engine.mixture.transitions is not None:
        smoother = Smoother(engine)
        return lambda rows, lengths: (posteriors.argmax(1) for posteriors in smoother(rows, lengths))
    return lambda rows, lengths: (engine.log_joint(part).argmax(1).cpu().numpy() for part in engine.parts(rows, LABELLED_AT_ONCE))
