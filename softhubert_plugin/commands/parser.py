"""Parts that every subcommand uses: a parser that reports errors in one line, help that ends with an example, and shared arguments."""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict

from softhubert_plugin.commands.numbers import positive, whole
from softhubert_plugin.errors import SoftHubertError, exit_with
from softhubert_plugin.terminal import say

Run = Callable[[argparse.Namespace], str]


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong command line as all other bad input: one line on stderr, exit status 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        exit_with(SoftHubertError(f"{message}; see '{self.prog} -h'"))

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print a help text or the version as all other output."""
        say(message, end="")


class Commands:
    """The subcommands of one parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=Parser, required=True)

    def add(self, name: str, summary: str, example: str, run: Run) -> argparse.ArgumentParser:
        """Add a subcommand.

        Args:
            name: name of the subcommand.
            summary: what it does, in one phrase.
            example: a full command line, shown at the end of its help.
            run: function of the parsed arguments; it returns the text to print.

        Returns:
            The subcommand's parser, to which its arguments are added.
        """
        parser = self._subparsers.add_parser(
            name, help=summary, description=summary, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, summary: str) -> Commands:
        """Add a subcommand that has subcommands of its own."""
        return Commands(self._subparsers.add_parser(name, help=summary, description=summary))


def add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``NSHARD RANK``, in the order of fairseq's scripts."""
    parser.add_argument("nshard", metavar="NSHARD", type=whole, help="number of shards")
    parser.add_argument("rank", metavar="RANK", type=whole, help="the shard to write, from 0 to NSHARD - 1")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, with the same meaning and default in every command."""
    parser.add_argument("--device", help="device to compute on: cpu, cuda, cuda:1, … (default: a GPU if there is one)")


def add_speaker_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--speaker-from``, with the same meaning in every command that asks who is speaking."""
    parser.add_argument(
        "--speaker-from",
        metavar="REGEX|folder",
        help="where there is no {split}.spk beside the manifest, how to find an utterance's speaker: a regular expression whose first "
        "group is the speaker, searched in the file name without extension, or else in the relative path (such as '_([a-z]+)_' for "
        "7_jackson_0), or 'folder' for the folder that the file is in (default: guessed from the file names, and said)",
    )


def add_alignment_arguments(parser: argparse.ArgumentParser, *, without: str = "") -> None:
    """Add ``--alignments``, ``--phones``, ``--units-per-second`` and ``--partial-alignments``.

    Args:
        without: what the command does without alignments; by default it needs them.
    """
    parser.add_argument(
        "--alignments",
        required=not without,
        help="folder of .TextGrid, .lab or .phn files named as the audio is (by relative path, or by name if that is unique), a .ctm file, "
        f"or fairseq's 'utterance<TAB>phone,phone,…' file{f' (default: {without})' if without else ''}",
    )
    parser.add_argument("--phones", help="phone set: arpabet, timit, espeak, letters or asis (default: detected from the alignments)")
    parser.add_argument(
        "--units-per-second",
        type=positive,
        metavar="N",
        help="unit of time of .lab and .phn files: 1, 1000 (ms), 10000000 (HTK), or the sample rate of the recordings that were aligned, "
        "such as 8000 (default: 1, 1000, 16000 or 10000000, whichever fits the audio)",
    )
    parser.add_argument("--partial-alignments", action="store_true", help="leave out utterances without alignment, however many they are")


def alignment_options(a: argparse.Namespace) -> Dict[str, Any]:
    """What :func:`add_alignment_arguments` has read, as :class:`~softhubert_plugin.alignments.utterances.Alignments` takes it."""
    return {"phone_set": a.phones, "units_per_second": a.units_per_second, "partly": a.partial_alignments}
