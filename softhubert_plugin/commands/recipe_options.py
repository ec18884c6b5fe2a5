"""What the recipes have in common on the command line: their options, and what is made of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple

from softhubert_plugin.commands.numbers import amount, count, number, seed, whole
from softhubert_plugin.errors import SoftHubertError

if TYPE_CHECKING:
    from softhubert_plugin.recipes.stages import Stage
    from softhubert_plugin.recipes.study import Study


def add_updates(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the lengths of training, and say what they are by default."""
    for kind in ("pretrain", "finetune"):
        parser.add_argument(f"--{kind}-updates", type=count, metavar="N", help=f"length of training (default: {default})")


def add_data(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add a folder of manifests and the names of its splits."""
    parser.add_argument("--data", required=required, help="folder of manifests, .wrd and .ltr, from 'softhubert manifest'")
    for name, text in (
        ("train", "split to train on"),
        ("valid", "split to validate and tune on"),
        ("tests", "splits to decode, in quotes"),
    ):
        parser.add_argument(f"--{name}", required=required, metavar="S", help=text)


def add_common(
    parser: argparse.ArgumentParser, systems: str, seeds: str, *, valid_utterances: int = 0, percent: Optional[float] = 0.0,
    all_speech: bool = False,
) -> None:  # fmt: skip
    """Add what every recipe compares.

    Args:
        all_speech: whether clusterers are fitted on all of the speech, in one shard.
    """
    _add_running(parser)
    parser.add_argument(
        "--systems",
        default=systems,
        help="what to compare, the baseline first, or @FILE with one a line: km, km-soft, gmm, gmm-argmax, gmm-smooth, gmm-shuffle, "
        "distil; with settings, as in gmm,perplexity=8 or gmm,size=small (default: '%(default)s')",
    )
    parser.add_argument("--perplexity", type=number, default=4.0, help="of soft targets that do not name theirs (default: %(default)s)")
    parser.add_argument("--seeds", help=f"seeds of clustering, initialisation, masks and order, in quotes (default: '{seeds}')")
    parser.add_argument("--seed", help="the same as --seeds, for one seed")
    parser.set_defaults(default_seeds=seeds)
    parser.add_argument("--exp", help="folder of the experiment (default: named by the settings, in --exps)")
    parser.add_argument("--exps", default="exp", help="folder of all experiments (default: %(default)s)")
    parser.add_argument("--partial-alignments", action="store_true", help="measure on those utterances that have alignments")
    parser.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar="SYSTEM",
        help="two of the systems, as --systems names them, that the report compares; again for more (default: all with the baseline)",
    )
    parser.add_argument(
        "--results", metavar="DIR", help="save finished runs there, a small file each; those that are there are not run again"
    )
    parser.add_argument("--alignments", default="", help="phone alignments of the training split, to probe on and to measure labels with")
    parser.add_argument(
        "--valid-utterances", type=amount, default=valid_utterances, metavar="N",
        help="at most so many utterances for validation during training; 0 for all (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(nshard=1, percent=percent)
    if all_speech:
        return
    parser.add_argument("--percent", type=number, metavar="P", help="share of the speech to fit clusterers on, 0 to 1; 0 for all")
    parser.add_argument("--nshard", type=count, metavar="N", help="shards of features and labels (default: %(default)s)")


def _add_running(parser: argparse.ArgumentParser) -> None:
    for name, default, text in (("stage", 0, "first"), ("stop-stage", 10, "last")):
        parser.add_argument(f"--{name}", type=whole, default=default, metavar="N", help=f"{text} stage to run (default: %(default)s)")
    parser.add_argument("--device", default="", help="of everything but training: cpu, cuda, … (default: a GPU if there is one)")
    parser.add_argument("--jobs", type=count, metavar="N", help="stages that run side by side (default: tiny one a core, else one a GPU)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, and do nothing")
    parser.add_argument("--slurm", action="store_true", help="run each stage as a job, through submitit")
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm", help="with --slurm: local runs the jobs on this machine")
    parser.add_argument("--partition", default="", help="with --slurm: the partition")


def study_of(a: argparse.Namespace, exp: str, data: str, splits: Sequence[str], **settings: Any) -> Study:
    """Make the settings of a study of the options of :func:`add_common`.

    Args:
        a: the options.
        exp: folder of the experiment.
        data: folder of the manifests.
        splits: those to train, to validate and to test on, in this order.
        settings: the study's other settings.

    Raises:
        SoftHubertError: the systems, seeds or comparisons are malformed, or a perplexity or a share is out of range.
    """
    from softhubert_plugin.recipes.study import Study
    from softhubert_plugin.recipes.systems import parse_system, parse_systems

    systems = tuple(parse_systems(a.systems, a.perplexity))
    pairs = tuple((parse_system(first, a.perplexity), parse_system(second, a.perplexity)) for first, second in a.compare)
    strange = [system.name for pair in pairs for system in pair if system not in systems]
    if strange:
        raise SoftHubertError(f"--compare: {strange[0]} is not one of --systems {a.systems!r}")
    if any(first == second for first, second in pairs) or len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise SoftHubertError("--compare: expected pairs of two systems, each pair once")
    if a.alignments and not a.dry_run and not os.path.exists(a.alignments):
        raise SoftHubertError(f"--alignments {a.alignments}: not there; give a folder or a file of phone alignments")
    most = min(settings["clusters"])
    for system in systems:
        if system.clusterer in ("gmm", "km-soft") and not 1 < system.perplexity < most:
            raise SoftHubertError(
                f"--systems: {system.kind} has perplexity {system.perplexity:g}; expected more than 1 and less than {most}"
            )
    if not 0 <= (a.percent or 0) <= 1:
        raise SoftHubertError(f"--percent {a.percent:g}: expected a share from 0 to 1")
    return Study(
        exp, data, splits[0], splits[1], tuple(splits[2:]), seeds_of(a), systems, compare=pairs, partial_alignments=a.partial_alignments,
        valid_utterances=a.valid_utterances, percent=a.percent or 0.0, device=a.device, nshard=a.nshard,
        alignments=str(Path(a.alignments).resolve()) if a.alignments else "",
        results=str(Path(a.results).resolve()) if a.results else "", **settings,
    )  # fmt: skip


def start_study(a: argparse.Namespace, study: Study, data: Sequence[Stage], aligner: Sequence[Stage] = (), alignments: str = "") -> str:
    """Run the stages, or print their commands."""
    from softhubert_plugin.recipes.road import LAST_STAGE, all_stages
    from softhubert_plugin.recipes.stages import Graph, script

    if not 0 <= a.stage <= a.stop_stage <= LAST_STAGE:
        raise SoftHubertError(f"--stage {a.stage} --stop-stage {a.stop_stage}: stages are 0 to {LAST_STAGE}, in order")
    graph = Graph(all_stages(study, data, aligner, alignments))
    chosen = [stage for stage in graph.stages if a.stage <= stage.number <= a.stop_stage]
    if not chosen:
        there = " ".join(map(str, sorted({stage.number for stage in graph.stages})))
        raise SoftHubertError(f"--stage {a.stage} --stop-stage {a.stop_stage}: this recipe has no such stages; it has {there}")
    if a.dry_run:
        return script(chosen)
    from softhubert_plugin.manifests import refuse_name
    from softhubert_plugin.recipes.start import start

    refuse_name(study.exp, of_root=True)  # before anything is made in it
    settings = {**{key: value for key, value in vars(a).items() if not callable(value)}, "experiments": study.experiments}
    cluster = a.cluster if a.slurm else ""
    return start(graph, chosen, Path(study.exp), settings, jobs=a.jobs, tiny=study.training.tiny, cluster=cluster, partition=a.partition)


def experiment_folder(a: argparse.Namespace, name: str) -> str:
    """The folder that was asked for, otherwise that of this name."""
    return str(Path(a.exp or f"{a.exps}/{name}").resolve())


def speech_folder() -> Path:
    """Where speech is, unless the user says so."""
    return Path(os.environ.get("SOFTHUBERT_SPEECH", "../shared/speech"))


def seeds_of(a: argparse.Namespace) -> Tuple[int, ...]:
    """The seeds that were asked for.

    Raises:
        SoftHubertError: they are no whole numbers, or one is there twice.
    """
    try:
        seeds = tuple(map(seed, (a.seeds or a.seed or a.default_seeds).split()))
    except argparse.ArgumentTypeError as error:
        raise SoftHubertError(f"--seeds: {error}") from None
    if not seeds or len(set(seeds)) < len(seeds) or (a.seeds and a.seed):
        raise SoftHubertError(f"--seeds '{a.seeds or a.seed}': expected whole numbers, each once, in --seeds or --seed")
    return seeds


def data_splits(a: argparse.Namespace) -> Tuple[str, Tuple[str, ...]]:
    """The folder of :func:`add_data`, and the splits to train, to validate and to test on.

    Raises:
        SoftHubertError: a name or a file is missing, or a split is named twice.
    """
    data = str(Path(a.data).resolve())
    if not (a.train and a.valid and a.tests):
        raise SoftHubertError("--data needs --train, --valid and --tests, the names of its splits")
    splits = (a.train, a.valid, *a.tests.split())
    for split in splits:
        for suffix in ("tsv", "wrd", "ltr"):
            needed(f"{data}/{split}.{suffix}")
    needed(f"{data}/dict.ltr.txt")
    if len(set(splits)) < len(splits):
        raise SoftHubertError(f"--train, --valid, --tests: '{' '.join(splits)}' names a split twice")
    return data, splits


def needed(path: str) -> None:
    """Refuse a file of the manifests that is not there."""
    if not os.path.isfile(path):
        raise SoftHubertError(f"{path}: no such file; make it with 'softhubert manifest'")
