"""Linear probing: measure how much each layer's frames say about phones, on speakers unseen in training, and choose a layer.

It reads feature shards, or audio through a checkpoint, and phone alignments. It writes ``layers.json`` (the choice and the curve),
``layers.svg`` and ``confusion.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from tqdm import tqdm

from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.layers import FILE_NAME
from softhubert_plugin.files import PathLike, check_destination, write_json, write_text
from softhubert_plugin.probing.information import JointCounts
from softhubert_plugin.probing.layer_frames import (
    Drawn,
    LayerSource,
    draw_frames,
    frames_without_phone,
    labelled,
    probing_speakers,
)
from softhubert_plugin.probing.linear import LinearProbes, fit_path
from softhubert_plugin.probing.measures import ProbeScore
from softhubert_plugin.probing.opening import open_layers, open_mfcc
from softhubert_plugin.probing.sources import Sample
from softhubert_plugin.probing.table import probe_table
from softhubert_plugin.speakers import announce, speakers_of

L2 = (1e-1, 1e-2, 1e-3, 1e-4)
CLUSTERS = 100
MAX_FRAMES = 100_000
# The number of frames that the clusters for PNMI are fitted on: enough for 100 centres, at a cost of seconds per layer.
CLUSTER_FRAMES = 20_000
# Layers are probed together as long as their training frames fit into this many bytes.
TOGETHER_BYTES = 2 << 30


@dataclass(frozen=True)
class _Speech:
    """The alignments, the speaker of each utterance, and the utterances of each part (``train``, ``valid``, ``test``)."""

    alignments: Alignments
    speakers: List[str]
    parts: Dict[str, List[int]]


def probe_layers(
    feat_dir: PathLike,
    split: str,
    nshard: int,
    manifest_path: Optional[PathLike],
    alignments: PathLike,
    dest: PathLike,
    *,
    checkpoint: Optional[PathLike] = None,
    layers: str = "all",
    percent: Optional[float] = None,
    mfcc_dir: Optional[PathLike] = None,
    phone_set: Optional[str] = None,
    units_per_second: Optional[float] = None,
    partly: bool = False,
    speaker_from: Optional[str] = None,
    max_frames: int = MAX_FRAMES,
    clusters: int = CLUSTERS,
    choose_by: str = "accuracy",
    seed: int = 0,
    device: Optional[str] = None,
) -> str:
    """Probe every layer of a feature dump and choose one.

    Args:
        feat_dir: folder with a ``layer{N}`` folder of shards for each layer; with ``checkpoint``, folder of manifests.
        split: the split.
        nshard: the number of shards; with ``checkpoint``, 1.
        manifest_path: manifest of the shards; with ``checkpoint``, ``None`` for that of the split.
        alignments, phone_set, units_per_second, partly: as :class:`~softhubert_plugin.alignments.utterances.Alignments` takes them.
        dest: folder for the results.
        checkpoint: probe layers of this model, computed from audio. Nothing of them is written.
        layers: which of its layers, as :func:`~softhubert_plugin.features.layers.parse_layers` reads them.
        percent: with ``checkpoint``, use this share of the utterances, in (0, 1]; ``DEST/{split}.tsv`` lists them.
        mfcc_dir: folder with shards of MFCCs of the same manifest, which are probed as the baseline; ``audio`` computes them.
        speaker_from: a regular expression whose first group is the speaker, or ``folder``, where the manifest has no ``.spk``.
        max_frames: the maximum number of frames to train on, drawn from all training speakers; validation uses a quarter of it.
        clusters: the number of clusters of the k-means whose PNMI is measured for each layer; 0 leaves it out.
        choose_by: ``accuracy`` or ``pnmi``, both measured on the validation speakers.
        seed: of the draws of speakers and frames, and of k-means.
        device: where to compute; by default a GPU if there is one.

    Returns:
        The results as a table of text.

    Raises:
        SoftHubertError: features, manifest or alignments are not usable or do not belong together, or the speakers are not known or too
            few.
    """
    if choose_by not in ("accuracy", "pnmi") or (choose_by == "pnmi" and not clusters):
        raise SoftHubertError(f"--by {choose_by}: expected accuracy, or pnmi with --clusters above 0")
    check_destination(Path(dest) / FILE_NAME)
    device = usable_device(device)
    manifest, source = open_layers(feat_dir, split, nshard, manifest_path, checkpoint, layers, percent, dest, device)
    floor = None if mfcc_dir is None else open_mfcc(mfcc_dir, split, manifest)
    speakers = speakers_of(manifest, speaker_from)
    aligned = Alignments(alignments, manifest, phone_set=phone_set, units_per_second=units_per_second, partly=partly)
    having = [index for index in range(len(manifest)) if aligned.has(index)]
    chosen = probing_speakers([speakers.names[index] for index in having], seed, source=speakers.source)
    announce(speakers)
    part_of = {name: part for part, names in chosen.items() for name in names}
    parts: Dict[str, List[int]] = {part: [] for part in chosen}
    for index in having:
        parts[part_of[speakers.names[index]]].append(index)
    without, total = frames_without_phone(source, aligned)
    speech = _Speech(aligned, speakers.names, parts)
    probe = partial(_probe, speech=speech, max_frames=max_frames, clusters=clusters, seed=seed, device=device)
    rows = dict(zip(source.layers, probe(source, name=f"layers {source.layers[0]} to {source.layers[-1]}")))
    of_mfcc = None if floor is None else probe(floor, name="MFCC")[0]

    layer = max(rows, key=lambda layer: rows[layer][f"valid_{choose_by}"])
    confusions = {str(number): row.pop("confusion") for number, row in rows.items()}
    if of_mfcc is not None:
        confusions["mfcc"] = of_mfcc.pop("confusion")
    result = {
        "layer": layer,
        "chosen_by": f"{choose_by} on the validation speakers",
        "features": str(feat_dir if checkpoint is None else checkpoint),
        "manifest_sha256": manifest.fingerprint,
        "phone_set": aligned.phone_set,
        "phones": aligned.phones,
        "speakers": chosen,
        "speakers_from": speakers.described(),
        "alignment_unit": aligned.unit,
        "without_alignment": len(aligned.missing),
        "frames": total,
        "frames_without_phone": without,
        "seed": seed,
        "clusters": clusters,
        "layers": [{"layer": number, **row} for number, row in rows.items()],
        "mfcc": of_mfcc,
    }
    from softhubert_plugin.probing.curve import draw_curve  # matplotlib takes long to import

    write_text(Path(dest) / "layers.svg", draw_curve(result))
    write_json(Path(dest) / "confusion.json", {"phones": aligned.phones, "spoken_by_found": confusions})
    write_json(Path(dest) / FILE_NAME, result)
    return probe_table(result)


def _groups(source: LayerSource, max_frames: int) -> List[List[int]]:
    """Groups of layers whose training frames fit into memory together, at least one layer per group."""
    groups: List[List[int]] = [[]]
    size = 4 * source.dimension * max_frames
    for layer in source.layers:
        if groups[-1] and (len(groups[-1]) + 1) * size > TOGETHER_BYTES:
            groups.append([])
        groups[-1].append(layer)
    return groups


class _Chosen(NamedTuple):
    """What is tested of one layer.

    Attributes:
        probes: the classifiers of its group, at the strength that was best for this layer.
        place: the place of the layer among them.
        centres: ``(clusters, D)`` of k-means, or ``None``.
        row: what the results say of the layer so far.
    """

    probes: LinearProbes
    place: int
    centres: Optional[np.ndarray]
    row: Dict[str, Any]


def _probe(
    source: LayerSource, *, speech: _Speech, name: str, max_frames: int, clusters: int, seed: int, device: str
) -> List[Dict[str, Any]]:
    """Probe all layers of a source, and return one row of the table for each."""
    rng = np.random.default_rng(seed)
    train = draw_frames(source, speech.alignments, speech.parts["train"], max_frames, rng)
    valid = draw_frames(source, speech.alignments, speech.parts["valid"], max(1, max_frames // 4), rng)
    if not len(train.phones) or not len(valid.phones):
        raise SoftHubertError(
            f"{speech.alignments.source}: no aligned frames of the training or the validation speakers; align more speech"
        )
    sample = source.sample((train, valid))
    phones = len(speech.alignments.phones)
    chosen: Dict[int, _Chosen] = {}
    for group in _groups(source, max_frames):
        chosen.update(_fit(group, sample, (train, valid), phones, clusters, seed, device))
    del sample
    rows = _test(source, speech, chosen, name, clusters, device)
    most_frequent = int(np.bincount(train.phones, minlength=phones).argmax())
    for row, of_layer in zip(rows, chosen.values()):
        confusion = np.asarray(row["confusion"])
        majority = float(confusion[most_frequent].sum() / confusion.sum())
        row.update(of_layer.row, training_frames=len(train.phones), majority=majority)
    return rows


def _fit(
    group: List[int], sample: Sample, draws: Tuple[Drawn, Drawn], phones: int, clusters: int, seed: int, device: str
) -> Dict[int, _Chosen]:
    """Fit the probes and the clusters of some layers together, and choose the strength of each layer by its validation frames."""
    train, valid = draws
    features = torch.stack([torch.from_numpy(sample(0, layer)) for layer in group])
    centres = [_cluster(of_layer, clusters, rng_seed=seed) for of_layer in features.numpy()] if clusters else [None] * len(group)
    path = fit_path(features.to(device), torch.from_numpy(train.phones).to(device), phones, L2)
    del features
    chosen = {}
    for place, layer in enumerate(group):
        held_out = sample(1, layer)
        on_device, spoken = torch.from_numpy(held_out).to(device), torch.from_numpy(valid.phones).to(device)
        accuracies = [float((probes.predict(place, on_device) == spoken).float().mean()) for probes in path]
        best = int(np.argmax(accuracies))
        row = {"valid_accuracy": max(accuracies), "l2": L2[best]}
        middle = centres[place]
        if middle is not None:
            joint = JointCounts(phones, clusters, 1, replicates=0)
            joint.add(valid.phones, _nearest(held_out, middle), np.ones(len(held_out)))
            row["valid_pnmi"] = joint.whole().pnmi
        chosen[layer] = _Chosen(path[best], place, middle, row)
    return chosen


def _test(source: LayerSource, speech: _Speech, chosen: Dict[int, _Chosen], name: str, clusters: int, device: str) -> List[Dict[str, Any]]:
    """Run the chosen probes over the test speakers, utterance by utterance."""
    aligned = speech.alignments
    tested = dict(labelled(source, aligned, speech.parts["test"]))
    if not tested:
        raise SoftHubertError(f"{aligned.source}: no aligned utterances of the test speakers; align more speech")
    scores = {layer: ProbeScore(len(aligned.phones), aligned.silence) for layer in chosen}
    joints = {layer: JointCounts(len(aligned.phones), clusters, len(tested)) for layer in chosen if clusters}
    for index, states in tqdm(source.stream(list(tested)), desc=f"testing {name}", total=len(tested), unit="utt", disable=None):
        spoken = tested[index]
        known = spoken != UNLABELLED
        for layer, (probes, place, centres, _) in chosen.items():
            features = states[layer]
            found = probes.predict(place, torch.from_numpy(features).to(device)).cpu().numpy()
            scores[layer].add(speech.speakers[index], spoken, found)
            if centres is not None:
                joints[layer].add(spoken[known], _nearest(features[known], centres), np.ones(int(known.sum())))
    rows = [{**score.summary(), "confusion": score.confusion.tolist()} for score in scores.values()]
    for row, joint in zip(rows, joints.values()):
        row["pnmi"] = joint.summary()["pnmi"]
    return rows


def _cluster(features: np.ndarray, clusters: int, *, rng_seed: int) -> np.ndarray:
    """``(clusters, D)`` centres of k-means on a sample of the frames."""
    from sklearn.cluster import MiniBatchKMeans

    if len(features) < clusters:
        raise SoftHubertError(f"{len(features)} training frames for {clusters} clusters; lower --clusters or align more speech")
    sample = features[np.random.default_rng(rng_seed).permutation(len(features))[:CLUSTER_FRAMES]]
    fitted = MiniBatchKMeans(clusters, batch_size=4096, n_init=1, max_iter=50, random_state=rng_seed).fit(sample)
    centres: np.ndarray = fitted.cluster_centers_
    return centres


def _nearest(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """``(frames,)``: the centre nearest to each frame."""
    nearest: np.ndarray = (features @ centres.T - 0.5 * (centres**2).sum(1)).argmax(1)
    return nearest
