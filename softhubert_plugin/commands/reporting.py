"""``softhubert report``, ``doctor``, ``configs`` and ``plan``."""

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

    def plan(a: argparse.Namespace) -> str:
        from softhubert_plugin.planning import plan_tables

        if min(a.hours) <= 0 or a.systems < 1 or a.gpus < 1 or not 0 < a.percent <= 1:
            raise SoftHubertError("plan: hours, --systems and --gpus are above 0, and --percent is a share from 0 to 1")
        return plan_tables(a.hours, a.systems, a.gpus, a.percent)

    parser = commands.add(
        "plan", "disk, hours and GPUs that the LibriSpeech recipe will need", "softhubert plan 100 960 60000 --systems 2 --gpus 8", plan
    )
    parser.add_argument("hours", metavar="HOURS", nargs="+", type=float, help="hours of speech to pretrain on; over 10000: the Large model")
    parser.add_argument("--systems", type=int, default=2, help="pretraining targets compared (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=8, help="at work at once (default: %(default)s)")
    parser.add_argument("--percent", type=float, default=0.1, help="share of the speech for probing (default: %(default)s)")
