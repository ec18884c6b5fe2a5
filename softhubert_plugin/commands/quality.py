"""``softhubert labels quality``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands


def add_alignment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--alignments",
        required=True,
        help="folder of .TextGrid, .lab or .phn files named by utterance, or a .ctm, or fairseq's 'utterance<TAB>phone,phone,…'",
    )
    parser.add_argument("--phones", help="phone set: arpabet, timit, espeak, letters or asis (default: found out from the alignments)")


def add_quality(commands: Commands) -> None:
    """Register ``quality`` among the commands of ``labels``."""

    def quality(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.quality import measure_labels

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
