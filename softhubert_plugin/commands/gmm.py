"""``softhubert gmm``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands, add_device_argument, add_shard_arguments


def add_gmm(commands: Commands) -> None:
    def learn(a: argparse.Namespace) -> str:
        from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm

        options = GmmOptions(
            n_components=a.n_components,
            percent=a.percent,
            covariance_type=a.covariance,
            pca=a.pca,
            whiten=a.whiten,
            standardise=a.standardise,
            init=a.init,
            perplexity=None if a.perplexity == 0 else a.perplexity,
            iterations=a.iterations,
            tolerance=a.tolerance,
            seed=a.seed,
        )
        return learn_gmm(a.feat_dir, a.split, a.nshard, a.gmm_path, options, device=a.device)

    parser = commands.add(
        "learn",
        "fit a mixture to features and calibrate how soft its posteriors are",
        "softhubert gmm learn exp/mfcc train 1 exp/gmm.safetensors 100 --perplexity 4",
        learn,
    )
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder of feature shards")
    parser.add_argument("split", metavar="SPLIT", help="split to fit on")
    parser.add_argument("nshard", metavar="NSHARD", type=int, help="number of shards")
    parser.add_argument("gmm_path", metavar="GMM_PATH", help="mixture file to write (gmm.safetensors)")
    parser.add_argument("n_components", metavar="N_COMPONENTS", type=int, help="number of Gaussians")
    parser.add_argument("--percent", type=float, default=-1.0, help="share of the utterances to fit on, 0 to 1; negative: all (default)")
    parser.add_argument("--covariance", choices=["diag", "spherical", "tied", "full"], default="diag", help="default: %(default)s")
    parser.add_argument("--pca", type=int, metavar="D", help="reduce to D principal components first")
    parser.add_argument("--whiten", action="store_true", help="scale principal components to unit variance")
    parser.add_argument("--standardise", action="store_true", help="scale each dimension to unit variance first")
    parser.add_argument("--init", metavar="PATH", help="start from a mixture, or from a k-means model of fairseq's learn_kmeans.py")
    parser.add_argument(
        "--perplexity", type=float, default=4.0, help="mean perplexity of the posteriors; 0: as they come (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=100, help="EM iterations at most (default: %(default)s)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, help="stop when the held-out likelihood gains less than this share (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of sample and start (default: %(default)s)")
    add_device_argument(parser)

    def dump(a: argparse.Namespace) -> str:
        from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors

        return dump_gmm_posteriors(
            a.feat_dir,
            a.split,
            a.gmm_path,
            a.nshard,
            a.rank,
            a.lab_dir,
            mass=a.mass,
            max_components=a.max_components,
            temperature=a.temperature,
            label_rate=a.label_rate,
            hard=a.hard,
            checkpoint=a.checkpoint,
            layer=a.layer,
            device=a.device,
        )

    parser = commands.add(
        "dump",
        "label a shard of features with a mixture's posteriors",
        "softhubert gmm dump exp/mfcc train exp/gmm.safetensors 1 0 exp/labels",
        dump,
    )
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder of feature shards, or with --checkpoint of manifests")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    parser.add_argument("gmm_path", metavar="GMM_PATH", help="mixture file")
    add_shard_arguments(parser)
    parser.add_argument("lab_dir", metavar="LAB_DIR", help="where to write {split}_{rank}_{nshard}.gmm")
    parser.add_argument("--mass", type=float, default=0.999, help="probability kept a frame (default: %(default)s)")
    parser.add_argument("--max-components", type=int, default=16, help="entries kept a frame at most (default: %(default)s)")
    parser.add_argument("--temperature", type=float, help="instead of the calibrated one")
    parser.add_argument("--label-rate", type=float, help="frames a second, for features of fairseq's scripts (MFCC: 100, HuBERT: 50)")
    parser.add_argument("--hard", action="store_true", help="write the most probable component as fairseq's .km instead")
    parser.add_argument("--checkpoint", metavar="CKPT", help="label straight from audio: FEAT_DIR is then the folder of the manifests")
    parser.add_argument("--layer", type=int, help="with --checkpoint: the layer whose hidden states the mixture was learnt from")
    add_device_argument(parser)
