"""Join the label shards of a split into one file, utterance by utterance. The file is not packed, even if the shards are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Iterator, List

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import shard_path
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.soft import SoftLabels, open_soft_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, StoredTargets
from softhubert_plugin.labels.soft_writing import write_soft_labels


def merge_labels(lab_dir: PathLike, split: str, nshard: int) -> str:
    """Write ``{split}.gmm`` from the shards ``{split}_{rank}_{nshard}.gmm``.

    Returns:
        A line on what was written.

    Raises:
        SoftHubertError: a shard is missing or damaged, or shards come from different mixtures, settings or manifests.
    """
    shards = [open_soft_labels(shard_path(lab_dir, split, rank, nshard, ".gmm")) for rank in range(nshard)]
    same = ("n_components", "label_rate", "mass", "max_components", "temperature", "mixture_sha256", "manifest_sha256")
    for shard in shards[1:]:
        for name in same:
            if getattr(shard.info, name) != getattr(shards[0].info, name):
                raise SoftHubertError(
                    f"{shard.path}: {name} is {getattr(shard.info, name)}, but {getattr(shards[0].info, name)} in {shards[0].path}; "
                    "dump all shards of a split with one mixture and the same options"
                )
    path = Path(lab_dir) / f"{split}.gmm"
    info = _merged_info([shard.info for shard in shards])
    write_soft_labels(path, _utterances(shards), info)
    return f"{path}: {sum(map(len, shards))} utterances, {info.frames} frames, mean perplexity {info.perplexity:.3f}"


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
