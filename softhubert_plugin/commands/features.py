"""``softhubert features``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands, add_shard_arguments


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

        return dump_hubert(a.tsv_dir, a.split, a.checkpoint, a.layers, a.nshard, a.rank, a.feat_dir)

    parser = commands.add(
        "hubert",
        "hidden states of a HuBERT checkpoint, any set of layers in one pass",
        "softhubert features hubert exp/data train exp/soft/pretrain/checkpoint_best.pt 4 1 0 exp/layer4",
        hubert,
    )
    parser.add_argument("tsv_dir", metavar="TSV_DIR", help="folder of the manifests")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="pretraining checkpoint of fairseq's HuBERT or of ours")
    parser.add_argument("layers", metavar="LAYERS", help="6, or 4,8,12, or all; counted from 1")
    add_shard_arguments(parser)
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="where to write; several layers go to FEAT_DIR/layer{N}")
