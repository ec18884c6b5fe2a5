"""The commands ``softhubert probe`` and ``softhubert align``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.numbers import amount, count, number, seed, whole
from softhubert_plugin.commands.parser import (
    Commands,
    add_alignment_arguments,
    add_device_argument,
    add_speaker_argument,
    alignment_options,
)


def add_probing(commands: Commands) -> None:
    """Add the commands ``probe`` and ``align``."""

    def probe(a: argparse.Namespace) -> str:
        from softhubert_plugin.probing.probe import probe_layers

        return probe_layers(
            a.feat_dir, a.split, a.nshard, a.manifest, a.alignments, a.dest, checkpoint=a.checkpoint, layers=a.layers,
            percent=a.percent, mfcc_dir=a.mfcc, speaker_from=a.speaker_from, max_frames=a.max_frames, clusters=a.clusters,
            choose_by=a.by, seed=a.seed, device=a.device, **alignment_options(a),
        )  # fmt: skip

    parser = commands.add(
        "probe",
        "choose a layer: test linear phone probes of every layer on unseen speakers",
        "softhubert probe exp/all train 1 --manifest exp/data/train.tsv --alignments exp/data/alignments --mfcc exp/mfcc --dest exp/probe",
        probe,
    )
    parser.add_argument(
        "feat_dir",
        metavar="FEAT_DIR",
        help="folder of layer{N} folders, from 'softhubert features hubert ... all'; with --checkpoint, of the manifests",
    )
    parser.add_argument(
        "split", metavar="SPLIT", help="name of the split: train, valid, …; its speakers are divided into training, validation and test"
    )
    parser.add_argument("nshard", metavar="NSHARD", type=whole, help="number of shards; with --checkpoint, 1")
    parser.add_argument(
        "--manifest",
        help="the split's .tsv; for features written with --percent, FEAT_DIR/SPLIT.tsv (with --checkpoint: FEAT_DIR/SPLIT.tsv)",
    )
    parser.add_argument(
        "--checkpoint", metavar="CKPT", help="probe layers of this HuBERT, computed from audio in one pass, without features on disk"
    )
    parser.add_argument("--layers", default="all", help="with --checkpoint: layers to probe: 6, or 4,8,12, or 0-12 (default: %(default)s)")
    parser.add_argument(
        "--percent", type=number, help="with --checkpoint: fraction of the utterances to use; DEST/SPLIT.tsv lists them (default: all)"
    )
    add_alignment_arguments(parser)
    add_speaker_argument(parser)
    parser.add_argument("--dest", required=True, help="folder to write layers.json, layers.svg and confusion.json to")
    parser.add_argument("--mfcc", help="folder of MFCC shards of the same manifest, or 'audio', to compare with (default: no comparison)")
    parser.add_argument("--max-frames", type=count, default=100_000, help="maximum number of training frames (default: %(default)s)")
    parser.add_argument(
        "--clusters", type=amount, default=100, help="number of k-means clusters for PNMI; 0 for no PNMI (default: %(default)s)"
    )
    parser.add_argument(
        "--by", choices=("accuracy", "pnmi"), default="accuracy", help="measure that chooses the layer (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="random seed for the choice of speakers and frames and for k-means (default: %(default)s)"
    )
    add_device_argument(parser)

    def align(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.letter_alignment import align_split

        return align_split(a.data, a.split, a.checkpoint, a.dest, device=a.device)

    parser = commands.add(
        "align",
        "align letters with a fine-tuned CTC checkpoint, for transcribed corpora without phone alignments",
        "softhubert align exp/data train exp/soft/finetune/checkpoint_best.pt exp/data/letters",
        align,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of {split}.tsv and {split}.ltr")
    parser.add_argument("split", metavar="SPLIT", help="name of the split: train, valid, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument(
        "dest",
        metavar="DEST",
        help="folder to write UTTERANCE.lab to, with lines of start and end in seconds and letter; those of an earlier run are kept if "
        "checkpoint, transcript and recording are the same, and made again if not",
    )
    add_device_argument(parser)
