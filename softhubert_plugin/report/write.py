"""Write a report: ``index.html`` to view, ``results.json`` for programs, ``results.md`` to paste into text."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_json, write_text
from softhubert_plugin.report.experiment import Experiment, read_experiment
from softhubert_plugin.report.page import page
from softhubert_plugin.report.table import comparison_sentence, markdown, rows, seed_rows, table_header, terminal, test_sets
from softhubert_plugin.scoring.intervals import Comparison
from softhubert_plugin.scoring.score import compare_scores

_PACKAGES = ("softhubert", "fairseq", "fairseq-fixed", "torch", "torchaudio", "numpy", "scikit-learn")


def write_report(folders: Sequence[PathLike], dest: PathLike) -> str:
    """Compare experiments and write the report. The first experiment is the baseline for the others.

    Args:
        folders: experiment folders, as described in :mod:`softhubert_plugin.report.experiment`.
        dest: folder to write to.

    Returns:
        The table and the comparisons, as text for the terminal.

    Raises:
        SoftHubertError: a folder is not an experiment, or two experiments have the same name.
    """
    experiments = _told_apart([read_experiment(folder) for folder in folders])
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            raise SoftHubertError(f"{names.count(name)} experiments are called {name!r}; give each its own name in experiment.json")
    columns, table = table_header(experiments), rows(experiments)
    sets = test_sets(experiments)
    comparisons = [(other, name, _compare(experiments[0], other, name)) for other in experiments[1:] for name in sets]
    sentences = [
        comparison_sentence(experiments[0], other, comparison, f" on {name}" if len(sets) > 1 else "")
        for other, name, comparison in comparisons
    ]
    seeds = seed_rows(experiments)
    versions = _versions()
    write_json(
        Path(dest) / "results.json",
        {
            "systems": [_summary(experiment) for experiment in experiments],
            "comparisons": [
                {"first": names[0], "second": other.name, "on": name, **(vars(comparison) if comparison else {"difference": None})}
                for other, name, comparison in comparisons
            ],
            "versions": versions,
        },
    )
    parts = [markdown(columns, table), *sentences]
    if seeds:
        parts.append(markdown(["mean ± standard deviation over seeds", "seeds", *(f"{name} WER %" for name in sets)], seeds))
    write_text(Path(dest) / "results.md", "\n\n".join(parts) + "\n")
    write_text(Path(dest) / "index.html", page(experiments, table, sentences, versions))
    return "\n".join([terminal(columns, table), *sentences])


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


def _compare(first: Experiment, second: Experiment, name: str) -> Optional[Comparison]:
    if name not in first.scores or name not in second.scores:
        return None
    return compare_scores(first.scores[name], second.scores[name])


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
