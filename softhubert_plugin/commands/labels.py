"""``softhubert labels``."""

from __future__ import annotations

import argparse
import json

from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.commands.quality import add_quality


def add_labels(commands: Commands) -> None:
    def merge(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.merge import merge_labels

        return merge_labels(a.lab_dir, a.split, a.nshard)

    parser = commands.add("merge", "join the label shards of a split", "softhubert labels merge exp/labels train 1", merge)
    parser.add_argument("lab_dir", metavar="LAB_DIR", help="folder of {split}_{rank}_{nshard}.gmm")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    parser.add_argument("nshard", metavar="NSHARD", type=int, help="number of shards")

    def inspect(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.merge import describe

        return json.dumps(describe(a.file), indent=2)

    parser = commands.add("inspect", "what a label file holds, as JSON", "softhubert labels inspect exp/labels/train.gmm", inspect)
    parser.add_argument("file", metavar="FILE", help="a .gmm file")

    def verify(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.verify import verify_file

        return verify_file(a.file, a.manifest, label_rate=a.label_rate)

    parser = commands.add(
        "verify",
        "check every label of a file, and that they belong to a manifest",
        "softhubert labels verify exp/labels/train.gmm --manifest exp/data/train.tsv",
        verify,
    )
    parser.add_argument("file", metavar="FILE", help="a .gmm file, or a .km file with its dictionary beside it")
    parser.add_argument("--manifest", required=True, help="the split's .tsv")
    parser.add_argument("--label-rate", type=float, help="frames a second; needed for .km")
    add_quality(commands)
