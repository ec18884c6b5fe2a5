"""The command ``softhubert recipe``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple

from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.errors import SoftHubertError

if TYPE_CHECKING:
    from softhubert_plugin.recipes.stages import Stage
    from softhubert_plugin.recipes.study import Study

# What Base is pretrained on, and the tiny configuration: splits, clusters of both iterations, updates, ….
_BASE_SUBSETS = "train-clean-100 train-clean-360 train-other-500 dev-clean dev-other test-clean test-other"


def add_recipes(commands: Commands) -> None:
    """Add the subcommands ``quickstart``, ``librispeech``, ``study``, ``status`` and ``describe``."""
    _add_quickstart(commands)
    _add_librispeech(commands)
    _add_study(commands)

    def status(a: argparse.Namespace) -> str:
        from softhubert_plugin.recipes.engine import status_table

        return status_table(Path(a.exp))

    parser = commands.add("status", "say which stages of an experiment are done", "softhubert recipe status exp/spoken-seed1", status)
    parser.add_argument("exp", metavar="DIR", help="folder of the experiment")

    def describe(a: argparse.Namespace) -> str:
        from softhubert_plugin.recipes.describe import describe_systems

        describe_systems(Path(a.exp), a.facts, a.system, a.save)
        return ""

    parser = commands.add(
        "describe",
        "describe the systems of an experiment for the report (recipes run this)",
        "softhubert recipe describe exp/spoken-seed1 corpus=spoken",
        describe,
    )
    parser.add_argument("exp", metavar="EXP_DIR", help="folder of the experiment")
    parser.add_argument("--system", default="", metavar="DIR", help="folder of the only system to describe (default: all)")
    parser.add_argument("--save", default="", metavar="FILE", help="save that system's run in one small file, which 'report' reads")
    parser.add_argument("facts", metavar="KEY=VALUE", nargs="*", help="what experiment.json says of all of them")


def _add_quickstart(commands: Commands) -> None:
    def quickstart(a: argparse.Namespace) -> str:
        from softhubert_plugin.recipes.quickstart import CORPORA, corpus
        from softhubert_plugin.recipes.study import Training

        size = CORPORA[a.corpus]
        root = str(Path(a.root).resolve()) if a.root else str((_speech() / size.speech).resolve()) if size.speech else ""
        if root and not a.download and not os.path.isdir(root):
            raise SoftHubertError(f"{root}: no such folder; give --root (see --help)")
        if a.test_speaker and a.corpus != "digits":
            raise SoftHubertError("--test-speaker is for --corpus digits")
        updates = _or(a.pretrain_updates, size.updates), _or(a.finetune_updates, size.finetune_updates)
        facts = (
            f"corpus={a.corpus}{f' ({os.path.basename(root)})' if root else ''}{f', tested on {a.test_speaker}' * bool(a.test_speaker)}",
            f"pretraining updates={updates[0]}",
            f"fine-tuning updates={updates[1]}",
        )
        exp = _exp(a, f"{a.corpus}-seed{_seeds(a)[0]}")
        # The corpus is small: its features stay, so that every stage can be looked into. Two voices, or one, are left to test on.
        study = _study(
            a, exp, f"{exp}/data", ("train", "valid", "test"), clusters=(size.clusters,), facts=facts, made=True, keep=True,
            by_speaker=False, training=Training(True, updates[:1], updates[1], max_tokens=size.max_tokens),
        )  # fmt: skip
        utterances = _or(a.utterances, size.utterances)
        made = corpus(study, a.corpus, root, utterances=utterances, subset=a.subset, download=a.download, test_speaker=a.test_speaker)
        return _start(a, study, [made])

    parser = commands.add(
        "quickstart",
        "the whole road in minutes on two CPU cores: a corpus, targets, pretraining, fine-tuning, a table",
        "softhubert recipe quickstart --seeds '1 2 3' --systems 'km gmm gmm-argmax'",
        quickstart,
    )
    parser.add_argument(
        "--corpus",
        choices=("spoken", "digits", "librispeech"),
        default="spoken",
        help="spoken: synthetic speech, made on the spot; digits: strings of real spoken digits, from the recordings of the Free Spoken "
        "Digit Dataset; librispeech: real read speech (default: %(default)s)",
    )
    parser.add_argument("--root", help="folder of the recordings, or the one that holds LibriSpeech/ (default: in $SOFTHUBERT_SPEECH)")
    parser.add_argument("--subset", default="dev-clean", help="LibriSpeech's subset, which is split by speaker (default: %(default)s)")
    parser.add_argument("--download", action="store_true", help="fetch the subset if it is not there")
    parser.add_argument("--test-speaker", default="", metavar="NAME", help="speaker of digits to test on (default: the last one)")
    parser.add_argument("--utterances", type=_count, metavar="N", help="size of spoken in all, of digits a speaker (default: 1200, 300)")
    _add_updates(parser)
    _add_common(parser, "km gmm", "1", whole=True)


def _add_study(commands: Commands) -> None:
    def study(a: argparse.Namespace) -> str:
        from softhubert_plugin.recipes.librispeech import data as language_model
        from softhubert_plugin.recipes.study import Training

        data, splits = _data_splits(a)
        training = Training(True, (a.pretrain_updates,), a.finetune_updates, max_tokens=a.max_tokens, crop=True)
        facts = (
            f"corpus={os.path.basename(data)} {a.train}",
            f"pretraining updates={_or(a.pretrain_updates, 'as configured')}",
            f"fine-tuning updates={_or(a.finetune_updates, 'as configured')}",
            f"clusters={a.clusters}",
            f"iterations={a.iterations}",
        )
        clusters, beam = (a.clusters,) * a.iterations, 10 if a.lm else 0
        exp = _exp(a, f"study-{os.path.basename(data)}")
        if a.iterations > 1 and not a.alignments:
            raise SoftHubertError("--iterations 2 needs --alignments: probing on phones chooses the layer whose targets are next")
        probed = (data, a.probe) if a.probe else ("", "")
        study = _study(a, exp, data, splits, clusters=clusters, facts=facts, training=training, beam=beam, tune_on_part=True, probed=probed)
        return _start(a, study, [language_model(study, "", (), by_speaker=False, download=False)] if a.lm else [])

    parser = commands.add(
        "study",
        "compare systems and controls over seeds with a tiny model, on any corpus that has manifests",
        "softhubert recipe study --data exp/data --train train --valid valid --tests test --seeds '1 2 3 4 5'",
        study,
    )
    _add_data(parser, required=True)
    parser.add_argument("--clusters", type=_count, default=100, help="number of clusters (default: %(default)s)")
    parser.add_argument("--iterations", type=int, choices=(1, 2), default=1, help="2: targets from a layer, too (default: %(default)s)")
    parser.add_argument("--lm", action="store_true", help="decode with a trigram of the training text, too")
    parser.add_argument("--probe", metavar="S", help="split that models are probed on, with --alignments (default: the training split)")
    parser.add_argument("--max-tokens", type=_count, default=600_000, help="samples in a batch of fine-tuning (default: %(default)s)")
    _add_updates(parser)
    _add_common(parser, "km gmm gmm-argmax gmm-smooth gmm-shuffle km-soft", "1 2 3 4 5", valid_utterances=200, percent=0.0)


def _add_librispeech(commands: Commands) -> None:
    def librispeech(a: argparse.Namespace) -> str:
        from softhubert_plugin.recipes.librispeech import aligner, data
        from softhubert_plugin.recipes.study import Training

        tiny = a.config == "tiny"
        subsets = tuple((a.subsets or ("train-clean-100" if tiny else _BASE_SUBSETS)).split())
        by_speaker = not a.data and len(subsets) == 1 and not (a.train or a.valid or a.tests)
        exp = _exp(a, f"librispeech-{a.config}")
        if a.data:
            folder, splits = _data_splits(a)
        else:
            folder = f"{exp}/data"
            names = ("train", "valid", "test") if by_speaker else ("train-960", "dev-other", "test-clean test-other")
            splits = (a.train or names[0], a.valid or names[1], *(a.tests or names[2]).split())
            missing = [name for name in splits[1:] if name not in subsets] if not by_speaker else []
            if missing:
                raise SoftHubertError(f"--valid, --tests: {', '.join(missing)} is not one of --subsets '{' '.join(subsets)}'")
        updates = (_or(a.updates1, 800 if tiny else None), _or(a.updates2, 800 if tiny else None))
        training = Training(
            tiny, updates, _or(a.finetune_updates, 1500 if tiny else None), a.finetune or ("soft_hubert_tiny" if tiny else "base_100h"),
            tiny or bool(a.data), "" if tiny else a.pretrain_run, 400_000 if tiny else None, crop=True, continues=True,
        )  # fmt: skip
        corpus = "" if a.data else str(Path(a.corpus or _speech()).resolve())
        if corpus and not a.download and not a.dry_run and not os.path.isdir(f"{corpus}/LibriSpeech"):
            raise SoftHubertError(f"{corpus}/LibriSpeech: not there; give --corpus, or --download")
        a.percent = _or(a.percent, 0.0 if tiny else 0.1)
        study = _study(
            a, exp, folder, splits, training=training, made=not a.data, layers_dtype=a.layers_dtype,
            clusters=(_or(a.clusters1, 100), _or(a.clusters2, 100 if tiny else 500)), beam=_or(a.beam, 10 if tiny else 500),
            facts=(f"corpus={os.path.basename(folder) if a.data else 'LibriSpeech'} {splits[0]}", f"configuration={a.config}"),
            probed=(f"{exp}/all", subsets[0]) if by_speaker else ("", ""),
        )  # fmt: skip
        made = data(study, corpus, subsets, by_speaker=by_speaker, download=a.download)
        return _start(a, study, [made], *(([], "") if study.alignments else aligner(study, _or(a.align_updates, 600 if tiny else 25_000))))

    parser = commands.add(
        "librispeech",
        "two iterations from LibriSpeech, or your own corpus, to a table of word error rates",
        "softhubert recipe librispeech --config base --corpus /data --slurm --partition gpu",
        librispeech,
    )
    parser.add_argument(
        "--config",
        choices=("tiny", "base"),
        default="tiny",
        help="tiny: two CPU cores; base: HuBERT Base (default: %(default)s)",
    )
    parser.add_argument("--corpus", help="folder that holds LibriSpeech/ (default: $SOFTHUBERT_SPEECH)")
    parser.add_argument("--download", action="store_true", help="fetch subsets that are not there")
    parser.add_argument("--subsets", help="LibriSpeech's subsets; a single one is split by speaker unless --train and so on are given")
    _add_data(parser, required=False)
    for name, text in (
        ("clusters1", "clusters of iteration 1 (default: 100)"),
        ("clusters2", "clusters of iteration 2 (default: tiny 100, base 500)"),
        ("updates1", "updates of pretraining, iteration 1 (default: tiny 800, base 250000)"),
        ("updates2", "updates of pretraining, iteration 2 (default: tiny 800, base 400000)"),
        ("finetune-updates", "updates of fine-tuning (default: tiny 1500, base what --finetune says)"),
        ("align-updates", "updates of the model that aligns letters, without --alignments (default: tiny 600, base 25000)"),
        ("beam", "hypotheses kept in the search with the language model (default: tiny 10, base 500)"),
    ):
        parser.add_argument(f"--{name}", type=_count, metavar="N", help=text)
    parser.add_argument(
        "--layers-dtype", choices=("float16", "float32"), default="float16", help="of hidden states on disk (default: %(default)s)"
    )
    parser.add_argument("--finetune", help="configuration of fine-tuning (default: tiny soft_hubert_tiny, base base_100h)")
    parser.add_argument("--pretrain-run", default="one_node", help="a file of config/pretrain/run, for base (default: %(default)s)")
    _add_common(parser, "km gmm", "1", valid_utterances=200, percent=None)


def _add_updates(parser: argparse.ArgumentParser) -> None:
    for kind in ("pretrain", "finetune"):
        parser.add_argument(f"--{kind}-updates", type=_count, metavar="N", help="length of training (default: what suits the corpus)")


def _add_data(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--data", required=required, help="folder of manifests, .wrd and .ltr, from 'softhubert manifest'")
    for name, text in (
        ("train", "split to train on"),
        ("valid", "split to validate and tune on"),
        ("tests", "splits to decode, in quotes"),
    ):
        parser.add_argument(f"--{name}", required=required, metavar="S", help=text)


def _add_common(
    parser: argparse.ArgumentParser, systems: str, seeds: str, *, valid_utterances: int = 0, percent: Optional[float] = 0.0,
    whole: bool = False,
) -> None:  # fmt: skip
    """Add what every recipe compares.

    Args:
        whole: whether clusterers are fitted on all of the speech, in one shard.
    """
    _add_running(parser)
    parser.add_argument(
        "--systems",
        default=systems,
        help="what to compare, the baseline first, or @FILE with one a line: km, km-soft, gmm, gmm-argmax, gmm-smooth, gmm-shuffle, "
        "distil; with settings, as in gmm,perplexity=8 or gmm,size=small (default: '%(default)s')",
    )
    parser.add_argument("--perplexity", type=float, default=4.0, help="of soft targets that do not name theirs (default: %(default)s)")
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
        "--valid-utterances", type=int, default=valid_utterances, metavar="N",
        help="at most so many utterances for validation during training; 0 for all (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(nshard=1, percent=percent)
    if whole:
        return
    parser.add_argument("--percent", type=float, metavar="P", help="share of the speech to fit clusterers on, 0 to 1; 0 for all")
    parser.add_argument("--nshard", type=_count, metavar="N", help="shards of features and labels (default: %(default)s)")


def _add_running(parser: argparse.ArgumentParser) -> None:
    for name, default, text in (("stage", 0, "first"), ("stop-stage", 10, "last")):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} stage to run (default: %(default)s)")
    parser.add_argument("--device", default="", help="of everything but training: cpu, cuda, … (default: a GPU if there is one)")
    parser.add_argument("--jobs", type=_count, metavar="N", help="stages that run side by side (default: tiny one a core, else one a GPU)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, and do nothing")
    parser.add_argument("--slurm", action="store_true", help="run each stage as a job, through submitit")
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm", help="with --slurm: local runs the jobs on this machine")
    parser.add_argument("--partition", default="", help="with --slurm: the partition")


def _study(a: argparse.Namespace, exp: str, data: str, splits: Sequence[str], **settings: Any) -> Study:
    from softhubert_plugin.recipes.study import Study
    from softhubert_plugin.recipes.systems import parse_system, parse_systems

    systems = tuple(parse_systems(a.systems, a.perplexity))
    pairs = tuple((parse_system(first, a.perplexity), parse_system(second, a.perplexity)) for first, second in a.compare)
    strange = [system.name for pair in pairs for system in pair if system not in systems]
    if strange:
        raise SoftHubertError(f"--compare: {strange[0]} is not one of --systems {a.systems!r}")
    return Study(
        exp, data, splits[0], splits[1], tuple(splits[2:]), _seeds(a), systems, compare=pairs, partial_alignments=a.partial_alignments,
        valid_utterances=a.valid_utterances, percent=_or(a.percent, 0.0), device=a.device, nshard=a.nshard,
        alignments=str(Path(a.alignments).resolve()) if a.alignments else "",
        results=str(Path(a.results).resolve()) if a.results else "", **settings,
    )  # fmt: skip


def _start(a: argparse.Namespace, study: Study, data: Sequence[Stage], aligner: Sequence[Stage] = (), alignments: str = "") -> str:
    """Run the stages, or print their commands."""
    from softhubert_plugin.recipes.road import LAST_STAGE, all_stages
    from softhubert_plugin.recipes.stages import Graph, script

    if not 0 <= a.stage <= a.stop_stage <= LAST_STAGE:
        raise SoftHubertError(f"--stage {a.stage} --stop-stage {a.stop_stage}: stages are 0 to {LAST_STAGE}, in order")
    graph = Graph(all_stages(study, data, aligner, alignments))
    chosen = [stage for stage in graph.stages if a.stage <= stage.number <= a.stop_stage]
    if a.dry_run:
        return script(chosen)
    from softhubert_plugin.recipes.start import start

    settings = {**{key: value for key, value in vars(a).items() if not callable(value)}, "experiments": study.experiments}
    cluster = a.cluster if a.slurm else ""
    return start(graph, chosen, Path(study.exp), settings, jobs=a.jobs, tiny=study.training.tiny, cluster=cluster, partition=a.partition)


def _exp(a: argparse.Namespace, name: str) -> str:
    return str(Path(a.exp or f"{a.exps}/{name}").resolve())


def _speech() -> Path:
    return Path(os.environ.get("SOFTHUBERT_SPEECH", "../shared/speech"))


def _seeds(a: argparse.Namespace) -> Tuple[int, ...]:
    words = (a.seeds or a.seed or a.default_seeds).split()
    if not words or len(set(words)) < len(words) or not all(word.isdecimal() for word in words) or (a.seeds and a.seed):
        raise SoftHubertError(f"--seeds '{a.seeds or a.seed}': expected whole numbers, each once, in --seeds or --seed")
    return tuple(map(int, words))


def _data_splits(a: argparse.Namespace) -> Tuple[str, Tuple[str, ...]]:
    data = str(Path(a.data).resolve())
    if not (a.train and a.valid and a.tests):
        raise SoftHubertError("--data needs --train, --valid and --tests, the names of its splits")
    splits = (a.train, a.valid, *a.tests.split())
    for split in splits:
        for suffix in ("tsv", "wrd", "ltr"):
            if not os.path.isfile(f"{data}/{split}.{suffix}"):
                raise SoftHubertError(f"{data}/{split}.{suffix}: no such file; make it with 'softhubert manifest'")
    if len(set(splits)) < len(splits):
        raise SoftHubertError(f"--train, --valid, --tests: '{' '.join(splits)}' names a split twice")
    return data, splits


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)
