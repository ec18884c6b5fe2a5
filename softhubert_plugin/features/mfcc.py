"""Write MFCCs as feature shards: the input of the first clustering iteration. An interrupted run continues where it stopped."""

from __future__ import annotations

from typing import Optional

from tqdm import tqdm

from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.mfcc_stream import WINDOW_SAMPLES, mfcc_features, mfcc_info
from softhubert_plugin.features.shards import ShardWriter, is_complete, shard_range
from softhubert_plugin.features.subset import subset_manifest
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import read_manifest


def dump_mfcc(
    tsv_dir: PathLike, split: str, nshard: int, rank: int, feat_dir: PathLike, *, dtype: str = "float32", percent: Optional[float] = None
) -> str:
    """Write one shard of a split's MFCCs.

    A complete shard of the same manifest is left as it is; an interrupted one is continued.

    Args:
        tsv_dir: folder of manifests.
        nshard, rank: the number of shards, and the shard to write, from 0.
        feat_dir: folder for the shard.
        dtype: ``float32`` or ``float16``: the type in the file.
        percent: use this share of the utterances, in (0, 1]. The draw is written as ``FEAT_DIR/{split}.tsv`` and is the shard's manifest.

    Returns:
        A sentence on what was done.

    Raises:
        SoftHubertError: the manifest or an audio file is not usable, or an utterance is shorter than one window.
    """
    if dtype not in ("float32", "float16"):
        raise SoftHubertError(f"--dtype {dtype}: expected float32 or float16")
    manifest = read_manifest(f"{tsv_dir}/{split}.tsv")
    if percent is not None:
        manifest = subset_manifest(manifest, percent, feat_dir)
    start, end = shard_range(len(manifest), nshard, rank)
    info = {**mfcc_info(manifest), **({} if dtype == "float32" else {"dtype": dtype})}
    if is_complete(feat_dir, split, rank, nshard, info):
        return f"{feat_dir}: shard {rank} of {nshard} of {split} is already there"
    check_audio(manifest)
    check_long_enough(manifest, range(start, end), WINDOW_SAMPLES)
    with ShardWriter(feat_dir, split, rank, nshard, info, dtype=dtype, resume=True) as shard:
        left = range(start + len(shard.lengths), end)
        for frames in tqdm(mfcc_features(manifest, left), desc=f"MFCC {split}", total=len(left), unit="utt", disable=None):
            shard.add(frames)
    return f"{feat_dir}: {end - start} utterances, {sum(shard.lengths)} MFCC frames of {split}"
