"""The command ``softhubert gmm``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.numbers import count, number, positive, seed, whole
from softhubert_plugin.commands.parser import Commands, add_device_argument, add_shard_arguments
from softhubert_plugin.errors import SoftHubertError


def _add_transition_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--markov",
        choices=["sticky", "full"],
        help="fit how components follow each other in time, so that posteriors hear their neighbours: one probability to stay in a "
        "component, or a matrix (default: frames are taken one by one)",
    )
    parser.add_argument(
        "--stay", type=number, metavar="P", help="with --markov sticky: the probability to stay, from 0 to below 1 (default: fitted)"
    )


def add_gmm(commands: Commands) -> None:
    """Add the subcommands ``learn``, ``from-kmeans`` and ``dump``."""

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
            markov=a.markov,
            stay=a.stay,
        )
        return learn_gmm(a.feat_dir, a.split, a.nshard, a.gmm_path, options, device=a.device)

    parser = commands.add(
        "learn",
        "fit a Gaussian mixture to features and calibrate the perplexity of its posteriors",
        "softhubert gmm learn exp/mfcc train 1 exp/gmm.safetensors 100 --perplexity 4",
        learn,
    )
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder of feature shards")
    parser.add_argument("split", metavar="SPLIT", help="name of the split to fit on")
    parser.add_argument("nshard", metavar="NSHARD", type=whole, help="number of shards")
    parser.add_argument("gmm_path", metavar="GMM_PATH", help="mixture file to write (gmm.safetensors)")
    parser.add_argument("n_components", metavar="N_COMPONENTS", type=whole, help="number of mixture components")
    parser.add_argument(
        "--percent", type=number, default=-1.0, help="fraction of the utterances to fit on, 0 to 1; negative for all (default: all)"
    )
    parser.add_argument(
        "--covariance",
        choices=["diag", "spherical", "tied", "full"],
        default="diag",
        help="kind of covariance matrices (default: %(default)s)",
    )
    parser.add_argument("--pca", type=whole, metavar="D", help="reduce features to D principal components first (default: no reduction)")
    parser.add_argument("--whiten", action="store_true", help="scale principal components to unit variance first")
    parser.add_argument("--standardise", action="store_true", help="scale each dimension to unit variance first")
    parser.add_argument(
        "--init", metavar="PATH", help="mixture or k-means model (of fairseq's learn_kmeans.py) to start from (default: a new start)"
    )
    parser.add_argument(
        "--perplexity",
        type=number,
        default=4.0,
        help="mean perplexity that the posteriors are calibrated to; 0 for no calibration (default: %(default)s)",
    )
    parser.add_argument(
        "--iterations",
        type=whole,
        default=100,
        help="maximum number of EM iterations; 0 keeps the start, such as that of --init (default: %(default)s)",
    )
    parser.add_argument(
        "--tolerance",
        type=number,
        default=1e-5,
        help="stop when an iteration improves the held-out likelihood by less than this fraction (default: %(default)s)",
    )
    parser.add_argument("--seed", type=seed, default=1, help="random seed of the choice of frames and of the start (default: %(default)s)")
    _add_transition_arguments(parser)
    add_device_argument(parser)

    def from_kmeans(a: argparse.Namespace) -> str:
        from softhubert_plugin.gmm.from_kmeans import gmm_from_kmeans

        feat_dir, split, nshard = a.features
        if not (nshard.isascii() and nshard.isdigit()):
            raise SoftHubertError(f"--features {feat_dir} {split} {nshard}: expected the number of shards, found {nshard!r}")
        return gmm_from_kmeans(
            a.km_path, a.gmm_path, feat_dir, split, int(nshard),
            perplexity=None if a.perplexity == 0 else a.perplexity, percent=a.percent, seed=a.seed,
            markov=a.markov, stay=a.stay, device=a.device,
        )  # fmt: skip

    parser = commands.add(
        "from-kmeans",
        "make a mixture of k-means centroids, with equal weights and one variance, and calibrate the perplexity of its posteriors",
        "softhubert gmm from-kmeans exp/km.joblib exp/km-soft.safetensors --features exp/mfcc train 1 --perplexity 4",
        from_kmeans,
    )
    parser.add_argument("km_path", metavar="KM_PATH", help="k-means model of fairseq's learn_kmeans.py")
    parser.add_argument("gmm_path", metavar="GMM_PATH", help="mixture file to write")
    parser.add_argument(
        "--features",
        nargs=3,
        required=True,
        metavar=("FEAT_DIR", "SPLIT", "NSHARD"),
        help="feature shards of the kind that the k-means was fitted on, to calibrate on: folder, split, number of shards",
    )
    parser.add_argument(
        "--perplexity",
        type=number,
        default=4.0,
        help="mean perplexity that the posteriors are calibrated to; 0 for no calibration (default: %(default)s)",
    )
    parser.add_argument(
        "--percent", type=number, default=-1.0, help="fraction of the utterances to calibrate on, 0 to 1; negative for all (default: all)"
    )
    parser.add_argument("--seed", type=seed, default=1, help="random seed for the choice of frames (default: %(default)s)")
    _add_transition_arguments(parser)
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
            viterbi=a.viterbi,
            frame_wise=a.frame_wise,
            audio=a.audio,
            checkpoint=a.checkpoint,
            layer=a.layer,
            device=a.device,
        )

    parser = commands.add(
        "dump",
        "label one shard of features, or of audio, with the posteriors of a mixture",
        "softhubert gmm dump exp/mfcc train exp/gmm.safetensors 1 0 exp/labels",
        dump,
    )
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder of feature shards; with --audio or --checkpoint, folder of manifests")
    parser.add_argument("split", metavar="SPLIT", help="name of the split: train, valid, …")
    parser.add_argument("gmm_path", metavar="GMM_PATH", help="mixture file, from 'softhubert gmm learn'; with --hard also a k-means model")
    add_shard_arguments(parser)
    parser.add_argument("lab_dir", metavar="LAB_DIR", help="folder to write {split}_{rank}_{nshard}.gmm (or .km) to")
    parser.add_argument("--mass", type=number, default=0.999, help="probability mass kept per frame, 0 to 1 (default: %(default)s)")
    parser.add_argument(
        "--max-components", type=count, default=16, help="maximum number of components kept per frame (default: %(default)s)"
    )
    parser.add_argument(
        "--temperature", type=positive, help="temperature of the posteriors (default: the mixture's calibrated temperature)"
    )
    parser.add_argument(
        "--label-rate",
        type=positive,
        help="frames per second; needed for features of fairseq's scripts: MFCC 100, HuBERT 50 (default: recorded with the features)",
    )
    parser.add_argument(
        "--hard", action="store_true", help="write the most probable component only, as fairseq's .km (default: soft labels)"
    )
    parser.add_argument(
        "--viterbi", action="store_true", help="with --hard: the components of the most probable path, of a mixture with transitions"
    )
    parser.add_argument(
        "--frame-wise",
        action="store_true",
        help="take frames one by one, at the temperature calibrated for that, where the mixture has transitions (default: use them)",
    )
    parser.add_argument("--audio", choices=["mfcc"], help="label MFCCs of the audio, without features on disk; FEAT_DIR is TSV_DIR")
    parser.add_argument(
        "--checkpoint",
        metavar="CKPT",
        help="label hidden states of this HuBERT for audio, without features on disk; FEAT_DIR is TSV_DIR",
    )
    parser.add_argument("--layer", help="with --checkpoint: the layer of the mixture's features, or @layers.json for the one chosen there")
    add_device_argument(parser)
