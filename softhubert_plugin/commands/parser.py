"""The pieces every subcommand is made of: a parser that reports in one line, and help that ends with an example."""

from __future__ import annotations

import argparse
from typing import Callable

from softhubert_plugin.errors import SoftHubertError, exit_with

Run = Callable[[argparse.Namespace], str]


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as everything else is reported: one line, status 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        exit_with(SoftHubertError(f"{message}; see '{self.prog} -h'"))


class Commands:
    """Subcommands of one parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=Parser, required=True)

    def add(self, name: str, summary: str, example: str, run: Run) -> argparse.ArgumentParser:
        """A subcommand whose help ends with an example."""
        parser = self._subparsers.add_parser(
            name, help=summary, description=summary, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, summary: str) -> Commands:
        """A subcommand with subcommands of its own."""
        return Commands(self._subparsers.add_parser(name, help=summary, description=summary))


def add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    """``NSHARD RANK``, as fairseq's scripts take them."""
    parser.add_argument("nshard", metavar="NSHARD", type=int, help="number of shards")
    parser.add_argument("rank", metavar="RANK", type=int, help="which of them, from 0")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """``--device``, with the same meaning and default in every command."""
    parser.add_argument("--device", help="where to compute: cpu, cuda, cuda:1, … (default: a GPU if there is one)")


def add_alignment_arguments(parser: argparse.ArgumentParser) -> None:
    """``--alignments`` and ``--phones``."""
    parser.add_argument(
        "--alignments",
        required=True,
        help="folder of .TextGrid, .lab or .phn files named by utterance, or a .ctm, or fairseq's 'utterance<TAB>phone,phone,…'",
    )
    parser.add_argument("--phones", help="phone set: arpabet, timit, espeak, letters or asis (default: found out from the alignments)")
