"""``softhubert labels``."""

from __future__ import annotations

import argparse
import json

from softhubert_plugin.commands.parser import Commands, add_alignment_arguments


def add_labels(commands: Commands) -> None:
    def merge(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.merge import merge_labels

        return merge_labels(a.lab_dir, a.split, a.nshard)

    parser = commands.add("merge", "join the label shards of a split", "softhubert labels merge exp/labels train 1", merge)
    parser.add_argument("lab_dir", metavar="LAB_DIR", help="folder of {split}_{rank}_{nshard}.gmm")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    parser.add_argument("nshard", metavar="NSHARD", type=int, help="number of shards")

    def inspect(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.inspect import describe_labels, draw_entropies, labels_text

        description = describe_labels(a.file)
        if a.png:
            draw_entropies(description, a.png)
        return labels_text(description) if a.text else json.dumps(description, indent=2)

    parser = commands.add(
        "inspect",
        "what a label file holds, as JSON, as text or as a picture",
        "softhubert labels inspect exp/labels/train.gmm --text --png exp/entropy.png",
        inspect,
    )
    parser.add_argument("file", metavar="FILE", help="a .gmm file")
    parser.add_argument("--text", action="store_true", help="for people, with a histogram of the frames' entropies, instead of JSON")
    parser.add_argument("--png", metavar="PATH", help="draw that histogram")

    def convert(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.convert import convert_labels

        return convert_labels(a.source, a.dest, label_rate=a.label_rate, manifest=a.manifest, mass=a.mass, max_components=a.max_components)

    parser = commands.add(
        "convert",
        "soft labels from and to dense .npy (with .len) and fairseq's .km",
        "softhubert labels convert posteriors/train.npy exp/labels/train.gmm --label-rate 50 --manifest exp/data/train.tsv",
        convert,
    )
    parser.add_argument("source", metavar="SOURCE", help="a .gmm, .npy or .km file")
    parser.add_argument("dest", metavar="DEST", help="what to write; its ending says what, and one of the two is .gmm")
    parser.add_argument("--label-rate", type=float, help="frames a second; needed to make soft labels")
    parser.add_argument("--manifest", help="the split's .tsv, to bind new soft labels to it")
    parser.add_argument("--mass", type=float, default=0.999, help="how much of a dense posterior to keep (default: 0.999)")
    parser.add_argument("--max-components", type=int, default=16, help="at most so many entries a frame (default: 16)")

    def pack(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.pack import pack_labels

        return pack_labels(a.source, a.dest, step=a.step)

    parser = commands.add(
        "pack",
        "the same soft labels in a third to a quarter of the bytes, read by all the rest as they are",
        "softhubert labels pack exp/labels/train.gmm exp/packed/train.gmm --step 0.02",
        pack,
    )
    parser.add_argument("source", metavar="SOURCE", help="a .gmm file; best made with --mass 0.9999 --max-components 64")
    parser.add_argument("dest", metavar="DEST", help="the packed .gmm file to write")
    parser.add_argument(
        "--step", type=float, default=0.02, help="of the square root of a probability: smaller is closer and larger (default: %(default)s)"
    )

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

    def quality(a: argparse.Namespace) -> str:
        from softhubert_plugin.probing.label_quality import measure_labels

        return measure_labels(a.labels, a.manifest, a.alignments, phone_set=a.phones, label_rate=a.label_rate, dest=a.dest)

    parser = commands.add(
        "quality",
        "phone purity, cluster purity, PNMI and segment lengths of labels against phone alignments",
        "softhubert labels quality exp/labels/valid.gmm --manifest exp/data/valid.tsv --alignments exp/data/alignments",
        quality,
    )
    parser.add_argument("labels", metavar="LABELS", help="a .gmm file, or a .km file with its dictionary beside it")
    parser.add_argument("--manifest", required=True, help="the split's .tsv")
    add_alignment_arguments(parser)
    parser.add_argument("--label-rate", type=float, help="frames a second; needed for .km")
    parser.add_argument("--dest", help="also write the measures as JSON")
