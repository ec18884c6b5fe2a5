"""``softhubert plan``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.errors import SoftHubertError


def add_planning(commands: Commands) -> None:
    def plan(a: argparse.Namespace) -> str:
        from softhubert_plugin.planning import describe

        if min(a.hours) <= 0 or a.systems < 1 or a.gpus < 1 or not 0 < a.percent <= 1:
            raise SoftHubertError("plan: hours, --systems and --gpus are above 0, and --percent is a share from 0 to 1")
        return describe(a.hours, a.systems, a.gpus, a.percent)

    parser = commands.add(
        "plan", "disk, hours and GPUs that the LibriSpeech recipe will need", "softhubert plan 100 960 60000 --systems 2 --gpus 8", plan
    )
    parser.add_argument("hours", metavar="HOURS", nargs="+", type=float, help="hours of speech to pretrain on; over 10000: the Large model")
    parser.add_argument("--systems", type=int, default=2, help="pretraining targets compared (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=8, help="at work at once (default: %(default)s)")
    parser.add_argument("--percent", type=float, default=0.1, help="share of the speech for probing (default: %(default)s)")
