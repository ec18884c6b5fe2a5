"""``softhubert report``, ``softhubert doctor`` and ``softhubert configs``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.errors import SoftHubertError


def add_reporting(commands: Commands) -> None:
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

    def configs(a: argparse.Namespace) -> str:
        from softhubert_plugin.configurations import configuration_folder

        return str(configuration_folder())

    commands.add("configs", "the folder of the hydra configurations, for fairseq's --config-dir", "softhubert configs", configs)
