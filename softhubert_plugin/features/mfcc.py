"""MFCC features: the input of the first clustering iteration, with the same values as fairseq's ``dump_mfcc_feature.py``.

13 Kaldi MFCCs without energy, their deltas and double deltas: 39 dimensions at 100 frames per second (Hsu et al. 2021, section
IV-B). Frame ``t`` covers the samples ``[160 t, 160 t + 400)`` at 16 kHz. Nothing here needs fairseq.
"""

from __future__ import annotations

import torch
from tqdm import tqdm

from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.audio.read import read_waveform
from softhubert_plugin.features.shards import ShardWriter, is_complete, shard_range
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import SAMPLE_RATE, read_manifest

FRAME_RATE = 100.0
DIMENSION = 39
WINDOW_SAMPLES = 400


def mfcc(waveform: torch.Tensor) -> torch.Tensor:
    """Compute MFCCs with deltas and double deltas.

    Args:
        waveform: ``(samples,)`` float32 at 16 kHz, at least 400 samples (one 25 ms window).

    Returns:
        ``(frames, 39)`` float32 with ``frames = 1 + (samples - 400) // 160``.
    """
    import torchaudio

    cepstra = torchaudio.compliance.kaldi.mfcc(waveform[None], sample_frequency=SAMPLE_RATE, use_energy=False).T
    deltas = torchaudio.functional.compute_deltas(cepstra)
    return torch.cat([cepstra, deltas, torchaudio.functional.compute_deltas(deltas)]).T.contiguous()


def dump_mfcc(tsv_dir: PathLike, split: str, nshard: int, rank: int, feat_dir: PathLike) -> str:
    """Write one shard of a split's MFCCs.

    A complete shard of the same manifest is left as it is; an interrupted one is continued.

    Args:
        tsv_dir: folder of manifests.
        nshard, rank: the number of shards, and the shard to write, from 0.
        feat_dir: folder for the shard.

    Returns:
        A sentence on what was done.

    Raises:
        SoftHubertError: the manifest or an audio file is not usable, or an utterance is shorter than one window.
    """
    manifest = read_manifest(f"{tsv_dir}/{split}.tsv")
    start, end = shard_range(len(manifest), nshard, rank)
    info = {"kind": "mfcc", "frame_rate": FRAME_RATE, "manifest_sha256": manifest.fingerprint}
    if is_complete(feat_dir, split, rank, nshard, info):
        return f"{feat_dir}: shard {rank} of {nshard} of {split} is already there"
    check_audio(manifest)
    check_long_enough(manifest, range(start, end), WINDOW_SAMPLES)
    with ShardWriter(feat_dir, split, rank, nshard, info, resume=True) as shard:
        for index in tqdm(range(start + len(shard.lengths), end), desc=f"MFCC {split}", unit="utt", disable=None):
            shard.add(mfcc(read_waveform(manifest, index, normalize=False)).numpy())
    return f"{feat_dir}: {end - start} utterances, {sum(shard.lengths)} MFCC frames of {split}"
