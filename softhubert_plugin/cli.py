"""The ``softhubert`` command: parses, calls one function of one stage, prints its result.

Positional arguments keep the order of fairseq's own scripts. Each stage is imported only when it is asked for, so that ``-h`` is
instant and clustering works on a machine without fairseq.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Callable, Optional, Sequence

from softhubert_plugin import __version__
from softhubert_plugin.errors import SoftHubertError, exit_with

Run = Callable[[argparse.Namespace], str]


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as everything else is reported: one line, status 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        exit_with(SoftHubertError(f"{message}; see '{self.prog} -h'"))


class _Commands:
    """Subcommands of one parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser, required=True)

    def add(self, name: str, summary: str, example: str, run: Run) -> argparse.ArgumentParser:
        """A subcommand whose help ends with an example."""
        parser = self._subparsers.add_parser(
            name, help=summary, description=summary, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, summary: str) -> _Commands:
        """A subcommand with subcommands of its own."""
        return _Commands(self._subparsers.add_parser(name, help=summary, description=summary))


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(prog="softhubert", description="HuBERT pretraining on uncertain targets, from speech to a word error rate.")
    parser.add_argument("--version", action="version", version=f"softhubert {__version__}")
    commands = _Commands(parser)
    _add_corpus(commands.group("corpus", "make a small corpus to try things on"))
    _add_manifest(commands.group("manifest", "list audio files and transcripts as fairseq wants them"))
    _add_features(commands.group("features", "write features of a split, shard by shard"))
    _add_gmm(commands.group("gmm", "fit a Gaussian mixture, and label frames with its posteriors"))
    _add_labels(commands.group("labels", "merge, inspect and verify label files"))
    _add_asr(commands)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; 0 on success, 2 for bad input with one line on stderr."""
    arguments = build_parser().parse_args(argv)
    try:
        message = arguments.run(arguments)
    except SoftHubertError as error:
        exit_with(error)
    except BrokenPipeError:  # the reader of our output has gone: nothing to report, and nobody to report it to
        sys.stderr.close()
        return 0
    if message:
        print(message)
    return 0


def _add_corpus(commands: _Commands) -> None:
    def spoken(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.spoken import make_spoken_corpus

        return make_spoken_corpus(a.dest, utterances=a.utterances, speakers=a.speakers, seed=a.seed)

    parser = commands.add(
        "spoken",
        "synthetic commands and digits, spoken by eSpeak NG, with transcripts and phone alignments",
        "softhubert corpus spoken exp/data --utterances 1500 --speakers 12",
        spoken,
    )
    parser.add_argument("dest", metavar="DEST", help="folder for audio, manifests, transcripts and alignments")
    parser.add_argument("--utterances", type=int, default=1500, help="utterances in all (default: %(default)s)")
    parser.add_argument("--speakers", type=int, default=12, help="voices in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same corpus (default: %(default)s)")

    def digits(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.digits import make_digits_corpus

        return make_digits_corpus(a.recordings, a.dest, utterances=a.utterances, seed=a.seed)

    parser = commands.add(
        "digits",
        "digit strings joined from recordings of the Free Spoken Digit Dataset",
        "softhubert corpus digits free-spoken-digit-dataset/recordings exp/data",
        digits,
    )
    parser.add_argument("recordings", metavar="RECORDINGS", help="folder of {digit}_{speaker}_{take}.wav")
    parser.add_argument("dest", metavar="DEST", help="folder for audio, manifests and transcripts")
    parser.add_argument("--utterances", type=int, default=300, help="digit strings a speaker (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same corpus (default: %(default)s)")


def _add_manifest(commands: _Commands) -> None:
    def folder(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.folder import write_folder_manifest

        return write_folder_manifest(a.root, a.dest, extension=a.ext, valid_percent=a.valid_percent, seed=a.seed)

    parser = commands.add(
        "folder",
        "train.tsv and valid.tsv of all audio files below a folder",
        "softhubert manifest folder /data/speech --dest exp/data --ext flac --valid-percent 0.01",
        folder,
    )
    parser.add_argument("root", metavar="ROOT", help="folder that holds the audio, at any depth")
    parser.add_argument("--dest", required=True, help="where to write the manifests")
    parser.add_argument("--ext", default="flac", help="file name extension (default: %(default)s)")
    parser.add_argument("--valid-percent", type=float, default=0.01, help="share set aside for validation, 0 to 1 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="of the choice of validation files (default: %(default)s)")

    def librispeech(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.librispeech import write_librispeech_manifests, write_speaker_splits

        if a.by_speaker:
            if len(a.subsets) != 1:
                raise SoftHubertError(f"--by-speaker splits one subset, {len(a.subsets)} were given")
            return write_speaker_splits(a.root, a.dest, subset=a.subsets[0], download=a.download)
        return write_librispeech_manifests(a.root, a.dest, subsets=a.subsets, download=a.download)

    parser = commands.add(
        "librispeech",
        "manifests, transcripts and letters of LibriSpeech subsets",
        "softhubert manifest librispeech /data --dest exp/data --subsets train-clean-100 dev-clean test-clean",
        librispeech,
    )
    parser.add_argument("root", metavar="ROOT", help="folder that holds LibriSpeech/")
    parser.add_argument("--dest", required=True, help="where to write {subset}.tsv, .wrd and .ltr")
    parser.add_argument("--subsets", nargs="+", required=True, help="train-clean-100, dev-clean, …")
    parser.add_argument("--download", action="store_true", help="fetch what is missing (torchaudio, openslr.org)")
    parser.add_argument("--by-speaker", action="store_true", help="split one subset into train, valid and test without common speakers")


def _add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nshard", metavar="NSHARD", type=int, help="number of shards")
    parser.add_argument("rank", metavar="RANK", type=int, help="which of them, from 0")


def _add_features(commands: _Commands) -> None:
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
    _add_shard_arguments(parser)
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
    _add_shard_arguments(parser)
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="where to write; several layers go to FEAT_DIR/layer{N}")


def _add_gmm(commands: _Commands) -> None:
    def learn(a: argparse.Namespace) -> str:
        from softhubert_plugin.gmm.learn_gmm import learn_gmm

        return learn_gmm(
            a.feat_dir,
            a.split,
            a.nshard,
            a.gmm_path,
            a.n_components,
            percent=a.percent,
            max_frames=a.max_frames,
            covariance_type=a.covariance,
            pca=a.pca,
            whiten=a.whiten,
            perplexity=None if a.perplexity == 0 else a.perplexity,
            iterations=a.iterations,
            seed=a.seed,
        )

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
    parser.add_argument("--max-frames", type=int, default=200_000, help="fit on at most so many frames (default: %(default)s)")
    parser.add_argument("--covariance", choices=["diag", "spherical", "tied", "full"], default="diag", help="default: %(default)s")
    parser.add_argument("--pca", type=int, metavar="D", help="reduce to D principal components first")
    parser.add_argument("--whiten", action="store_true", help="scale principal components to unit variance")
    parser.add_argument(
        "--perplexity", type=float, default=4.0, help="mean perplexity of the posteriors; 0: as they come (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=100, help="EM iterations at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of sample and start (default: %(default)s)")

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
        )

    parser = commands.add(
        "dump",
        "label a shard of features with a mixture's posteriors",
        "softhubert gmm dump exp/mfcc train exp/gmm.safetensors 1 0 exp/labels",
        dump,
    )
    parser.add_argument("feat_dir", metavar="FEAT_DIR", help="folder of feature shards")
    parser.add_argument("split", metavar="SPLIT", help="train, valid, …")
    parser.add_argument("gmm_path", metavar="GMM_PATH", help="mixture file")
    _add_shard_arguments(parser)
    parser.add_argument("lab_dir", metavar="LAB_DIR", help="where to write {split}_{rank}_{nshard}.gmm")
    parser.add_argument("--mass", type=float, default=0.999, help="probability kept a frame (default: %(default)s)")
    parser.add_argument("--max-components", type=int, default=16, help="entries kept a frame at most (default: %(default)s)")
    parser.add_argument("--temperature", type=float, help="instead of the calibrated one")
    parser.add_argument("--label-rate", type=float, help="frames a second, for features of fairseq's scripts (MFCC: 100, HuBERT: 50)")
    parser.add_argument("--hard", action="store_true", help="write the most probable component as fairseq's .km instead")


def _add_labels(commands: _Commands) -> None:
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


def _add_asr(commands: _Commands) -> None:
    def decode(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.decode import decode_split

        return decode_split(a.data, a.split, a.checkpoint, a.dest, max_seconds=a.max_seconds)

    parser = commands.add(
        "decode",
        "greedy CTC decoding of a split with a fine-tuned checkpoint",
        "softhubert decode exp/data test exp/soft/finetune/checkpoint_best.pt exp/soft/decode/test",
        decode,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of the manifest and, for references, its .ltr")
    parser.add_argument("split", metavar="SPLIT", help="test, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument("dest", metavar="DEST", help="where to write hypo.word, hypo.units, ref.word, ref.units and generate.txt")
    parser.add_argument("--max-seconds", type=float, default=80.0, help="audio in one batch (default: %(default)s)")

    def score(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.score import score_files

        result = score_files(a.hyp, a.ref)
        if a.dest:
            result.save(a.dest)
        return result.summary()

    parser = commands.add(
        "score",
        "word error rate with its confidence interval",
        "softhubert score exp/soft/decode/test/hypo.word exp/soft/decode/test/ref.word",
        score,
    )
    parser.add_argument("hyp", metavar="HYP", help="hypotheses, 'WORDS (id)' a line")
    parser.add_argument("ref", metavar="REF", help="references, likewise")
    parser.add_argument("--dest", help="also write the result as JSON")

    def report(a: argparse.Namespace) -> str:
        from softhubert_plugin.report import write_report

        return write_report(a.experiments, a.dest)

    parser = commands.add(
        "report",
        "compare experiments: a table, index.html, results.json and results.md",
        "softhubert report exp/km exp/gmm --dest exp/report",
        report,
    )
    parser.add_argument("experiments", metavar="EXP_DIR", nargs="+", help="experiment folders, the baseline first")
    parser.add_argument("--dest", required=True, help="where to write the report")

    def doctor(a: argparse.Namespace) -> str:
        from softhubert_plugin.doctor import diagnose

        text, problems = diagnose()
        if problems:
            print(text)
            raise SoftHubertError(f"{problems} problem(s) in this environment, listed above")
        return text

    commands.add("doctor", "versions, and what is wrong with them", "softhubert doctor", doctor)


if __name__ == "__main__":
    sys.exit(main())
