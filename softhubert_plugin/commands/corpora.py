"""The commands ``softhubert corpus`` and ``softhubert manifest``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.manifests import add_any_corpus
from softhubert_plugin.commands.numbers import number, seed, whole
from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.errors import SoftHubertError


def add_corpus(commands: Commands) -> None:
    """Add the subcommands ``spoken`` and ``digits``."""

    def spoken(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.spoken import make_spoken_corpus

        return make_spoken_corpus(a.dest, utterances=a.utterances, speakers=a.speakers, seed=a.seed)

    parser = commands.add(
        "spoken",
        "make a corpus of commands and digits spoken by eSpeak NG, with transcripts and phone alignments",
        "softhubert corpus spoken exp/data --utterances 1500 --speakers 12",
        spoken,
    )
    parser.add_argument("dest", metavar="DEST", help="folder to write audio, manifests, transcripts and alignments to")
    parser.add_argument("--utterances", type=whole, default=1500, help="number of utterances, all splits together (default: %(default)s)")
    parser.add_argument("--speakers", type=whole, default=12, help="number of voices, all splits together (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=1, help="random seed; the same seed gives the same corpus (default: %(default)s)")

    def digits(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.digits import make_digits_corpus

        return make_digits_corpus(a.recordings, a.dest, utterances=a.utterances, seed=a.seed, test_speaker=a.test_speaker)

    parser = commands.add(
        "digits",
        "make a corpus of digit strings, joined from recordings of the Free Spoken Digit Dataset",
        "softhubert corpus digits free-spoken-digit-dataset/recordings exp/data",
        digits,
    )
    parser.add_argument("recordings", metavar="RECORDINGS", help="folder of recordings named {digit}_{speaker}_{take}.wav")
    parser.add_argument("dest", metavar="DEST", help="folder to write audio, manifests and transcripts to")
    parser.add_argument("--utterances", type=whole, default=300, help="number of digit strings per speaker (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=1, help="random seed; the same seed gives the same corpus (default: %(default)s)")
    parser.add_argument("--test-speaker", default="", metavar="NAME", help="speaker to test on (default: the last one)")


def add_manifest(commands: Commands) -> None:
    """Add the subcommands ``folder`` and ``librispeech``, and those of :mod:`softhubert_plugin.commands.manifests`."""

    def folder(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.folder import write_folder_manifest

        return write_folder_manifest(
            a.root,
            a.dest,
            extension=",".join(a.ext or ["flac"]),
            valid_percent=a.valid_percent,
            seed=a.seed,
            skip_unreadable=a.skip_unreadable,
            resample_to=a.resample_to,
        )

    parser = commands.add(
        "folder",
        "write train.tsv and valid.tsv of all audio files below a folder, at any sample rate with --resample-to",
        "softhubert manifest folder /data/speech --dest exp/data --ext wav,mp3 --resample-to exp/audio --valid-percent 0.01",
        folder,
    )
    parser.add_argument("root", metavar="ROOT", help="folder that contains the audio, at any depth; links to other folders are followed")
    parser.add_argument("--dest", required=True, help="folder to write the manifests to")
    parser.add_argument(
        "--ext",
        action="append",
        help="file name extension of the audio, in any case; several as wav,flac or by repeating it (default: flac)",
    )
    parser.add_argument(
        "--valid-percent", type=number, default=0.01, help="fraction of the files for validation, 0 to 1 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=seed, default=42, help="random seed for the choice of validation files (default: %(default)s)")
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out files that are damaged, cut short or empty, or whose names a manifest cannot hold, and name them (default: stop)",
    )
    parser.add_argument(
        "--resample-to",
        metavar="DIR",
        help="copy all files to DIR as 16 kHz FLAC with one channel, and list the copies; run again, it makes only those that are missing",
    )

    def librispeech(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.librispeech import write_librispeech_manifests, write_speaker_splits

        if a.by_speaker:
            if len(a.subsets) != 1:
                raise SoftHubertError(f"--by-speaker: expected one subset in --subsets, found {len(a.subsets)}; give one")
            if a.combine or a.limited:
                raise SoftHubertError("--by-speaker: writes train, valid and test only; leave --combine and --limited out")
            return write_speaker_splits(a.root, a.dest, subset=a.subsets[0], download=a.download, partial=a.partial)
        options = {"download": a.download, "partial": a.partial, "combine": a.combine, "limited": a.limited}
        return write_librispeech_manifests(a.root, a.dest, subsets=a.subsets, **options)

    parser = commands.add(
        "librispeech",
        "write manifests, transcripts and letters of LibriSpeech subsets",
        "softhubert manifest librispeech /data --dest exp/data --subsets train-clean-100 dev-clean test-clean",
        librispeech,
    )
    parser.add_argument("root", metavar="ROOT", help="folder that contains LibriSpeech/")
    parser.add_argument("--dest", required=True, help="folder to write {subset}.tsv, .wrd, .ltr and .spk to")
    parser.add_argument("--subsets", nargs="+", required=True, help="subsets to write: train-clean-100, dev-clean, …")
    parser.add_argument("--download", action="store_true", help="download missing subsets from openslr.org (with torchaudio)")
    parser.add_argument(
        "--partial", action="store_true", help="accept speakers with less speech than SPEAKERS.TXT lists (default: refuse them)"
    )
    parser.add_argument("--combine", metavar="NAME", help="also write all training subsets as one split with this name, such as train-960")
    parser.add_argument(
        "--limited", nargs="+", default=[], metavar="SET", help="also write small training sets train-SET; SET is 10h, 1h or 10min"
    )
    parser.add_argument("--by-speaker", action="store_true", help="split one subset into train, valid and test without common speakers")

    def subset(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.subset import write_subset

        return write_subset(a.data, a.split, a.part, utterances=a.utterances)

    parser = commands.add(
        "subset",
        "write the manifest, transcripts and speakers of a part of a split, drawn at random and always the same",
        "softhubert manifest subset exp/data dev-other dev-other-200 --utterances 200",
        subset,
    )
    parser.add_argument("data", metavar="DATA", help="folder of the manifests")
    parser.add_argument("split", metavar="SPLIT", help="name of the split to draw from")
    parser.add_argument("part", metavar="NAME", help="name of the part, for the files in DATA")
    parser.add_argument("--utterances", type=whole, required=True, metavar="N", help="size of the part")

    add_any_corpus(commands)
