"""The command ``softhubert features``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.numbers import number, positive
from softhubert_plugin.commands.parser import Commands, add_device_argument, add_shard_arguments


def add_features(commands: Commands) -> None:
    """Add the subcommands ``mfcc`` and ``hubert``."""

    def mfcc(a: argparse.Namespace) -> str:
        from softhubert_plugin.features.mfcc import dump_mfcc

        return dump_mfcc(a.tsv_dir, a.split, a.nshard, a.rank, a.feat_dir, dtype=a.dtype, percent=a.percent)

    parser = commands.add(
        "mfcc",
        "write 39-dimensional MFCCs at 100 frames per second, for the first iteration",
        "softhubert features mfcc exp/data train 1 0 exp/mfcc",
        mfcc,
    )
    parser.add_argument("tsv_dir", metavar="TSV_DIR", help="folder of the manifests")
    parser.add_argument("split", metavar="SPLIT", help="name of the split: train, valid, …")
    add_shard_arguments(parser)
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder to write {split}_{rank}_{nshard}.npy and .len to")
    _add_file_arguments(parser)

    def hubert(a: argparse.Namespace) -> str:
        from softhubert_plugin.features.hubert import dump_hubert

        return dump_hubert(
            a.tsv_dir, a.split, a.checkpoint, a.layers, a.nshard, a.rank, a.feat_dir,
            dtype=a.dtype, percent=a.percent, device=a.device, batch_seconds=a.batch_seconds,
        )  # fmt: skip

    parser = commands.add(
        "hubert",
        "write hidden states of a HuBERT checkpoint, any set of layers in one pass",
        "softhubert features hubert exp/data train exp/soft/pretrain/checkpoint_best.pt 4 1 0 exp/layer4",
        hubert,
    )
    parser.add_argument("tsv_dir", metavar="TSV_DIR", help="folder of the manifests")
    parser.add_argument("split", metavar="SPLIT", help="name of the split: train, valid, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="pretraining checkpoint, from fairseq's HuBERT or SoftHuBERT")
    parser.add_argument(
        "layers",
        metavar="LAYERS",
        help="layers to write: 6, or 4,8,12, or 0-12, or all (1 to the last; 0 is the projected "
        "convolutional features), or @layers.json for the layer that 'softhubert probe' chose",
    )
    add_shard_arguments(parser)
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder to write to; several layers go to FEAT_DIR/layer{N}")
    _add_file_arguments(parser)
    add_device_argument(parser)
    parser.add_argument("--batch-seconds", type=positive, default=40.0, help="seconds of audio per batch (default: %(default)s)")


def _add_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="number format of the files (default: %(default)s)"
    )
    parser.add_argument(
        "--percent", type=number, help="fraction of the utterances to use, 0 to 1; FEAT_DIR/SPLIT.tsv lists them (default: all utterances)"
    )
