"""The command ``softhubert recipe``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Set

from softhubert_plugin.commands.numbers import count, whole
from softhubert_plugin.commands.parser import Commands
from softhubert_plugin.commands.recipe_options import (
    add_common,
    add_data,
    add_updates,
    data_splits,
    experiment_folder,
    needed,
    seeds_of,
    speech_folder,
    start_study,
    study_of,
)
from softhubert_plugin.configurations import configuration_folder, configured
from softhubert_plugin.errors import SoftHubertError

# What the LibriSpeech recipe does with each configuration unless it is told otherwise; what is not here, the hydra configurations say.
_LIBRISPEECH: Dict[str, Dict[str, Any]] = {
    "tiny": {
        "subsets": "train-clean-100",
        "clusters1": 100,
        "clusters2": 100,
        "updates1": 800,
        "updates2": 800,
        "finetune": "soft_hubert_tiny",
        "finetune_updates": 1500,
        "align_updates": 600,
        "beam": 10,
        "percent": 0.0,
    },
    "base": {
        "subsets": "train-clean-100 train-clean-360 train-other-500 dev-clean dev-other test-clean test-other",
        "clusters1": 100,
        "clusters2": 500,
        "finetune": "base_100h",
        "align_updates": 25_000,
        "beam": 500,
        "percent": 0.1,
    },
}
# The same of the study.
_STUDY: Dict[str, Dict[str, Any]] = {
    "tiny": {"finetune": "soft_hubert_tiny", "beam": 10, "max_tokens": 600_000},
    "base": {"finetune": "base_10h", "beam": 500},
}


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

        describe_systems(Path(a.exp), a.facts, a.system and str(Path(a.system).resolve()), a.save)
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
    parser = commands.add(
        "quickstart",
        "the whole road in minutes on two CPU cores: a corpus, targets, pretraining, fine-tuning, a table",
        "softhubert recipe quickstart --seeds '1 2 3' --systems 'km gmm gmm-argmax'",
        _quickstart,
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
    parser.add_argument("--utterances", type=count, metavar="N", help="size of spoken in all, of digits a speaker (default: 1200, 300)")
    add_updates(parser, "what suits the corpus")
    add_common(parser, "km gmm", "1", all_speech=True)


def _quickstart(a: argparse.Namespace) -> str:
    from softhubert_plugin.recipes.quickstart import CORPORA, corpus
    from softhubert_plugin.recipes.study import Training

    size = CORPORA[a.corpus]
    root = str(Path(a.root).resolve()) if a.root else str((speech_folder() / size.speech).resolve()) if size.speech else ""
    if root and not a.download and not os.path.isdir(root):
        raise SoftHubertError(f"{root}: no such folder; give --root (see --help)")
    if a.test_speaker and a.corpus != "digits":
        raise SoftHubertError("--test-speaker is for --corpus digits")
    updates, finetune_updates = a.pretrain_updates or size.updates, a.finetune_updates or size.finetune_updates
    called = a.corpus
    if root:
        called += f" ({os.path.basename(root)})"
    if a.test_speaker:
        called += f", tested on {a.test_speaker}"
    utterances = a.utterances or size.utterances
    exp = experiment_folder(a, f"{a.corpus}-seed{seeds_of(a)[0]}")
    study = study_of(
        a,
        exp,
        f"{exp}/data",
        ("train", "valid", "test"),
        clusters=(size.clusters,),
        facts=(f"corpus={called}", f"utterances={utterances or 'all'}", *((f"subset={a.subset}",) if a.corpus == "librispeech" else ())),
        made=True,
        keep=True,  # The corpus is small: its features stay, so that every stage can be looked into.
        by_speaker=False,  # Two voices, or one, are left to test on.
        training=Training(True, (updates,), finetune_updates, max_tokens=size.max_tokens),
    )
    made = corpus(study, a.corpus, root, utterances=utterances, subset=a.subset, download=a.download, test_speaker=a.test_speaker)
    return start_study(a, study, [made])


def _add_study(commands: Commands) -> None:
    parser = commands.add(
        "study",
        "compare systems and controls over seeds, on any corpus that has manifests",
        "softhubert recipe study --data exp/data --train train --valid valid --tests test --seeds '1 2 3 4 5'",
        _study,
    )
    _add_configuration(parser, "base_10h", "one_gpu")
    add_data(parser, required=True)
    parser.add_argument("--clusters", type=count, default=100, help="number of clusters (default: %(default)s)")
    parser.add_argument("--iterations", type=whole, choices=(1, 2), default=1, help="2: targets from a layer, too (default: %(default)s)")
    parser.add_argument("--lm", action="store_true", help="decode with a trigram of the training text, too")
    parser.add_argument("--probe", metavar="S", help="split that models are probed on, with --alignments (default: the training split)")
    parser.add_argument(
        "--beam", type=count, metavar="N", help="hypotheses kept in the search with the language model (default: tiny 10, base 500)"
    )
    parser.add_argument(
        "--max-tokens", type=count, metavar="N", help="samples in a batch of fine-tuning (default: tiny 600000, base what --finetune says)"
    )
    add_updates(parser, "as configured")
    add_common(parser, "km gmm gmm-argmax gmm-smooth gmm-shuffle km-soft", "1 2 3 4 5", valid_utterances=200, percent=0.0)


def _study(a: argparse.Namespace) -> str:
    from softhubert_plugin.recipes.librispeech import data as language_model
    from softhubert_plugin.recipes.study import Training

    _configure(a, _STUDY[a.config])
    tiny = a.config == "tiny"
    data, splits = data_splits(a)
    name = os.path.basename(data)
    exp = experiment_folder(a, f"study-{name}" + ("" if tiny else f"-{a.config}"))
    if a.probe:
        needed(f"{data}/{a.probe}.tsv")
    if a.iterations > 1 and not a.alignments:
        raise SoftHubertError("--iterations 2 needs --alignments: probing on phones chooses the layer whose targets are next")
    study = study_of(
        a,
        exp,
        data,
        splits,
        clusters=(a.clusters,) * a.iterations,
        facts=(f"corpus={name} {a.train}", *(() if tiny else (f"configuration={a.config}",))),
        training=Training(
            tiny,
            (a.pretrain_updates,),
            a.finetune_updates,
            finetune=a.finetune,
            run="" if tiny else a.pretrain_run,
            max_tokens=a.max_tokens,
            crop=True,
            continues=not tiny,
        ),
        beam=a.beam if a.lm else 0,
        tune_on_part=True,
        probed=(data, a.probe) if a.probe else ("", ""),
    )
    return start_study(a, study, [language_model(study, "", (), by_speaker=False, download=False)] if a.lm else [])


def _add_librispeech(commands: Commands) -> None:
    parser = commands.add(
        "librispeech",
        "two iterations from LibriSpeech, or your own corpus, to a table of word error rates",
        "softhubert recipe librispeech --config base --corpus /data --slurm --partition gpu",
        _librispeech,
    )
    _add_configuration(parser, "base_100h", "one_node")
    parser.add_argument("--corpus", help="folder that holds LibriSpeech/ (default: $SOFTHUBERT_SPEECH)")
    parser.add_argument("--download", action="store_true", help="fetch subsets that are not there")
    parser.add_argument("--subsets", help="LibriSpeech's subsets; a single one is split by speaker unless --train and so on are given")
    add_data(parser, required=False)
    for name, text in (
        ("clusters1", "clusters of iteration 1 (default: 100)"),
        ("clusters2", "clusters of iteration 2 (default: tiny 100, base 500)"),
        ("updates1", "updates of pretraining, iteration 1 (default: tiny 800, base 250000)"),
        ("updates2", "updates of pretraining, iteration 2 (default: tiny 800, base 400000)"),
        ("finetune-updates", "updates of fine-tuning (default: tiny 1500, base what --finetune says)"),
        ("align-updates", "updates of the model that aligns letters, without --alignments (default: tiny 600, base 25000)"),
        ("beam", "hypotheses kept in the search with the language model (default: tiny 10, base 500)"),
    ):
        parser.add_argument(f"--{name}", type=count, metavar="N", help=text)
    parser.add_argument(
        "--layers-dtype", choices=("float16", "float32"), default="float16", help="of hidden states on disk (default: %(default)s)"
    )
    add_common(parser, "km gmm", "1", valid_utterances=200, percent=None)


def _librispeech(a: argparse.Namespace) -> str:
    from softhubert_plugin.recipes.librispeech import aligner, data
    from softhubert_plugin.recipes.study import Training

    _configure(a, _LIBRISPEECH[a.config])
    tiny = a.config == "tiny"
    subsets = a.subsets.split()
    by_speaker = not a.data and len(subsets) == 1 and not (a.train or a.valid or a.tests)
    on_train = tiny or bool(a.data) or by_speaker
    exp = experiment_folder(a, f"librispeech-{a.config}")
    folder, splits = data_splits(a) if a.data else (f"{exp}/data", _splits(a, subsets, by_speaker=by_speaker))
    corpus = "" if a.data else str(Path(a.corpus or speech_folder()).resolve())
    if corpus and not a.download and not a.dry_run and not os.path.isdir(f"{corpus}/LibriSpeech"):
        raise SoftHubertError(f"{corpus}/LibriSpeech: not there; give --corpus, or --download")
    study = study_of(
        a,
        exp,
        folder,
        splits,
        clusters=(a.clusters1, a.clusters2),
        facts=(f"corpus={os.path.basename(folder) if a.data else 'LibriSpeech'} {splits[0]}", f"configuration={a.config}"),
        made=not a.data,
        layers_dtype=a.layers_dtype,
        training=Training(
            tiny,
            (a.updates1, a.updates2),
            a.finetune_updates,
            finetune=a.finetune,
            finetune_on_train=on_train,
            run="" if tiny else a.pretrain_run,
            max_tokens=400_000 if tiny else None,
            crop=True,
            continues=True,
        ),
        beam=a.beam,
        probed=(f"{exp}/all", subsets[0]) if by_speaker else ("", ""),
    )
    limited = "" if on_train else _limited(a, {splits[0], *subsets})
    made = data(study, corpus, tuple(subsets), by_speaker=by_speaker, download=a.download, limited=limited)
    return start_study(a, study, [made], *(([], "") if study.alignments else aligner(study, a.align_updates)))


def _add_configuration(parser: argparse.ArgumentParser, finetune: str, run: str) -> None:
    """Add the size of the models.

    Args:
        finetune: how Base is fine-tuned by default.
        run: how it is pretrained.
    """
    parser.add_argument(
        "--config",
        choices=("tiny", "base"),
        default="tiny",
        help="tiny: two CPU cores; base: HuBERT Base, on GPUs (default: %(default)s)",
    )
    parser.add_argument("--finetune", metavar="NAME", help=f"a file of config/finetune (default: tiny soft_hubert_tiny, base {finetune})")
    parser.add_argument(
        "--pretrain-run", metavar="NAME", default=run, help="for base, a file of config/pretrain/run (default: %(default)s)"
    )


def _configure(a: argparse.Namespace, defaults: Mapping[str, Any]) -> None:
    """Set the options that were not given, and look for the files that the others name.

    Raises:
        SoftHubertError: a file is not there.
    """
    for name, value in defaults.items():
        if getattr(a, name) is None:
            setattr(a, name, value)
    for option, name, folder in (("--finetune", a.finetune, "finetune"), ("--pretrain-run", a.pretrain_run, "pretrain/run")):
        there = sorted(path.stem for path in (configuration_folder() / folder).glob("*.yaml"))
        if name not in there:
            raise SoftHubertError(f"{option} {name}: expected one of {', '.join(there)}")


def _limited(a: argparse.Namespace, listed: Set[str]) -> str:
    """The limited set of LibriSpeech that is to be listed because a configuration of fine-tuning trains on it; empty for none.

    Args:
        listed: the training sets that are listed anyway.

    Raises:
        SoftHubertError: it trains on a set that is neither.
    """
    name = str(configured(f"finetune/{a.finetune}", "train_subset"))
    if name in listed:
        return ""
    if name in ("train-10h", "train-1h"):
        return name.partition("-")[2]
    raise SoftHubertError(f"--finetune {a.finetune} trains on {name}, which is not one of --subsets '{a.subsets}'; add it")


def _splits(a: argparse.Namespace, subsets: List[str], *, by_speaker: bool) -> List[str]:
    """The splits to train, validate and test on: LibriSpeech's own, or parts of one subset."""
    train, valid, tests = ("train", "valid", "test") if by_speaker else ("train-960", "dev-other", "test-clean test-other")
    splits = [a.train or train, a.valid or valid, *(a.tests or tests).split()]
    missing = [] if by_speaker else [name for name in splits[1:] if name not in subsets]
    if missing:
        raise SoftHubertError(f"--valid, --tests: {', '.join(missing)} is not one of --subsets '{' '.join(subsets)}'")
    return splits
