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
from softhubert_plugin.report.experiment import Experiment, read_experiment
from softhubert_plugin.report.over_seeds import HOW_TO_READ, left_out, seed_tables
from softhubert_plugin.report.page import page
from softhubert_plugin.report.systems import group_by_system
from softhubert_plugin.report.table import markdown, rows, table_header, terminal, test_sets
from softhubert_plugin.report.uncertainty import UNCERTAINTY_COLUMNS, uncertainty_rows
from softhubert_plugin.report.verdict import verdict

_PACKAGES = ("softhubert", "fairseq", "fairseq-fixed", "torch", "torchaudio", "numpy", "scikit-learn")


def write_report(folders: Sequence[PathLike], dest: PathLike) -> str:
    """Compare experiments and write the report. The first experiment's system is the baseline for the others.

    Args:
        folders: experiment folders, as described in :mod:`softhubert_plugin.report.experiment`.
        dest: folder to write to.

    Returns:
        The tables and the comparisons, as text for the terminal.

    Raises:
        SoftHubertError: a folder is not an experiment, two experiments of a system have the same seed, or two experiments have the same
            name.
    """
    experiments = [read_experiment(folder) for folder in folders]
    group_by_system(experiments)  # refuses repeated seeds before repeated names
    experiments = _told_apart(experiments)
    for name, times in Counter(experiment.name for experiment in experiments).items():
        if times > 1:
            raise SoftHubertError(f"{times} experiments are called {name!r}; give each its own name in experiment.json")
    systems, sets = group_by_system(experiments), test_sets(experiments)
    columns, table = table_header(experiments), rows(experiments)
    comparisons = compare_systems(systems, sets)
    seeds = seed_tables(systems, sets, comparisons)
    verdicts = [verdict(comparison, f" on {comparison.test_set}" if len(sets) > 1 else "") for comparison in comparisons]
    sentences = [*verdicts, *left_out(systems, seeds)]
    versions = _versions()
    write_json(
        Path(dest) / "results.json",
        {
            "systems": [_summary(experiment) for experiment in experiments],
            "comparisons": [{**comparison.record(), "verdict": text} for comparison, text in zip(comparisons, verdicts)],
            "over_seeds": [of_measure.record() for of_measure in seeds],
            "left_out": sentences[len(verdicts) :],
            "versions": versions,
        },
    )
    unsure = uncertainty_rows(experiments)
    tables = [(columns, table), *((of_measure.header(), of_measure.cells()) for of_measure in seeds)]
    tables += [(UNCERTAINTY_COLUMNS, unsure)] if unsure else []
    notes = [HOW_TO_READ] if seeds else []
    write_text(Path(dest) / "results.md", "\n\n".join([*(markdown(*each) for each in tables), *notes, *sentences]) + "\n")
    write_text(Path(dest) / "index.html", page(experiments, table, seeds, sentences, versions))
    return "\n".join(["\n\n".join(terminal(*each) for each in tables), *([""] if seeds else []), *sentences])


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
    keys = (
        "wer", "low", "high", "interval", "cer", "errors", "substitutions", "deletions", "insertions", "words", "utterances", "speakers",
    )  # fmt: skip
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
