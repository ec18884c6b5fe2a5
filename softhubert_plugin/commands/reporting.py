"""The commands ``softhubert report``, ``doctor``, ``configs`` and ``plan``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.numbers import number, whole
from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.terminal import say


def add_reporting(commands: Commands) -> None:
    """Add the commands ``report``, ``doctor``, ``configs`` and ``plan``."""

    def report(a: argparse.Namespace) -> str:
        from softhubert_plugin.report import write_report

        return write_report(a.experiments, a.dest, compare=a.compare)

    parser = commands.add(
        "report",
        "compare experiments: print a table, and write index.html, results.json and results.md",
        "softhubert report exp/km-1 exp/km-2 exp/gmm-1 exp/gmm-2 --dest exp/report",
        report,
    )
    parser.add_argument(
        "experiments",
        metavar="EXP_DIR",
        nargs="+",
        help='experiment folders or saved runs, those of the baseline first; runs with other "seed"s are compared over seeds',
    )
    parser.add_argument("--dest", required=True, help="folder to write the report to")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        action="append",
        default=[],
        help="compare these two systems, by the names in the report, such as --compare argmax soft; again for more pairs (default: every "
        "system with the first one)",
    )

    def doctor(a: argparse.Namespace) -> str:
        from softhubert_plugin.doctor import diagnose

        text, problems = diagnose()
        if problems:
            say(text)
            raise SoftHubertError(f"{problems} problem(s) in this environment; the report above lists them, with remedies")
        return text

    commands.add("doctor", "print the versions in this environment, and any problems with their remedies", "softhubert doctor", doctor)

    def configs(a: argparse.Namespace) -> str:
        from softhubert_plugin.configurations import configuration_folder

        return str(configuration_folder())

    commands.add("configs", "print the folder of the hydra configurations, for fairseq's --config-dir", "softhubert configs", configs)

    def plan(a: argparse.Namespace) -> str:
        from softhubert_plugin.planning import plan_tables

        if min(a.hours) <= 0 or a.systems < 1 or a.gpus < 1 or (a.percent is not None and not 0 < a.percent <= 1):
            raise SoftHubertError("plan: expected hours, --systems and --gpus above 0, and --percent above 0 and at most 1")
        return plan_tables(a.hours, a.systems, a.gpus, a.percent)

    parser = commands.add(
        "plan",
        "estimate disk space, CPU hours and GPU hours of the LibriSpeech recipe",
        "softhubert plan 100 960 60000 --systems 2 --gpus 8",
        plan,
    )
    parser.add_argument(
        "hours", metavar="HOURS", nargs="+", type=number, help="hours of speech to pretrain on; above 10000, the Large model is planned"
    )
    parser.add_argument("--systems", type=whole, default=2, help="number of pretraining targets to compare (default: %(default)s)")
    parser.add_argument("--gpus", type=whole, default=8, help="number of GPUs used at the same time (default: %(default)s)")
    parser.add_argument(
        "--percent", type=number, help="fraction of the speech for probing and clustering, 0 to 1 (default: 0.1, and at most 100 hours)"
    )
