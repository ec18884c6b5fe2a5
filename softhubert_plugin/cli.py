"""The ``softhubert`` command. It parses the command line, calls one function of one stage and prints its result.

Positional arguments keep the order of fairseq's own scripts. A stage is imported only when its command runs, so that ``-h`` is fast and
clustering works on a machine without fairseq.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Iterator, Optional, Sequence

from softhubert_plugin.commands.corpora import add_corpus, add_manifest
from softhubert_plugin.commands.exchange import add_export, add_fairseq_tool, add_import
from softhubert_plugin.commands.features import add_features
from softhubert_plugin.commands.gmm import add_gmm
from softhubert_plugin.commands.labels import add_labels
from softhubert_plugin.commands.parser import Commands, Parser
from softhubert_plugin.commands.probing import add_probing
from softhubert_plugin.commands.recipes import add_recipes
from softhubert_plugin.commands.recognition import add_recognition
from softhubert_plugin.commands.reporting import add_reporting
from softhubert_plugin.errors import SoftHubertError, exit_with
from softhubert_plugin.terminal import say, standard_streams
from softhubert_plugin.version import __version__


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = Parser(prog="softhubert", description="Pretrain HuBERT models on uncertain targets, from speech to a word error rate.")
    parser.add_argument("--version", action="version", version=f"softhubert {__version__}")
    commands = Commands(parser)
    add_corpus(commands.group("corpus", "make a small corpus for first experiments"))
    add_manifest(commands.group("manifest", "write manifests and transcripts in fairseq's formats"))
    add_features(commands.group("features", "compute features of a split, shard by shard"))
    add_gmm(commands.group("gmm", "fit a Gaussian mixture, and label frames with its posteriors"))
    add_labels(commands.group("labels", "merge, inspect, convert, pack, verify and measure label files, and see where they are unsure"))
    add_probing(commands)
    add_recognition(commands)
    add_recipes(commands.group("recipe", "run a whole experiment: quickstart, study or librispeech"))
    add_reporting(commands)
    add_export(commands.group("export", "convert a checkpoint for transformers, torchaudio or stock fairseq"))
    add_import(commands.group("import", "make a checkpoint from a model of another toolkit"))
    add_fairseq_tool(commands)
    return parser


# 128 + SIGTERM: what a shell reports for a process that SIGTERM ended.
TERMINATED = 143


@contextlib.contextmanager
def _cleaned_up_on_sigterm() -> Iterator[None]:
    """Make SIGTERM, which ``timeout``, ``kill`` and Slurm send, an exception, so that unfinished files are removed before the process ends.

    Recipes set a handler of their own meanwhile, and a process that was told to ignore the signal still does.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number: int, frame: Optional[FrameType]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        if os.getpid() != process:  # a worker that inherited this handler has nothing to clean up
            os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; by default the process's own.

    Returns:
        Exit status 0 on success. Bad input exits with status 2 and one line on stderr; a closed pipe exits with status 141 and no line, and
        SIGTERM with status 143.
    """
    try:
        with _cleaned_up_on_sigterm(), standard_streams():
            arguments = build_parser().parse_args(argv)
            message = arguments.run(arguments)
            if message:
                say(message)
    except SoftHubertError as error:
        exit_with(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
