"""The commands ``softhubert manifest table``, ``kaldi``, ``lhotse`` and ``huggingface``: corpora as people have them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Optional

from softhubert_plugin.commands.numbers import number, seed
from softhubert_plugin.commands.parser import Commands

_PRESETS = ("ljspeech", "commonvoice", "nemo")
_COLUMNS = {
    "path": "the audio file",
    "text": "the transcript",
    "speaker": "who speaks",
    "split": "the split, such as train or test",
    "start": "where the utterance starts in the file, in seconds",
    "duration": "how long it is, in seconds",
    "end": "where it ends, in seconds",
}


def add_any_corpus(commands: Commands) -> None:
    """Add the subcommands ``table``, ``kaldi``, ``lhotse`` and ``huggingface``."""
    _add_table(commands)
    _add_kaldi(commands)
    _add_lhotse(commands)
    _add_huggingface(commands)


def _add_table(commands: Commands) -> None:
    def table(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.table import table_form, write_table_manifests

        columns = {column: getattr(a, column) for column in _COLUMNS}
        form = table_form(
            a.preset, columns, delimiter=a.delimiter, header=not a.no_header, quoting=not a.no_quoting, pattern=a.path_pattern
        )
        return write_table_manifests(a.files, form, _wishes(a))

    parser = commands.add(
        "table",
        "write manifests, transcripts and speakers of a corpus that a table lists: CSV, TSV or JSON lines",
        "softhubert manifest table clips.csv --dest exp/data --path file --text sentence --speaker reader --normalise upper punctuation",
        table,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="tables, one utterance per row; SPLIT=FILE says which split a table is")
    parser.add_argument(
        "--preset",
        choices=_PRESETS,
        help="columns of a known kind of table: LJSpeech's metadata.csv, Common Voice's .tsv (each file a split of its own name), NeMo's "
        "JSON lines; the first two convert their audio to DEST/audio",
    )
    for column, meaning in _COLUMNS.items():
        required = "path" if column == "path" else f"{column}, if there is such a column"
        parser.add_argument(f"--{column}", metavar="COLUMN", help=f"column of {meaning} (default: {required})")
    parser.add_argument(
        "--path-pattern", metavar="PATTERN", help="what a value of the path column stands for, such as wavs/{}.wav (default: {})"
    )
    parser.add_argument("--delimiter", help="character between columns, or 'tab' (default: the one that fits the header)")
    parser.add_argument("--no-header", action="store_true", help="the first line is an utterance; columns are named 1, 2, …")
    parser.add_argument("--no-quoting", action="store_true", help="quotation marks belong to the text (default: they surround fields)")
    _add_root(parser, "the folder of the table")
    _add_common(parser)
    _add_resampling(parser)


def _add_kaldi(commands: Commands) -> None:
    def kaldi(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.kaldi import write_kaldi_manifests

        return write_kaldi_manifests(a.folders, _wishes(a))

    parser = commands.add(
        "kaldi",
        "write manifests, transcripts and speakers of data directories of Kaldi or ESPnet",
        "softhubert manifest kaldi train=data/train valid=data/dev test=data/test --dest exp/data",
        kaldi,
    )
    parser.add_argument(
        "folders", metavar="DIR", nargs="+", help="folders of wav.scp, segments, text and utt2spk; SPLIT=DIR says which split a folder is"
    )
    _add_root(parser, "the working directory, as in Kaldi")
    _add_common(parser)
    _add_resampling(parser)


def _add_lhotse(commands: Commands) -> None:
    def lhotse(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.lhotse_cuts import write_lhotse_manifests

        return write_lhotse_manifests(a.cuts, _wishes(a))

    parser = commands.add(
        "lhotse",
        "write manifests, transcripts, speakers and alignments of Lhotse's cut sets",
        "softhubert manifest lhotse train=cuts_train.jsonl.gz test=cuts_test.jsonl.gz --dest exp/data",
        lhotse,
    )
    parser.add_argument("cuts", metavar="CUTS", nargs="+", help="cut sets, .jsonl or .jsonl.gz; SPLIT=CUTS says which split a cut set is")
    _add_root(parser, "the working directory, as in Lhotse")
    _add_common(parser)
    _add_resampling(parser)


def _add_huggingface(commands: Commands) -> None:
    def huggingface(a: argparse.Namespace) -> str:
        from softhubert_plugin.corpora.huggingface import DatasetColumns, write_huggingface_manifests

        return write_huggingface_manifests(Path(a.folder), DatasetColumns(a.audio, a.text, a.speaker), _wishes(a))

    parser = commands.add(
        "huggingface",
        "write audio, manifests, transcripts and speakers of a data set that Hugging Face's datasets saved on the disk",
        "softhubert manifest huggingface saved_dataset --dest exp/data --text sentence --speaker client_id",
        huggingface,
    )
    parser.add_argument("folder", metavar="DIR", help="folder that datasets' save_to_disk wrote; its audio is unpacked to DEST/audio")
    parser.add_argument("--audio", metavar="COLUMN", default="audio", help="column of the audio (default: %(default)s)")
    parser.add_argument("--text", metavar="COLUMN", help="column of the transcript (default: text, if there is such a column)")
    parser.add_argument("--speaker", metavar="COLUMN", help="column of who speaks (default: speaker, if there is such a column)")
    _add_common(parser)


def _add_root(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--root", metavar="DIR", help=f"folder that relative paths of audio start from (default: {default})")


def _add_resampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resample-to",
        metavar="DIR",
        help="convert recordings that are not 16 kHz with one channel, and keep the FLAC files there (default: refuse them; segments of "
        "recordings are always cut to 16 kHz FLAC in DEST/audio)",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dest", required=True, help="folder to write {split}.tsv, .wrd, .ltr, .spk and dict.ltr.txt to")
    parser.add_argument(
        "--normalise",
        nargs="+",
        default=[],
        metavar="STEP",
        help="clean transcripts up: nfc or nfkc (Unicode form), marks (<UNK>, [noise]), punctuation, upper or lower; what was done is "
        "counted (default: only spaces are tidied)",
    )
    parser.add_argument(
        "--valid-percent",
        type=number,
        default=0.05,
        help="fraction of the speakers for validation, 0 to 1, if the corpus names no splits (default: %(default)s)",
    )
    parser.add_argument("--test-percent", type=number, default=0.05, help="fraction of the speakers for the test (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=42, help="random seed for the choice of speakers (default: %(default)s)")
    parser.add_argument("--by-utterance", action="store_true", help="let splits share speakers (default: only if speakers are not known)")
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out utterances that cannot be used, and say why for each (default: stop)"
    )


def _wishes(a: argparse.Namespace) -> Any:
    from softhubert_plugin.corpora.assemble import Wishes
    from softhubert_plugin.corpora.division import Division

    def path(value: Optional[str]) -> Optional[Path]:
        return None if value is None else Path(value)

    return Wishes(
        dest=Path(a.dest),
        root=path(getattr(a, "root", None)),
        normalise=a.normalise,
        division=Division(a.valid_percent, a.test_percent, a.seed, a.by_utterance),
        resample_to=path(getattr(a, "resample_to", None)),
        skip_unreadable=a.skip_unreadable,
    )
