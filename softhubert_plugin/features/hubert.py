"""Write hidden states of a HuBERT checkpoint as feature shards, for probing and for the second clustering iteration.

One pass over the audio gives every layer asked for. An interrupted run continues where it stopped and ends with the same bytes.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Optional

from tqdm import tqdm

from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.checkpoints.inference import load_for_inference
from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.layer_stream import BATCH_SECONDS, layer_features, model_info, windows
from softhubert_plugin.features.layers import parse_layers, resolve_layers
from softhubert_plugin.features.shards import ShardWriter, is_complete, shard_range
from softhubert_plugin.features.subset import subset_manifest
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import receptive_field
from softhubert_plugin.manifests import read_manifest


def dump_hubert(
    tsv_dir: PathLike,
    split: str,
    checkpoint: PathLike,
    layers: str,
    nshard: int,
    rank: int,
    feat_dir: PathLike,
    *,
    dtype: str = "float32",
    percent: Optional[float] = None,
    device: Optional[str] = None,
    batch_seconds: float = BATCH_SECONDS,
) -> str:
    """Write one shard of a split's hidden states: one layer into ``FEAT_DIR``, several layers into ``FEAT_DIR/layer{N}``.

    Args:
        tsv_dir: folder of manifests.
        layers: as :func:`~softhubert_plugin.features.layers.parse_layers` reads them, or ``@layers.json`` for the layer that
            probing chose.
        nshard, rank: the number of shards, and the shard to write, from 0.
        dtype: ``float32`` or ``float16``: the type in the files; the model runs in float32.
        percent: use this share of the utterances, in (0, 1]. The draw is written as ``FEAT_DIR/{split}.tsv`` and is the shards' manifest.
        device: as PyTorch names it; by default a GPU if there is one.
        batch_seconds: seconds of audio in one batch.

    Returns:
        A sentence on what was done.

    Raises:
        SoftHubertError: manifest, audio or checkpoint is not usable, the model lacks a layer, or an utterance is shorter than the
            model's receptive field.
    """
    if dtype not in ("float32", "float16"):
        raise SoftHubertError(f"--dtype {dtype}: expected float32 or float16")
    manifest = read_manifest(f"{tsv_dir}/{split}.tsv")
    if percent is not None:
        manifest = subset_manifest(manifest, percent, feat_dir)
    start, end = shard_range(len(manifest), nshard, rank)
    loaded = load_for_inference(checkpoint)
    wanted = parse_layers(resolve_layers(layers), len(loaded.encoder.encoder.layers))
    folders = {layer: Path(feat_dir) if len(wanted) == 1 else Path(feat_dir) / f"layer{layer}" for layer in wanted}
    common = model_info(loaded, checkpoint, manifest)  # once: it reads the whole checkpoint
    infos = {layer: {**common, "layer": layer, "dtype": dtype} for layer in wanted}
    pending = [layer for layer in wanted if not is_complete(folders[layer], split, rank, nshard, infos[layer])]
    if not pending:
        return f"{feat_dir}: shard {rank} of {nshard} of {split} is already there"
    check_audio(manifest)
    check_long_enough(manifest, range(start, end), receptive_field(loaded.conv_layers))
    device = usable_device(device)
    with ExitStack() as stack:
        shards = {}
        for layer in pending:
            writer = ShardWriter(
                folders[layer], split, rank, nshard, infos[layer], dtype=dtype, resume=True, made_with={"batch_seconds": batch_seconds}
            )
            shards[layer] = stack.enter_context(writer)
        # Batches are made window by window. To get the same bytes, continue from the start of the window that was interrupted.
        written = start + min(len(shard.lengths) for shard in shards.values())
        begins = [window[0] for window in windows(manifest.sizes, range(start, end), batch_seconds) if window[0] <= written]
        first = end if written == end else begins[-1]
        for shard in shards.values():
            shard.rewind(first - start)
        features = layer_features(loaded, manifest, range(first, end), pending, device=device, batch_seconds=batch_seconds)
        for states in tqdm(features, desc=f"HuBERT {split}", initial=first - start, total=end - start, unit="utt", disable=None):
            for layer, shard in shards.items():
                shard.add(states[layer])
    return f"{feat_dir}: {end - start} utterances of {split}, layer{'s' * (len(pending) > 1)} {', '.join(map(str, pending))}"
