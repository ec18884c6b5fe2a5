"""Join the label shards of a split into one file, utterance by utterance. The file is not packed, even if the shards are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import check_nshard, counts_of_shards, shard_path, shard_range
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.hard_record import record_path
from softhubert_plugin.labels.hard_shards import merge_hard_shards
from softhubert_plugin.labels.joining import ShardJoin
from softhubert_plugin.labels.opening import open_label_file
from softhubert_plugin.labels.soft import SoftLabels, open_soft_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, StoredTargets
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.manifests import Manifest, read_manifest

# What the descriptions of all shards of a split have in common.
_OF_MIXTURE = ("n_components", "label_rate", "mass", "max_components", "temperature", "mixture_sha256", "manifest_sha256")
_SAME = (*_OF_MIXTURE, "control", "control_seed", "uniform", "frame_wise")


def merge_labels(
    lab_dir: PathLike,
    split: str,
    nshard: int,
    *,
    hard: bool = False,
    clusters: Optional[int] = None,
    manifest: Optional[PathLike] = None,
    remove_shards: bool = False,
) -> str:
    """Join soft label shards (``{split}_{rank}_{nshard}.gmm``) or hard ones (``.km``).

    Args:
        hard: join the hard ones; by default they are joined if there are no soft ones.
        clusters: number of clusters of hard labels, if they do not record it.
        manifest: the split's ``.tsv``, to check that the labels belong to it.
        remove_shards: remove the shards: each soft one as soon as it is joined, so that the disk never holds all of them twice, and hard
            ones at the end. If none is left and the joined file is there, nothing is done.

    Returns:
        A line on what was written.

    Raises:
        SoftHubertError: a shard is missing or damaged, shards come from different mixtures, settings or manifests, or they do not fit the
            manifest.
    """
    check_nshard(nshard)
    listed = None if manifest is None else read_manifest(manifest)
    join = ShardJoin(Path(lab_dir) / f"{split}.gmm", [shard_path(lab_dir, split, rank, nshard, ".gmm") for rank in range(nshard)])
    soft = any(shard.exists() for shard in join.shards) or join.interrupted()
    hard_too = bool(counts_of_shards(lab_dir, split, ".km"))
    others = counts_of_shards(lab_dir, split, ".gmm")
    if others and not (soft or hard or hard_too):
        counts = ", ".join(map(str, others))
        raise SoftHubertError(f"{join.shards[0]}: no such label shard, but shards of {counts}: give that NSHARD, or remove those shards")
    if remove_shards and not hard_too and (hard or not soft):
        joined = next((path for path in _joined_before(lab_dir, split, hard) if path.exists()), None)
        if joined is not None:
            if listed is not None:
                _check_manifest(open_label_file(joined), listed, len(listed))
            return f"{joined}: already there, and its shards are removed"
    if hard or (hard_too and not soft):
        said = merge_hard_shards(lab_dir, split, nshard, clusters=clusters, manifest=listed)
        if remove_shards:
            _remove([shard_path(lab_dir, split, rank, nshard, ".km") for rank in range(nshard)])
        return said
    if clusters is not None:
        raise SoftHubertError("--clusters is for hard labels, but these are soft ones, which record it; leave it out, or add --hard")
    said = _merge_soft(join, listed, remove_shards)
    return said + ("; there are .km shards too, which --hard joins" if hard_too else "")


def _joined_before(lab_dir: PathLike, split: str, hard: bool) -> List[Path]:
    """The files that shards of a split are joined into; a join that was interrupted is not among them."""
    folder = Path(lab_dir)
    return [folder / f"{split}.km"] if hard else [folder / f"{split}.gmm", folder / f"{split}.km"]


def _remove(shards: List[Path]) -> None:
    for shard in shards:
        shard.unlink()
        record_path(shard).unlink(missing_ok=True)


def _check_manifest(labels: FrameLabels, manifest: Manifest, expected: int) -> None:
    """Check that labels belong to a manifest, and that they are of ``expected`` of its utterances."""
    if labels.manifest_sha256 not in ("", manifest.fingerprint):
        raise SoftHubertError(f"{labels.path}: made for another manifest than {manifest.path}; dump features and labels again")
    if len(labels) != expected:
        raise SoftHubertError(
            f"{labels.path}: {len(labels)} utterances, expected {expected} of the {len(manifest)} that {manifest.path} lists; "
            "dump features and labels again"
        )


def _refuse_copies(shards: List[SoftLabels]) -> None:
    """Check that no two shards hold the same labels."""
    seen: Dict[bytes, SoftLabels] = {}
    for shard in shards:
        content = shard.lengths.tobytes() + shard.tensor("utterance_crc").tobytes()
        if content in seen:
            raise SoftHubertError(f"{shard.path}: the same as {seen[content].path}, so one of them is a copy; dump the shard again")
        seen[content] = shard


def _merge_soft(join: ShardJoin, manifest: Optional[Manifest], remove_shards: bool) -> str:
    """Write ``{split}.gmm`` from the shards ``{split}_{rank}_{nshard}.gmm``."""
    path, paths = join.path, join.shards
    if join.interrupted():
        if remove_shards:
            if manifest is not None:
                _check_manifest(join.unfinished(), manifest, len(manifest))
            join.finish()
            return _said(open_soft_labels(path))
        if not all(shard.exists() for shard in paths):
            raise SoftHubertError(
                f"{path}: joining its shards was interrupted, and those that it has joined are removed; give --remove-shards to go on"
            )
    shards = [open_soft_labels(shard) for shard in paths]
    for shard in shards[1:]:
        for name in _SAME:
            if getattr(shard.info, name) != getattr(shards[0].info, name):
                raise SoftHubertError(
                    f"{shard.path}: {name} is {getattr(shard.info, name)}, but {getattr(shards[0].info, name)} in {shards[0].path}; "
                    "dump all shards of a split with one mixture and the same options"
                )
    _refuse_copies(shards)
    if manifest is not None:
        for rank, shard in enumerate(shards):
            start, end = shard_range(len(manifest), len(shards), rank)
            _check_manifest(shard, manifest, end - start)
    info = _merged_info([shard.info for shard in shards])
    if remove_shards and len(paths) == 1 and not shards[0].packed:
        for index in range(len(shards[0])):
            shards[0].stored(index)  # refuses damaged bytes
        os.replace(paths[0], path)
    elif remove_shards and not any(shard.packed for shard in shards):
        join.start(shards, info)
        join.finish()
    else:
        write_soft_labels(path, _utterances(shards), info)
        if remove_shards:
            _remove(paths)
    return _said(open_soft_labels(path))


def _said(labels: SoftLabels) -> str:
    info = labels.info
    return f"{labels.path}: {len(labels)} utterances, {info.frames} frames, mean perplexity {info.perplexity:.3f}"


def _utterances(shards: List[SoftLabels]) -> Iterator[StoredTargets]:
    for shard in shards:
        yield from map(shard.stored, range(len(shard)))


def _merged_info(parts: List[SoftLabelInfo]) -> SoftLabelInfo:
    frames = sum(part.frames for part in parts)
    means = {
        name: sum(getattr(part, name) * part.frames for part in parts) / frames
        for name in ("perplexity_before", "perplexity", "entropy_before", "entropy")
    }
    histogram = [sum(counts) for counts in zip(*(part.entropy_histogram for part in parts))]
    return replace(parts[0], frames=frames, entropy_histogram=histogram, step=0.0, **means)
