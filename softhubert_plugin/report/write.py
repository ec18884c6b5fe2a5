"""Writes a report: ``index.html`` to look at, ``results.json`` to compute with, ``results.md`` to paste."""

from __future__ import annotations

import html
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_json, write_text
from softhubert_plugin.report.experiment import Experiment, read_experiment
from softhubert_plugin.report.figures import figures
from softhubert_plugin.report.table import HEADER, MISSING, html_table, markdown, rows, sentence, terminal

_PACKAGES = ("softhubert", "fairseq", "fairseq-fixed", "torch", "torchaudio", "numpy", "scikit-learn")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; font-weight: 600; } tbody th { font-weight: 400; }
figure { margin: 0; } figure svg { max-width: 100%; height: auto; } figcaption, .note { color: #555; font-size: .9rem; }
"""


def write_report(folders: Sequence[PathLike], dest: PathLike) -> str:
    """Compare experiments, the first being the baseline of the others.

    Args:
        folders: as :mod:`softhubert_plugin.report.experiment` describes them.
        dest: folder to write into.

    Returns:
        The table and the comparisons, for a terminal.

    Raises:
        SoftHubertError: a folder is no experiment, or two experiments have one name.
    """
    experiments = [read_experiment(folder) for folder in folders]
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            raise SoftHubertError(f"{names.count(name)} experiments are called {name!r}; give each its own name in experiment.json")
    table = rows(experiments)
    comparisons = [(other, _compare(experiments[0], other)) for other in experiments[1:]]
    sentences = [sentence(experiments[0], other, comparison) for other, comparison in comparisons]
    versions = _versions()
    write_json(
        Path(dest) / "results.json",
        {
            "systems": [_summary(experiment) for experiment in experiments],
            "comparisons": [
                {"first": names[0], "second": other.name, **(vars(comparison) if comparison else {"difference": None})}
                for other, comparison in comparisons
            ],
            "versions": versions,
        },
    )
    write_text(Path(dest) / "results.md", "\n\n".join([markdown(table), *sentences]) + "\n")
    write_text(Path(dest) / "index.html", _page(experiments, table, sentences, versions))
    return "\n".join([terminal(table), *sentences])


def _summary(experiment: Experiment) -> Dict[str, Any]:
    score = experiment.score or {}
    return {
        "name": experiment.name,
        "settings": experiment.settings,
        **{key: score.get(key) for key in ("wer", "low", "high", "cer", "errors", "words", "utterances")},
        "masked_accuracy": experiment.masked_accuracy,
        "target_perplexity": experiment.target_perplexity,
        "pretraining_updates": experiment.pretraining.updates,
        "finetuning_updates": experiment.finetuning.updates,
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


def _page(experiments: Sequence[Experiment], table: Sequence[Sequence[str]], sentences: Sequence[str], versions: Dict[str, str]) -> str:
    title = "SoftHuBERT: " + ", ".join(experiment.name for experiment in experiments)
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>{html.escape(title)}</h1>",
        html_table(HEADER, table),
        *(f"<p>{html.escape(text)}</p>" for text in sentences),
        '<p class="note">Intervals are by bootstrap over test utterances (Bisani and Ney 2004); they leave out the choice of speakers and '
        "of training seeds. Updates: pretraining + fine-tuning.</p>",
    ]
    for heading, caption, svg in figures(experiments):
        parts.append(f"<h2>{heading}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>")
    if any(experiment.settings for experiment in experiments):
        parts += ["<h2>Settings</h2>", html_table(["", *(experiment.name for experiment in experiments)], _settings(experiments))]
    parts += ["<h2>Made with</h2>", html_table(["", ""], list(versions.items())), "</body></html>"]
    return "\n".join(parts) + "\n"


def _settings(experiments: Sequence[Experiment]) -> List[List[str]]:
    """One row a setting; those that differ come first, marked."""
    keys = list(dict.fromkeys(key for experiment in experiments for key in experiment.settings))
    found = [(key, [str(experiment.settings.get(key, MISSING)) for experiment in experiments]) for key in keys]
    differing = [[f"{key} (differs)", *values] for key, values in found if len(set(values)) > 1]
    return differing + [[key, *values] for key, values in found if len(set(values)) == 1]
