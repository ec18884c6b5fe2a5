"""``softhubert features``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands, add_device_argument, add_shard_arguments


def add_features(commands: Commands) -> None:
    def mfcc(a: argparse.Namespace) -> str:
        from softhubert_plugin.features.mfcc import dump_mfcc

        return dump_mfcc(a.tsv_dir, a.split, a.nshard, a.rank, a.feat_dir)

    parser = commands.add(
        "mfcc",
        "39-dimensional MFCCs at 100 frames a second, for the first iteration",
        "softhubert features mfcc exp/data train 1 0 exp/mfcc",
        mfcc,
    )
    parser.add_argument("tsv_dir", metavar="TSV_DIR", help="folder of the manifests")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    add_shard_arguments(parser)
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="where to write {split}_{rank}_{nshard}.npy and .len")

    def hubert(a: argparse.Namespace) -> str:
        from softhubert_plugin.features.hubert import dump_hubert

        return dump_hubert(
            a.tsv_dir, a.split, a.checkpoint, a.layers, a.nshard, a.rank, a.feat_dir,
            dtype=a.dtype, percent=a.percent, device=a.device, batch_seconds=a.batch_seconds,
        )  # fmt: skip

    parser = commands.add(
        "hubert",
        "hidden states of a HuBERT checkpoint, any set of layers in one pass",
        "softhubert features hubert exp/data train exp/soft/pretrain/checkpoint_best.pt 4 1 0 exp/layer4",
        hubert,
    )
    parser.add_argument("tsv_dir", metavar="TSV_DIR", help="folder of the manifests")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="pretraining checkpoint of fairseq's HuBERT or of ours")
    parser.add_argument(
        "layers",
        metavar="LAYERS",
        help="6, or 4,8,12, or 0-12, or all (1 to the last; 0 is the projected "
        "convolutional features), or @layers.json for the layer that 'softhubert probe' chose",
    )
    add_shard_arguments(parser)
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="where to write; several layers go to FEAT_DIR/layer{N}")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the files (default: %(default)s)")
    parser.add_argument("--percent", type=float, help="only this share of the utterances, 0.1 for a tenth; listed in FEAT_DIR/SPLIT.tsv")
    add_device_argument(parser)
    parser.add_argument("--batch-seconds", type=float, default=40.0, help="audio in one batch (default: %(default)s)")
