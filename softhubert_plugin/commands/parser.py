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
    parser.add_argument("nshard", metavar="NSHARD", type=int, help="number of shards")
    parser.add_argument("rank", metavar="RANK", type=int, help="which of them, from 0")
