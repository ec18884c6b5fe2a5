"""The command ``softhubert labels``."""

from __future__ import annotations

import argparse
import json

from softhubert_plugin.commands.numbers import count, number, positive, seed, whole
from softhubert_plugin.commands.parser import Commands, add_alignment_arguments, add_speaker_argument, alignment_options


def add_labels(commands: Commands) -> None:
    """Add the subcommands ``merge``, ``inspect``, ``convert``, ``pack``, ``control``, ``verify``, ``quality`` and ``uncertainty``."""

    def merge(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.merge import merge_labels

        return merge_labels(
            a.lab_dir, a.split, a.nshard, hard=a.hard, clusters=a.clusters, manifest=a.manifest, remove_shards=a.remove_shards
        )

    parser = commands.add(
        "merge",
        "join the label shards of a split: soft labels, or hard ones of this package or fairseq with their dict.km.txt",
        "softhubert labels merge exp/labels train 1",
        merge,
    )
    parser.add_argument("lab_dir", metavar="LAB_DIR", help="folder of {split}_{rank}_{nshard}.gmm or .km")
    parser.add_argument("split", metavar="SPLIT", help="name of the split: train, valid, …")
    parser.add_argument("nshard", metavar="NSHARD", type=whole, help="number of shards")
    parser.add_argument(
        "--hard", action="store_true", help="join the .km shards where there are .gmm shards too (default: the .gmm shards)"
    )
    parser.add_argument(
        "--clusters",
        type=whole,
        metavar="K",
        help="number of clusters, for dict.km.txt (default: what the shards record, what dict.km.txt lists, or the largest label + 1)",
    )
    parser.add_argument("--manifest", metavar="TSV", help="the split's .tsv, to check the number of utterances (default: no check)")
    parser.add_argument("--remove-shards", action="store_true", help="remove shards once their labels are joined (default: keep them)")

    def inspect(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.inspect import describe_labels, draw_entropies, labels_text

        description = describe_labels(a.file)
        if a.png:
            draw_entropies(description, a.png)
        return labels_text(description) if a.text else json.dumps(description, indent=2)

    parser = commands.add(
        "inspect",
        "describe a label file, as JSON, text or a picture",
        "softhubert labels inspect exp/labels/train.gmm --text --png exp/entropy.png",
        inspect,
    )
    parser.add_argument("file", metavar="FILE", help="a .gmm file")
    parser.add_argument("--text", action="store_true", help="print text with a histogram of the frames' entropies (default: print JSON)")
    parser.add_argument("--png", metavar="PATH", help="also draw this histogram to a picture file")

    def convert(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.convert import convert_labels

        return convert_labels(a.source, a.dest, label_rate=a.label_rate, manifest=a.manifest, mass=a.mass, max_components=a.max_components)

    parser = commands.add(
        "convert",
        "convert soft labels from and to dense .npy (with .len) and fairseq's .km",
        "softhubert labels convert posteriors/train.npy exp/labels/train.gmm --label-rate 50 --manifest exp/data/train.tsv",
        convert,
    )
    parser.add_argument("source", metavar="SOURCE", help="file to convert: .gmm, .npy or .km")
    parser.add_argument("dest", metavar="DEST", help="file to write: .gmm, .npy or .km; SOURCE or DEST must be .gmm")
    parser.add_argument("--label-rate", type=positive, help="frames per second of the labels; needed to make a .gmm file")
    parser.add_argument("--manifest", help="the split's .tsv, to bind the new .gmm file to it")
    parser.add_argument("--mass", type=number, default=0.999, help="probability mass kept per frame, 0 to 1 (default: 0.999)")
    parser.add_argument("--max-components", type=count, default=16, help="maximum number of components kept per frame (default: 16)")

    def pack(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.pack import pack_labels

        return pack_labels(a.source, a.dest, step=a.step)

    parser = commands.add(
        "pack",
        "write the same soft labels in a third to a quarter of the bytes; every command and the task read them",
        "softhubert labels pack exp/labels/train.gmm exp/packed/train.gmm --step 0.02",
        pack,
    )
    parser.add_argument("source", metavar="SOURCE", help="a .gmm file; best made with --mass 0.9999 --max-components 64")
    parser.add_argument("dest", metavar="DEST", help="packed .gmm file to write")
    parser.add_argument(
        "--step",
        type=number,
        default=0.02,
        help="rounding step for the square root of a probability; smaller is more precise and takes more bytes (default: %(default)s)",
    )

    def control(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.controls import control_labels

        return control_labels(a.labels, a.dest, kind=a.kind, seed=a.seed, like=a.like, rate=a.rate)

    parser = commands.add(
        "control",
        "write a control of soft labels: labels without their uncertainty, or with as much of it but without its content",
        "softhubert labels control exp/labels/gmm/train.gmm exp/labels/shuffle/train.gmm --kind shuffle --seed 1",
        control,
    )
    parser.add_argument("labels", metavar="LABELS", help="a .gmm file, packed or not")
    parser.add_argument("dest", metavar="DEST", help=".gmm file to write, named as its split and in a folder of its own")
    parser.add_argument(
        "--kind",
        required=True,
        choices=["argmax", "smooth", "shuffle"],
        help="argmax: the most probable component only; smooth: the argmax, with the same even uncertainty in every frame, at the same "
        "mean entropy; shuffle: each frame's probabilities, with all components but the most probable one drawn at random",
    )
    parser.add_argument("--seed", type=seed, default=1, help="random seed of shuffle (default: %(default)s)")
    parser.add_argument(
        "--like",
        metavar="CONTROL",
        help="smooth as much as this control of another split, such as train for valid (default: to the mean entropy of LABELS)",
    )
    parser.add_argument(
        "--rate",
        type=number,
        metavar="HZ",
        help="labels per second of the control; give the model's rate, 50, where LABELS has 100 (default: the rate of LABELS)",
    )

    def verify(a: argparse.Namespace) -> str:
        from softhubert_plugin.labels.verify import verify_file

        return verify_file(a.file, a.manifest, label_rate=a.label_rate, audio=not a.no_audio)

    parser = commands.add(
        "verify",
        "check every label of a file, that the labels belong to a manifest, and that its audio can be used",
        "softhubert labels verify exp/labels/train.gmm --manifest exp/data/train.tsv",
        verify,
    )
    parser.add_argument("file", metavar="FILE", help="a .gmm file, or a .km file with its dictionary beside it")
    parser.add_argument("--manifest", required=True, help="the split's .tsv")
    parser.add_argument("--label-rate", type=positive, help="frames per second; needed for .km (default: the rate in the .gmm file)")
    parser.add_argument("--no-audio", action="store_true", help="do not check the audio, which may be on another machine")

    def quality(a: argparse.Namespace) -> str:
        from softhubert_plugin.probing.label_quality import measure_labels

        return measure_labels(a.labels, a.manifest, a.alignments, dest=a.dest, label_rate=a.label_rate, **alignment_options(a))

    parser = commands.add(
        "quality",
        "measure labels against phone alignments: phone purity, cluster purity, PNMI and segment lengths",
        "softhubert labels quality exp/labels/valid.gmm --manifest exp/data/valid.tsv --alignments exp/data/alignments",
        quality,
    )
    parser.add_argument("labels", metavar="LABELS", help="a .gmm file, or a .km file with its dictionary beside it")
    parser.add_argument("--manifest", required=True, help="the split's .tsv")
    add_alignment_arguments(parser)
    parser.add_argument("--label-rate", type=positive, help="frames per second; needed for .km (default: the rate in the .gmm file)")
    parser.add_argument("--dest", help="file to write the measures to, as JSON (default: only print them)")
    _add_uncertainty(commands)


def _add_uncertainty(commands: Commands) -> None:
    def uncertainty(a: argparse.Namespace) -> str:
        from softhubert_plugin.uncertainty.measure import measure_uncertainty

        return measure_uncertainty(
            a.labels, a.manifest, a.dest, alignments=a.alignments, label_rate=a.label_rate, speaker_from=a.speaker_from,
            listen=a.listen, **alignment_options(a),
        )  # fmt: skip

    parser = commands.add(
        "uncertainty",
        "find out where labels are unsure: at phone boundaries, in which phones, for which speakers, and whether they are right when sure",
        "softhubert labels uncertainty exp/labels/valid.gmm --manifest exp/data/valid.tsv --alignments exp/data/alignments "
        "--dest exp/uncertainty --listen 6",
        uncertainty,
    )
    parser.add_argument("labels", metavar="LABELS", help="a .gmm file, packed or not, or a .km file with its dictionary beside it")
    parser.add_argument("--manifest", required=True, help="the split's .tsv")
    add_alignment_arguments(parser, without="only what needs no phones")
    add_speaker_argument(parser)
    parser.add_argument("--label-rate", type=positive, help="frames per second; needed for .km (default: the rate in the .gmm file)")
    parser.add_argument("--dest", required=True, help="folder to write uncertainty.json, uncertainty.md and SVG figures to")
    parser.add_argument(
        "--listen",
        type=whole,
        default=0,
        metavar="N",
        help="also write listen.html, one page with the sound of N utterances, the least and the most unsure ones of many speakers, and a "
        "cursor that moves with it over spectrogram, posteriors, entropy and phones (default: no page)",
    )
