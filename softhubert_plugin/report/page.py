"""The report's page: one HTML file that contains all tables, figures, settings and commands."""

from __future__ import annotations

import html
from typing import Any, Dict, List, Sequence, Tuple

from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.figures import figures
from softhubert_plugin.report.over_seeds import HOW_TO_READ, SeedTable
from softhubert_plugin.report.seed_figure import seed_figure
from softhubert_plugin.report.systems import SystemRuns
from softhubert_plugin.report.table import MISSING, QUALITY_COLUMNS, html_table, quality_rows, table_header
from softhubert_plugin.report.uncertainty import UNCERTAINTY_COLUMNS, UNCERTAINTY_NOTE, uncertainty_elements, uncertainty_rows

_NAMED = 6  # systems that a heading names; it counts more of them
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; font-weight: 600; } tbody th { font-weight: 400; }
pre { overflow-x: auto; font-size: .85rem; }
figure { margin: 0; } figure svg { max-width: 100%; height: auto; } figcaption, .note { color: #555; font-size: .9rem; }
"""


def page(
    systems: Sequence[SystemRuns],
    experiments: Sequence[Experiment],
    table: Sequence[Sequence[str]],
    seeds: Sequence[SeedTable],
    sentences: Sequence[str],
    versions: Dict[str, str],
) -> str:
    """Write the page as HTML.

    Args:
        systems: the systems, the baseline first.
        experiments: their experiments.
        table: rows of the table of results, one per experiment.
        seeds: tables over seeds.
        sentences: comparisons in words.
        versions: versions of the software, by name.

    Returns:
        The HTML text.
    """
    names = [system.title for system in systems]
    title = "SoftHuBERT: " + (", ".join(names) if len(names) <= _NAMED else f"{len(names)} systems, {len(experiments)} runs")
    several = len(experiments) > len(systems)
    runs = [html_table(table_header(experiments), table)]
    note = (
        f'<p class="note">{html.escape(_intervals(experiments))} They do not cover the choice of the training seed'
        f"{'; the tables over seeds do' if seeds else ''}. "
        "Comparisons use NIST's matched-pairs test (Gillick and Cox 1989) if alignments are known. Updates: pretraining + fine-tuning.</p>"
    )
    quality = quality_rows(experiments)
    measured = ["<h2>Label quality</h2>", html_table(QUALITY_COLUMNS, quality)] if quality else []
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>{html.escape(title)}</h1>",
        *([] if several else runs),
        *(f"<p>{html.escape(text)}</p>" for text in sentences),
        *([] if several else [note]),
    ]
    if seeds:
        parts += ["<h2>Seeds</h2>", *(html_table(*table) for of_measure in seeds for table in of_measure.tables())]
        parts.append(f'<p class="note">{html.escape(HOW_TO_READ)}</p>')
    for heading, caption, svg in [*([seed_figure(seeds)] if seeds else []), *figures(systems)]:
        parts.append(f"<h2>{heading}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>")
    parts += ["<h2>Single runs</h2>", *runs, note, *measured] if several else measured
    unsure = uncertainty_rows(experiments)
    if unsure:
        parts += ["<h2>Where the targets are unsure</h2>", html_table(UNCERTAINTY_COLUMNS, unsure)]
        parts.append(f'<p class="note">{html.escape(UNCERTAINTY_NOTE)}</p>')
        for heading, caption, svg in uncertainty_elements(experiments):
            parts.append(f"<h3>{heading}</h3>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>")
    if any(experiment.settings for experiment in experiments):
        parts += ["<h2>Settings</h2>", html_table(["", *names], _settings(systems))]
    differing = _differing_configuration(systems)
    if differing:
        parts += ["<h2>Configurations: what differs</h2>", html_table(["", *names], differing)]
    for experiment in experiments:
        if experiment.commands:
            summary = f"<summary>Commands: {html.escape(experiment.name)}</summary>"
            parts.append(f"<details>{summary}<pre>{html.escape(experiment.commands)}</pre></details>")
    parts += ["<h2>Made with</h2>", html_table(["", ""], list(versions.items())), "</body></html>"]
    return "\n".join(parts) + "\n"


def _settings(systems: Sequence[SystemRuns]) -> List[List[str]]:
    """Return one row per setting; settings that differ come first and are marked."""
    found = _by_system([[run.settings for run in system.runs.values()] for system in systems])
    return [[f"{key} (differs)", *cells] for (key, *cells), differs in found if differs] + [row for row, differs in found if not differs]


def _differing_configuration(systems: Sequence[SystemRuns]) -> List[List[str]]:
    """Return one row per configuration key whose value is not the same in all experiments; keys with absolute paths are left out."""
    found = _by_system([[run.configuration for run in system.runs.values()] for system in systems])
    return sorted(row for row, differs in found if differs and not any(cell.startswith('"/') for cell in row[1:]))


def _by_system(values: Sequence[Sequence[Dict[str, Any]]]) -> List[Tuple[List[str], bool]]:
    """For each key a row, of the key and what each system's runs have, and whether it is not the same in all runs."""
    found = []
    for key in dict.fromkeys(key for runs in values for run in runs for key in run):
        cells = [[str(run.get(key, MISSING)) for run in runs] for runs in values]
        differs = len({cell for of_system in cells for cell in of_system}) > 1
        found.append(([key, *(", ".join(dict.fromkeys(of_system)) for of_system in cells)], differs))
    return found


def _intervals(experiments: Sequence[Experiment]) -> str:
    methods = dict.fromkeys(score["interval"] for experiment in experiments for score in experiment.scores.values() if "interval" in score)
    return f"95 % intervals: {'; '.join(methods)}." if methods else "95 % intervals cover the sampling of the test set."
