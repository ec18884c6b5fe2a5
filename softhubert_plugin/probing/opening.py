"""Open what is probed: layers and MFCCs, from feature shards or from audio."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import shard_path
from softhubert_plugin.features.subset import subset_manifest
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import Manifest, read_manifest
from softhubert_plugin.probing.layer_frames import LayerFrames, LayerSource, layer_folders
from softhubert_plugin.probing.sources import HubertSource, MfccSource, ShardSource


def open_layers(
    feat_dir: PathLike,
    split: str,
    nshard: int,
    manifest_path: Optional[PathLike],
    checkpoint: Optional[PathLike],
    layers: str,
    percent: Optional[float],
    dest: PathLike,
    device: str,
) -> Tuple[Manifest, LayerSource]:
    """Open what is probed, as the arguments of :func:`~softhubert_plugin.probing.probe.probe_layers` name it.

    Returns:
        The manifest and its layers.

    Raises:
        SoftHubertError: features, manifest, audio or checkpoint are not usable, or arguments do not go together.
    """
    if checkpoint is None:
        if percent is not None or layers != "all":
            raise SoftHubertError("--percent and --layers go with --checkpoint; feature shards are probed as they were dumped")
        if manifest_path is None:
            raise SoftHubertError("--manifest is missing: give the .tsv that the feature shards were dumped from")
        manifest = read_manifest(manifest_path)
        folders = layer_folders(feat_dir, split, nshard)
        return manifest, ShardSource({layer: LayerFrames(path, split, nshard, manifest) for layer, path in folders.items()})
    if nshard != 1:
        raise SoftHubertError(f"NSHARD {nshard}: with --checkpoint there are no shards; give 1")
    manifest = read_manifest(Path(feat_dir) / f"{split}.tsv" if manifest_path is None else manifest_path)
    if percent is not None:
        manifest = subset_manifest(manifest, percent, dest)
    return manifest, HubertSource(checkpoint, manifest, layers, device)


def open_mfcc(directory: PathLike, split: str, manifest: Manifest) -> LayerSource:
    """Open MFCCs, from their shards or, if the folder is called ``audio``, from audio."""
    if str(directory) == "audio":
        return MfccSource(manifest)
    return ShardSource({0: LayerFrames(directory, split, _nshard(directory, split), manifest, default_rate=100.0)})


def _nshard(directory: PathLike, split: str) -> int:
    """The number of shards of a split in a folder.

    Raises:
        SoftHubertError: there is no shard.
    """
    for path in sorted(Path(directory).glob(f"{split}_0_*.npy")):
        count = path.stem.rpartition("_")[2]
        if count.isdigit():
            return int(count)
    raise SoftHubertError(f"{shard_path(directory, split, 0, 1)}: no such features; dump them with 'softhubert features mfcc'")
