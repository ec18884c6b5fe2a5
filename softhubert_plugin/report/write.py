"""Write a report: ``index.html`` to view, ``results.json`` for programs, ``results.md`` to paste into text."""

from __future__ import annotations

import os
import platform
from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_json, write_text
from softhubert_plugin.report.comparisons import compare_systems
from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.measures import Measure, measures
from softhubert_plugin.report.over_seeds import HOW_TO_READ, has_several_seeds, left_out, seed_tables
from softhubert_plugin.report.page import page
from softhubert_plugin.report.saved import load_experiment
from softhubert_plugin.report.systems import group_by_system, pairs_to_compare
from softhubert_plugin.report.table import markdown, rows, table_header, terminal, test_sets
from softhubert_plugin.report.uncertainty import UNCERTAINTY_COLUMNS, uncertainty_rows
from softhubert_plugin.report.verdict import verdict

_PACKAGES = ("softhubert", "fairseq", "fairseq-fixed", "torch", "torchaudio", "numpy", "scikit-learn")


def write_report(folders: Sequence[PathLike], dest: PathLike, *, compare: Sequence[Sequence[str]] = ()) -> str:
    """Compare experiments and write the report. Unless pairs are given, the first system is the baseline for the others.

    Args:
        folders: experiment folders, as described in :mod:`softhubert_plugin.report.experiment`, or files of
            :mod:`softhubert_plugin.report.saved`.
        dest: folder to write to.
        compare: names of the first and of the second system of each pair to compare. Then every measure has a table of these differences,
            and character error rates and probing have sentences as word error rates have.

    Returns:
        The tables and the comparisons, as text for the terminal.

    Raises:
        SoftHubertError: a folder is not an experiment, two experiments of a system have the same seed, two experiments have the same
            name, or there is no system of a name in ``compare``.
    """
    experiments = [load_experiment(folder) for folder in folders]
    group_by_system(experiments)  # refuses repeated seeds before repeated names
    experiments = _told_apart(experiments)
    for name, times in Counter(experiment.name for experiment in experiments).items():
        if times > 1:
            raise SoftHubertError(f"{times} experiments are called {name!r}; give each its own name in experiment.json")
    systems, sets = group_by_system(experiments), test_sets(experiments)
    pairs, asked_for = pairs_to_compare(systems, compare), bool(compare)
    columns, table = table_header(experiments), rows(experiments)
    shown = [
        measure for measure in measures(experiments) if has_several_seeds(systems, measure) or _has_verdict(experiments, measure, asked_for)
    ]
    comparisons = compare_systems(pairs, shown)
    seeds = seed_tables(systems, shown, comparisons, asked_for)
    judged = [comparison for comparison in comparisons if _has_verdict(experiments, comparison.measure, asked_for)]
    several = len(sets) > 1
    verdicts = [verdict(each, f" on {each.measure.test_set}" if several and each.measure.test_set else "") for each in judged]
    sentences = [*verdicts, *left_out(seeds)]
    versions = _versions()
    write_json(
        Path(dest) / "results.json",
        {
            "systems": [_summary(experiment) for experiment in experiments],
            "comparisons": [
                {**({"measure": each.measure.title} if asked_for else {}), **each.record(), "verdict": text}
                for each, text in zip(judged, verdicts)
            ],
            "over_seeds": [of_measure.record() for of_measure in seeds],
            "left_out": sentences[len(verdicts) :],
            "versions": versions,
        },
    )
    unsure = uncertainty_rows(experiments)
    single = [(columns, table)]
    over_seeds = [each for of_measure in seeds for each in of_measure.tables()]
    measured = [(UNCERTAINTY_COLUMNS, unsure)] if unsure else []
    notes = [HOW_TO_READ] if seeds else []
    # On paper what matters comes first, in a terminal last.
    text = [*(markdown(*each) for each in over_seeds), *notes, *sentences, *(markdown(*each) for each in [*single, *measured])]
    write_text(Path(dest) / "results.md", "\n\n".join(text) + "\n")
    write_text(Path(dest) / "index.html", page(systems, experiments, table, seeds, sentences, versions))
    return "\n".join(["\n\n".join(terminal(*each) for each in [*single, *over_seeds, *measured]), *([""] if seeds else []), *sentences])


def _has_verdict(experiments: Sequence[Experiment], measure: Measure, asked_for: bool) -> bool:
    """Whether sentences speak of a measure: always of word error rates, and where pairs were asked for, of all that is measured."""
    if measure.unit == "words":
        return True
    return asked_for and measure.wording is not None and any(measure.value(experiment) is not None for experiment in experiments)


def _told_apart(experiments: Sequence[Experiment]) -> List[Experiment]:
    """Add the seed to the names of experiments that have the same name and different seeds. A recipe names the system, not the run."""
    seeds: Dict[str, List[Any]] = {}
    for experiment in experiments:
        seeds.setdefault(experiment.name, []).append(experiment.settings.get("seed"))
    found = []
    for experiment in experiments:
        name, of_name = experiment.name, seeds[experiment.name]
        if len(of_name) > 1 and len(set(map(str, of_name))) == len(of_name):
            settings = {"system": name, **experiment.settings}
            experiment = replace(experiment, name=f"{name}, seed {experiment.settings.get('seed', 'unknown')}", settings=settings)
        found.append(experiment)
    return found


def _summary(experiment: Experiment) -> Dict[str, Any]:
    keys = ("wer", "low", "high", "interval", "cer", "errors", "substitutions", "deletions", "insertions", "words", "utterances")
    scores = {name: {key: score.get(key) for key in keys} for name, score in experiment.scores.items()}
    return {
        "name": experiment.name,
        "settings": experiment.settings,
        **(next(iter(scores.values())) if len(scores) == 1 else {}),
        "scores": scores,
        "masked_accuracy": experiment.masked_accuracy,
        "target_perplexity": experiment.target_perplexity,
        "pretraining_updates": experiment.pretraining.updates,
        "finetuning_updates": experiment.finetuning.updates,
        "label_quality": experiment.quality,
        "layers": experiment.layers,
        "uncertainty": {part: value for part, value in experiment.uncertainty.items() if part != "speakers"},
        "configuration": experiment.configuration,
        "seconds": dict(experiment.stages),
    }


def _versions() -> Dict[str, str]:
    versions = {"Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
